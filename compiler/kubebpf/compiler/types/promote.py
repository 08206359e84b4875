"""Which type two types become together: in a variable assigned twice, in the keys of a map, in the operands of an operator.

join(uint8, uint32)  -> uint32
join(int32, uint32)  -> int64
join(string[2], string[6]) -> string[6]
join(int8, string[2]) -> None
"""

from __future__ import annotations

from dataclasses import replace

from kubebpf.compiler.types.model import (
    VOID,
    Aggregate,
    Bool,
    Buffer,
    EnumType,
    Int,
    Pointer,
    Record,
    Space,
    String,
    Tuple,
    Type,
    Void,
)


def smallest_int(value: int) -> Int:
    """The type of a literal: the smallest signed type that holds it, uint64 beyond int64's range."""
    for bits in (8, 16, 32, 64):
        if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            return Int(bits, True)
    return Int(64, False)


def fits(value: int, t: Int) -> bool:
    """Whether an integer type holds a value."""
    low = -(1 << (t.bits - 1)) if t.signed else 0
    return low <= value < low + (1 << t.bits)


def join_ints(a: Int, b: Int) -> Int:
    """The smallest type that holds both; signed and unsigned 64-bit numbers meet in int64."""
    role = a.role if a.role == b.role else ""
    if a.signed == b.signed:
        return Int(max(a.bits, b.bits), a.signed, role)
    signed, unsigned = (a, b) if a.signed else (b, a)
    return Int(min(max(signed.bits, 2 * unsigned.bits), 64), True, role)


def join(a: Type, b: Type) -> Type | None:
    """The common type of two values, or None when there is none."""
    match a, b:
        case Int(), Int():
            return join_ints(a, b)
        case String(size=x), String(size=y):
            return String(max(x, y))
        case Buffer(size=x), Buffer(size=y):
            return Buffer(max(x, y))
        case EnumType(), EnumType():
            return a if a == b else join_ints(a.base, b.base)
        case (EnumType(base=base), Int() as other) | (Int() as other, EnumType(base=base)):
            return join_ints(base, other)
        case Tuple(elements=x), Tuple(elements=y):
            return _join_tuples(x, y)
        case Record(fields=x), Record(fields=y):
            return _join_records(x, y)
        case Pointer(), Pointer():
            return _join_pointers(a, b)
        case Aggregate(), Aggregate():
            return _join_aggregates(a, b)
        case _:
            return a if a == b else None


def _join_aggregates(a: Aggregate, b: Aggregate) -> Aggregate | None:
    """One kind with one set of parameters; signed as soon as one feeder is."""
    signed = a if a.signed else b
    return signed if replace(a, signed=True) == replace(b, signed=True) else None


def _join_tuples(a: tuple[Type, ...], b: tuple[Type, ...]) -> Tuple | None:
    if len(a) != len(b):
        return None
    joined = [join(x, y) for x, y in zip(a, b, strict=True)]
    return None if None in joined else Tuple(tuple(t for t in joined if t is not None))


def _join_records(a: tuple[tuple[str, Type], ...], b: tuple[tuple[str, Type], ...]) -> Record | None:
    """Fields go by their names: the order is that of the first."""
    theirs = dict(b)
    if len(a) != len(b) or {n for n, _ in a} != set(theirs):
        return None
    joined = _join_tuples(tuple(t for _, t in a), tuple(theirs[n] for n, _ in a))
    if joined is None:
        return None
    return Record(tuple((n, t) for (n, _), t in zip(a, joined.elements, strict=True)))


def _join_pointers(a: Pointer, b: Pointer) -> Pointer | None:
    space = a.space if b.space is Space.NONE else b.space if a.space is Space.NONE else a.space
    trusted = a.trusted and b.trusted
    if a.target == b.target:
        return Pointer(a.target, space, trusted, a.growing and b.growing)
    growing = a.growing and b.growing
    if (growing or _plain(a.target, b.target)) and (target := join(a.target, b.target)) is not None:
        return Pointer(target, space, trusted, growing)
    if isinstance(a.target, Void) or isinstance(b.target, Void):
        return Pointer(VOID, space)
    return None


def _plain(a: Type, b: Type) -> bool:
    """Whether what two pointers point to has a common type, as upstream has it: numbers of all sizes, strings, and pointers."""
    return any(isinstance(a, kind) and isinstance(b, kind) for kind in (Int, String, Pointer))


def is_integral(t: Type) -> bool:
    """Integers, enums and bools: what arithmetic takes."""
    return isinstance(t, Int | EnumType | Bool)


def as_int(t: Type) -> Int:
    """The integer type behind an integral type or a pointer."""
    match t:
        case Int():
            return t
        case EnumType(base=base):
            return base
        case Bool():
            return Int(8, False)
        case _:
            return Int(64, False)


def is_scalar(t: Type) -> bool:
    """Whether values of the type live in a register."""
    return isinstance(t, Int | EnumType | Bool | Pointer)
