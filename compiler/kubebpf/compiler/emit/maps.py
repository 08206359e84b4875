"""Reading and writing maps. Scalar maps are arrays of one element: their lookup is inlined by the verifier, and never fails."""

from __future__ import annotations

from dataclasses import replace

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.describe import storage_type
from kubebpf.compiler.emit.helpers import BPF_ANY, BPF_NOEXIST, Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Aggregate, sizeof
from kubebpf.compiler.types.promote import is_scalar


def map_pointer(code: Code, info: typed.MapInfo) -> Operand:
    """The map as an argument of helpers."""
    return Operand(f"@{code.module.schema(info).symbol}", "ptr")


def key_pointer(code: Code, info: typed.MapInfo, key: typed.Expr | None) -> Operand:
    """A pointer to the key in memory, all its bytes written."""
    if key is None or info.key is None:
        slot = code.slot("zero", 4)
        code.f.store(const(0, "i32"), slot, align=4)
        return slot
    stored = storage_type(info.key)
    if is_scalar(stored):
        memory = code.temp(sizeof(stored))
        code.store(stored, code.scalar(key), memory, align=sizeof(stored))
        return memory
    if isinstance(key, typed.ReadVariable):
        return code.address(key)
    memory = code.temp(sizeof(stored))
    code.into(key, memory)
    return memory


def lookup(code: Code, info: typed.MapInfo, key: Operand) -> Operand:
    """bpf_map_lookup_elem: a ptr that may be null."""
    return code.f.call_pointer(Helper.MAP_LOOKUP_ELEM, map_pointer(code, info), key)


# --- Reading ----------------------------------------------------------------------------------------------------------


def read_scalar(code: Code, expr: typed.ReadMap) -> Operand:
    """`@m[k]` as a number; 0 when there is no such key."""
    f = code.f
    result = code.register()
    f.store(const(0), result, align=8)
    found, done = f.label("found"), f.label("read")
    value = lookup(code, expr.map, key_pointer(code, expr.map, expr.key))
    f.branch(f.compare("ne", value, NULL), found, done)
    f.place(found)
    f.store(code.load(expr.type, value, align=min(sizeof(expr.type), 8)), result, align=8)
    f.place(done)
    return f.load("i64", result, align=8)


def value_address(code: Code, expr: typed.ReadMap) -> Operand:
    """Where a map's value lies; zeros when there is no such key."""
    f = code.f
    value = lookup(code, expr.map, key_pointer(code, expr.map, expr.key))
    missing, present, start = f.label("absent"), f.label("value"), f.label("looked")
    f.place(start)
    f.branch(f.compare("eq", value, NULL), missing, present)
    f.place(missing)
    f.place(present)
    zeros = Operand(code.module.zeros(sizeof(expr.type)), "ptr")
    return f.phi("ptr", [(value, start), (zeros, missing)])


# --- Writing ----------------------------------------------------------------------------------------------------------


def set_map(code: Code, node: typed.SetMap) -> None:
    """`@m[k] = v`."""
    if node.key is None:
        _set_scalar(code, node)
        return
    # The value first, as upstream: `@x[f()] = g()` evaluates g before f.
    value = _value_pointer(code, node.value, sizeof(node.map.value))
    update(code, node.map, key_pointer(code, node.map, node.key), value, BPF_ANY, node.span)


def _value_pointer(code: Code, value: typed.Expr, size: int) -> Operand:
    if isinstance(value, typed.ReadVariable) and not is_scalar(value.type):
        return code.address(value)
    memory = code.temp((size + 7) // 8 * 8)
    if size % 8:
        code.zero(memory, (size + 7) // 8 * 8)
    code.into(value, memory)
    return memory


def _set_scalar(code: Code, node: typed.SetMap) -> None:
    """A scalar map is written in place; a word beside the value tells that it was."""
    schema = code.module.schema(node.map)
    assert schema.set_offset is not None
    scalar = code.scalar(node.value) if is_scalar(node.map.value) else None
    memory = None if scalar is not None else code.address(node.value)
    with found(code, node.map, None) as value:
        if scalar is not None:
            code.store(node.map.value, scalar, value, align=8)
        else:
            assert memory is not None
            code.copy(value, memory, sizeof(node.map.value))
        code.f.store(const(1), code.f.offset(value, schema.set_offset), align=8)


def update(code: Code, info: typed.MapInfo, key: Operand, value: Operand, flags: int, span: Span) -> None:
    """bpf_map_update_elem; a refusal is counted under its place in the text."""
    f = code.f
    result = code.helper(Helper.MAP_UPDATE_ELEM, map_pointer(code, info), key, value, const(flags))
    failed, done = f.label("full"), f.label("updated")
    f.branch(f.compare("eq", result, const(0)), done, failed, likely=True)
    f.place(failed)
    code.count_failure(code.module.site("map_full", span, "map_update_elem"), result)
    f.place(done)


class found:  # noqa: N801 - reads as a statement: `with found(code, map, key) as value:`
    """The code inside runs with a pointer to the value of a scalar map, which is always there; the verifier wants to be told."""

    def __init__(self, code: Code, info: typed.MapInfo, key: typed.Expr | None) -> None:
        self.code, self.info, self.key = code, info, key

    def __enter__(self) -> Operand:
        f = self.code.f
        pointer = lookup(self.code, self.info, key_pointer(self.code, self.info, self.key))
        there, self.done = f.label("there"), f.label("done")
        f.branch(f.compare("ne", pointer, NULL), there, self.done)
        f.place(there)
        return pointer

    def __exit__(self, *_: object) -> None:
        self.code.f.place(self.done)


class found_or_made:  # noqa: N801
    """The code inside runs with a pointer to the value of a key, which is made of zeros when it is not there.

    Two CPUs may make it at once: the update is BPF_NOEXIST, its result is not asked, and both look again. Only when that finds
    nothing
    was the map full.
    """

    def __init__(self, code: Code, info: typed.MapInfo, key: typed.Expr | None, span: Span) -> None:
        self.code, self.info, self.key, self.span = code, info, key, span

    def __enter__(self) -> Operand:
        code, f = self.code, self.code.f
        schema = code.module.schema(self.info)
        key = key_pointer(code, self.info, self.key)
        there, self.done = f.label("there"), f.label("done")
        first = lookup(code, self.info, key)
        start, make, full = f.label("looked"), f.label("make"), f.label("full")
        f.place(start)
        f.branch(f.compare("ne", first, NULL), there, make, likely=True)
        f.place(make)
        zeros = Operand(code.module.zeros(schema.value_size), "ptr")
        result = code.helper(Helper.MAP_UPDATE_ELEM, map_pointer(code, self.info), key, zeros, const(BPF_NOEXIST))
        second = lookup(code, self.info, key)
        again = f.label("again")
        f.place(again)
        f.branch(f.compare("ne", second, NULL), there, full)
        f.place(full)
        code.count_failure(code.module.site("map_full", self.span, "map_update_elem"), result)
        f.jump(self.done)
        f.place(there)
        return f.phi("ptr", [(first, start), (second, again)])

    def __exit__(self, *_: object) -> None:
        self.code.f.place(self.done)


def step(code: Code, expr: typed.Step) -> Operand:
    """`@x++` with its value used: not atomic, as upstream says of it."""
    assert isinstance(expr.target, typed.ReadMap)
    info = expr.target.map
    result = code.register()
    code.f.store(const(0), result, align=8)
    with _stepped(code, expr) as value:
        old = code.load(info.value, value, align=8)
        new = code.extend(code.f.binary("add", old, const(expr.by)), info.value)
        code.store(info.value, new, value, align=8)
        code.f.store(new if expr.prefix else old, result, align=8)
        _mark_set(code, info, value)
    return code.f.load("i64", result, align=8)


def step_statement(code: Code, expr: typed.Step) -> None:
    """`@x++;`: nobody reads the value, so one atomic addition does it, and no update is lost."""
    assert isinstance(expr.target, typed.ReadMap)
    info = expr.target.map
    if sizeof(info.value) != 8:
        step(code, expr)
        return
    with _stepped(code, expr) as value:
        code.f.atomic_add(value, const(expr.by))
        _mark_set(code, info, value)


def _stepped(code: Code, expr: typed.Step) -> found | found_or_made:
    assert isinstance(expr.target, typed.ReadMap)
    if expr.target.key is None:
        return found(code, expr.target.map, None)
    return found_or_made(code, expr.target.map, expr.target.key, expr.span)


def _mark_set(code: Code, info: typed.MapInfo, value: Operand) -> None:
    offset = code.module.schema(info).set_offset
    if offset is not None:
        code.f.store(const(1), code.f.offset(value, offset), align=8)


def delete(code: Code, info: typed.MapInfo, key: typed.Expr | None) -> Operand:
    """Remove a key; a scalar map is cleared. Gives 1 when something was there."""
    if key is not None:
        result = code.helper(Helper.MAP_DELETE_ELEM, map_pointer(code, info), key_pointer(code, info, key))
        return code.f.cast("zext", code.f.compare("eq", result, const(0)), "i64")
    schema = code.module.schema(info)
    assert schema.set_offset is not None
    was = code.register()
    code.f.store(const(0), was, align=8)
    with found(code, info, None) as value:
        flag = code.f.load("i64", code.f.offset(value, schema.set_offset), align=8)
        code.f.store(code.f.cast("zext", code.f.compare("ne", flag, const(0)), "i64"), was, align=8)
        code.zero(value, schema.value_size)
    return code.f.load("i64", was, align=8)


def has_key(code: Code, info: typed.MapInfo, key: typed.Expr) -> Operand:
    """1 when the key is there."""
    value = lookup(code, info, key_pointer(code, info, key))
    return code.f.cast("zext", code.f.compare("ne", value, NULL), "i64")


def find(code: Code, info: typed.MapInfo, key: typed.Expr, store: typed.SetVariable) -> Operand:
    """1 when the key is there, and then its value is stored, too: with one lookup, unless the value is summed over the CPUs."""
    f = code.f
    found, done = f.label("found"), f.label("sought")
    was = code.register()
    f.store(const(0), was, align=8)
    value = lookup(code, info, key_pointer(code, info, key))
    f.branch(f.compare("ne", value, NULL), found, done)
    f.place(found)
    f.store(const(1), was, align=8)
    assert store.value is not None
    code.statement(replace(store, value=_at(store.value, value)))
    f.place(done)
    return f.load("i64", was, align=8)


def _at(value: typed.Expr, pointer: Operand) -> typed.Expr:
    """A map's value, as it is wanted, where it was found."""
    if isinstance(value, typed.Convert):
        return replace(value, operand=_at(value.operand, pointer))
    if isinstance(value, typed.ReadMap) and not isinstance(value.map.value, Aggregate):
        return typed.InMemory(span=value.span, type=value.type, memory=pointer)
    return value


def count_elements(code: Code, info: typed.MapInfo) -> Operand:
    """The number of keys: bpf_for_each_map_elem (kernel 5.13) with a callback that counts."""
    total = code.slot("elements")  # the helper takes a pointer to the stack only
    # Counted from a number that the verifier does not know: from 0 on it would follow the callback through every count where the
    # result decides something later.
    start = code.helper(Helper.KTIME_GET_NS)
    code.f.store(start, total, align=8)
    callback = Operand(code.module.counting_callback(), "ptr")
    code.helper(Helper.FOR_EACH_MAP_ELEM, map_pointer(code, info), callback, total, const(0))
    return code.f.binary("sub", code.f.load("i64", total, align=8), start)
