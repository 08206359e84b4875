"""The map functions; tseries has a module of its own. Each CPU has its own value; layouts are the manifest's.

A program that nothing can interrupt on its CPU adds with a plain load and store; elsewhere (`Provider.preemptible`, or a map
that programs
of several kinds feed) the addition is atomic, which on memory of one's own CPU costs little.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.describe import aggregate_layout
from kubebpf.compiler.emit.extremes import kept, raise_word
from kubebpf.compiler.emit.helpers import BPF_ANY, Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.emit.maps import found, found_or_made, key_pointer, lookup, map_pointer, update
from kubebpf.compiler.emit.series import feed_series
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Aggregate


def feed(code: Code, node: typed.Feed) -> None:
    """`@m[k] = f(argument)`."""
    a = node.map.value
    assert isinstance(a, Aggregate)
    value = const(1) if node.argument is None else code.scalar(node.argument)
    schema = code.module.schema(node.map)
    if schema.storage in ("percpu_hash", "lru_percpu_hash") and a.kind in FIRST and not code.is_shared(node.map):
        _feed_key(code, node, a, value)
        return
    holder = found(code, node.map, None) if node.key is None else found_or_made(code, node.map, node.key, node.span)
    with holder as cell:
        FEEDERS[a.kind](code, node, a, cell, value)
        if schema.set_offset is not None:
            code.f.store(const(1), code.f.offset(cell, schema.set_offset), align=8)


def _feed_key(code: Code, node: typed.Feed, a: Aggregate, value: Operand) -> None:
    """A key that is missing is made with its first value, in one call.

    Two CPUs may do so at once: each writes its own value only (pcpu_init_value and pcpu_copy_value, kernel/bpf/hashtab.c). On
    one CPU nothing comes between the lookup and the update, or the map were among `shared_maps`.
    """
    f = code.f
    there, make, done = f.label("there"), f.label("make"), f.label("fed")
    key = key_pointer(code, node.map, node.key)
    cell = lookup(code, node.map, key)
    f.branch(f.compare("ne", cell, NULL), there, make, likely=True)
    f.place(there)
    FEEDERS[a.kind](code, node, a, cell, value)
    f.jump(done)
    f.place(make)
    first = code.slot("first", 16)
    for i, word in enumerate(FIRST[a.kind](code, a, value)):
        f.store(word, f.offset(first, i * 8), align=8)
    update(code, node.map, key, first, BPF_ANY, node.span)
    f.place(done)


def _add(code: Code, node: typed.Feed, cell: Operand, value: Operand) -> None:
    if code.is_shared(node.map):
        code.f.atomic_add(cell, value)
        return
    code.f.store(code.f.binary("add", code.f.load("i64", cell, align=8), value), cell, align=8)


def _sum(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    _add(code, node, cell, value)


def _average(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    _add(code, node, cell, value)
    _add(code, node, code.f.offset(cell, 8), const(1))


def _extreme(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    """Raise the kept word; that it was set is said once and for all, in whatever order programs come."""
    raise_word(code, cell, kept(code, a.kind, a.signed, value), node.span, shared=code.is_shared(node.map))
    code.f.store(const(1), code.f.offset(cell, 8), align=8)


def _histogram(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    k = a.params[0]
    slot = _power_slot(code, a, value, k)
    _count_slot(code, node, cell, slot, aggregate_layout(a).slots)


def _power_slot(code: Code, a: Aggregate, value: Operand, k: int) -> Operand:
    """The slot of a power-of-two histogram with 2**k slots a power (DAggregate says which is which)."""
    f = code.f
    result = code.register()
    done, small, large = f.label("slot"), f.label("small"), f.label("large")
    if a.signed:
        positive = f.label("positive")
        f.store(const(0), result, align=8)
        f.branch(f.compare("slt", value, const(0)), done, positive)
        f.place(positive)
    f.branch(f.compare("ult", value, const(1 << k)), small, large)
    f.place(small)
    f.store(f.binary("add", value, const(1)), result, align=8)
    f.jump(done)
    f.place(large)
    power = log2(code, value)
    octave = f.binary("shl", f.binary("add", power, const(1 - k)), const(k))
    shifted = f.binary("lshr", value, f.binary("sub", power, const(k)))
    within = f.binary("and", shifted, const((1 << k) - 1))
    f.store(f.binary("add", f.binary("add", octave, within), const(1)), result, align=8)
    f.place(done)
    return f.load("i64", result, align=8)


def log2(code: Code, value: Operand) -> Operand:
    """The position of the highest set bit of a positive number, by halving: BPF has no such instruction."""
    f = code.f
    result = const(0)
    for bits in (32, 16, 8, 4, 2):
        step = f.select(f.compare("uge", value, const(1 << bits)), const(bits), const(0))
        value = f.binary("lshr", value, step)
        result = f.binary("or", result, step)
    last = f.cast("zext", f.compare("uge", value, const(2)), "i64")
    return f.binary("or", result, last)


def _count_slot(code: Code, node: typed.Feed, cell: Operand, slot: Operand, slots: int) -> None:
    """Add one to a slot; the comparison is what makes the verifier believe the bound."""
    f = code.f
    inside, done = f.label("inside"), f.label("counted")
    # Without the barrier LLVM proves the bound itself and drops the test that the verifier needs.
    slot = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {slot.text})', "i64")
    f.branch(f.compare("ult", slot, const(slots)), inside, done)
    f.place(inside)
    _add(code, node, f.offset(cell, f.binary("shl", slot, const(3))), const(1))
    f.place(done)


def _linear(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    low, high, step = a.params
    f = code.f
    slots = aggregate_layout(a).slots
    slot = code.register()
    below, above, between, done = (f.label(n) for n in ("below", "above", "between", "slot"))
    inside = f.label("upper")
    f.branch(f.compare("slt" if a.signed else "ult", value, const(low)), below, inside)
    f.place(inside)
    f.branch(f.compare("sge" if a.signed else "uge", value, const(high)), above, between)
    f.place(below)
    f.store(const(0), slot, align=8)
    f.jump(done)
    f.place(above)
    f.store(const(slots - 1), slot, align=8)
    f.jump(done)
    f.place(between)
    index = f.binary("udiv", f.binary("sub", value, const(low)), const(step))
    f.store(f.binary("add", index, const(1)), slot, align=8)
    f.place(done)
    _count_slot(code, node, cell, f.load("i64", slot, align=8), slots)


FEEDERS: dict[str, Callable[[Code, typed.Feed, Aggregate, Operand, Operand], None]] = {
    "count": _sum,
    "sum": _sum,
    "avg": _average,
    "stats": _average,
    "min": _extreme,
    "max": _extreme,
    "hist": _histogram,
    "lhist": _linear,
    "tseries": feed_series,
}

# What a value is after its first feed, in words; histograms and series are too large to be made so.
FIRST: dict[str, Callable[[Code, Aggregate, Operand], tuple[Operand, ...]]] = {
    "count": lambda code, a, value: (value,),
    "sum": lambda code, a, value: (value,),
    **dict.fromkeys(("avg", "stats"), lambda code, a, value: (value, const(1))),
    **dict.fromkeys(("min", "max"), lambda code, a, value: (kept(code, a.kind, a.signed, value), const(1))),
}


# --- Reading in the kernel --------------------------------------------------------------------------------------------


def total(code: Code, info: typed.MapInfo, key: Operand) -> Operand:
    """The aggregate as one number, over all CPUs. How many there are is a load-time constant, so that the verifier follows that
    many rounds."""
    f = code.f
    a = info.value
    assert isinstance(a, Aggregate)
    cpu, first, second = code.register(), code.register(), code.register()
    for cell in (cpu, first, second):
        f.store(const(0), cell, align=8)
    loop, present, following, done = (f.label(n) for n in ("cpu", "present", "following", "total"))
    f.place(loop)
    number = f.load("i64", cpu, align=8)
    pointer = f.call_pointer(Helper.MAP_LOOKUP_PERCPU_ELEM, map_pointer(code, info), key, f.cast("trunc", number, "i32"))
    f.branch(f.compare("ne", pointer, NULL), present, done)
    f.place(present)
    _accumulate(code, a, pointer, first, second)
    f.place(following)
    after = f.binary("add", number, const(1))
    f.store(after, cpu, align=8)
    f.branch(f.compare("ult", after, code.load_constant("ncpus")), loop, done)
    f.place(done)
    return _result(code, a, first, second)


def _accumulate(code: Code, a: Aggregate, cell: Operand, first: Operand, second: Operand) -> None:
    f = code.f
    value = f.load("i64", cell, align=8)
    if a.kind in ("min", "max"):
        _accumulate_extreme(code, cell, value, first, second)
        return
    f.store(f.binary("add", f.load("i64", first, align=8), value), first, align=8)
    if a.kind in ("avg", "stats"):
        count = f.load("i64", f.offset(cell, 8), align=8)
        f.store(f.binary("add", f.load("i64", second, align=8), count), second, align=8)


def _accumulate_extreme(code: Code, cell: Operand, value: Operand, first: Operand, second: Operand) -> None:
    f = code.f
    best = f.load("i64", first, align=8)
    f.store(f.select(f.compare("ugt", value, best), value, best), first, align=8)
    f.store(f.binary("or", f.load("i64", second, align=8), f.load("i64", f.offset(cell, 8), align=8)), second, align=8)


def _result(code: Code, a: Aggregate, first: Operand, second: Operand) -> Operand:
    f = code.f
    value = f.load("i64", first, align=8)
    if a.kind in ("min", "max"):
        known = f.compare("ne", f.load("i64", second, align=8), const(0))
        return f.select(known, kept(code, a.kind, a.signed, value), const(0))
    if a.kind != "avg":
        return value
    count = f.load("i64", second, align=8)
    divisor = f.select(f.compare("eq", count, const(0)), const(1), count)
    if not a.signed:
        return f.binary("udiv", value, divisor)
    negative = f.compare("slt", value, const(0))
    quotient = f.binary("udiv", f.select(negative, f.binary("sub", const(0), value), value), divisor)
    return f.select(negative, f.binary("sub", const(0), quotient), quotient)
