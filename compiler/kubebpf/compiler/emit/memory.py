"""Values that live in memory: made where they are wanted (`into`), or found where they lie (`address`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubebpf.compiler.emit import arguments, functions, maps, members
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.conditions import chunks
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Record, Tuple, Type, alignof, sizeof
from kubebpf.compiler.types.model import members as layout
from kubebpf.compiler.types.promote import is_scalar

TEXT_STORES = 256  # constants up to this size are stored as immediates


def into(code: Code, expr: typed.Expr, to: Operand, padded: bool = True) -> None:
    """Evaluate `expr` into the memory at `to`, which has room for its type."""
    if is_scalar(expr.type):
        code.store(expr.type, code.scalar(expr), to, align=alignof(expr.type))
        return
    writer = WRITERS.get(type(expr))
    if writer is not None:
        writer(code, expr, to, padded)
    else:
        code.copy(to, address(code, expr), sizeof(expr.type))


def address(code: Code, expr: typed.Expr) -> Operand:
    """A pointer to the value: to where it lies already when that can be read directly, else to a temporary."""
    match expr:
        case typed.ReadVariable():
            return code.place(expr.variable)
        case typed.ReadMap():
            return maps.value_address(code, expr)
        case typed.Part():
            return members.part_address(code, expr)
        case typed.InMemory(memory=memory):
            assert isinstance(memory, Operand)
            return memory
        case typed.LoadTime():
            return _load_time_address(code, expr)
        case typed.Convert() if _is_same_bytes(expr.operand.type, expr.type):
            return address(code, expr.operand)
    temporary = code.temp(sizeof(expr.type))
    into(code, expr, temporary)
    return temporary


def _is_same_bytes(found: Type, wanted: Type) -> bool:
    """Whether a value needs no change: tuples of one size may still have other members."""
    return not isinstance(wanted, Tuple | Record) and not is_scalar(found) and sizeof(found) == sizeof(wanted)


def _text(code: Code, expr: typed.Text, to: Operand, padded: bool) -> None:
    """A constant string: immediates, then zeros up to the capacity."""
    size = sizeof(expr.type)
    data = expr.value + b"\0"
    if len(data) > TEXT_STORES:
        code.copy(to, Operand(code.module.text(data.ljust(size, b"\0")), "ptr"), size)
        return
    filled = data.ljust(min(size, (len(data) + 7) // 8 * 8), b"\0")
    for offset, width in chunks(len(filled)):
        value = int.from_bytes(filled[offset : offset + width], "little", signed=True)
        code.f.store(const(value, f"i{width * 8}"), code.f.offset(to, offset), align=1)
    if padded and size > len(filled):
        code.zero(code.f.offset(to, len(filled)), size - len(filled))


def _load_time(code: Code, expr: typed.LoadTime, to: Operand, padded: bool) -> None:
    code.copy(to, _load_time_address(code, expr), sizeof(expr.type))


def _load_time_address(code: Code, expr: typed.LoadTime) -> Operand:
    """Where the node wrote a string of its own."""
    constant = code.module.constant(expr.kind, expr.arg, string=True, size=sizeof(expr.type), default=expr.default)
    return code.constant_address(constant.offset)


def _tuple(code: Code, expr: typed.MakeTuple, to: Operand, padded: bool) -> None:
    """Member by member; the holes between them are cleared first, because the verifier and the hash see them."""
    assert isinstance(expr.type, Tuple | Record)
    offsets, size = layout(expr.type)
    if sum(sizeof(e.type) for e in expr.elements) != size:
        code.zero(to, size)
    for offset, element in zip(offsets, expr.elements, strict=True):
        code.into(element, code.f.offset(to, offset))


def _convert(code: Code, expr: typed.Convert, to: Operand, padded: bool) -> None:
    """Strings and tuples in a larger form; a number as an array."""
    source = expr.operand
    if is_scalar(source.type):
        _number_as_array(code, source, to, sizeof(expr.type))
    elif isinstance(expr.type, Tuple | Record):
        _convert_tuple(code, expr, to)
    else:
        _widen(code, source, to, sizeof(expr.type), padded)


def _number_as_array(code: Code, source: typed.Expr, to: Operand, size: int) -> None:
    value = code.scalar(source)
    for offset, width in chunks(size):
        shifted = code.f.binary("lshr", value, const(offset * 8)) if offset else value
        code.f.store(code.f.cast("trunc", shifted, f"i{width * 8}"), code.f.offset(to, offset), align=1)


def _widen(code: Code, source: typed.Expr, to: Operand, size: int, padded: bool) -> None:
    have = sizeof(source.type)
    code.into(source, to, padded=padded)
    if size > have and padded:
        code.zero(code.f.offset(to, have), size - have)


def _convert_tuple(code: Code, expr: typed.Convert, to: Operand) -> None:
    """Member by member, records by name. The source is evaluated once."""
    wanted, found = expr.type, expr.operand.type
    assert isinstance(wanted, Tuple | Record) and isinstance(found, Tuple | Record)
    source = typed.InMemory(span=expr.span, type=found, memory=address(code, expr.operand))
    offsets, size = layout(wanted)
    code.zero(to, size)
    have = _named(found)
    names = list(have)
    for offset, (name, t) in zip(offsets, _named(wanted).items(), strict=True):
        part: typed.Expr = typed.Part(span=expr.span, type=have[name], object=source, index=names.index(name))
        if have[name] != t:
            part = typed.Convert(span=expr.span, type=t, operand=part)
        code.into(part, code.f.offset(to, offset))


def _named(t: Tuple | Record) -> dict[str, Type]:
    """The members by name; a tuple's by number."""
    return dict(t.fields) if isinstance(t, Record) else {str(i): e for i, e in enumerate(t.elements)}


def _conditional(code: Code, expr: typed.Conditional, to: Operand, padded: bool) -> None:
    f = code.f
    then, otherwise, done = f.label("then"), f.label("else"), f.label("chosen")
    f.branch(code.condition(expr.condition), then, otherwise)
    f.place(then)
    code.into(expr.then, to, padded=padded)
    f.jump(done)
    f.place(otherwise)
    code.into(expr.otherwise, to, padded=padded)
    f.place(done)


def _call(code: Code, expr: typed.Call, to: Operand, padded: bool) -> None:
    """A builtin that gives a value in memory writes it where `code.destination` says."""
    assert expr.builtin.emit is not None
    code.destination, code.padded = to, padded
    expr.builtin.emit(code, expr)


def _block(code: Code, expr: typed.BlockValue, to: Operand, padded: bool) -> None:
    for s in expr.statements:
        code.statement(s)
    code.into(expr.value, to, padded=padded)


WRITERS: dict[type, Callable[[Any, Any, Operand, bool], None]] = {
    typed.Text: _text,
    typed.LoadTime: _load_time,
    typed.MakeTuple: _tuple,
    typed.Convert: _convert,
    typed.Conditional: _conditional,
    typed.Call: _call,
    typed.Invoke: functions.invoke_into,
    typed.BlockValue: _block,
    typed.Member: members.read_memory,
    typed.Dereference: members.dereference_memory,
    typed.Element: members.element_memory,
    typed.Argument: arguments.memory,
}
