"""Changing the type of an expression without changing what it means, and deciding what is true."""

from __future__ import annotations

from dataclasses import replace

from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    BOOL,
    I64,
    Aggregate,
    Bool,
    EnumType,
    Int,
    Pointer,
    Record,
    String,
    Tuple,
    Type,
)

# Aggregates that are one number, with the number's sign taken from the aggregate.
NUMERIC_AGGREGATES = frozenset(("count", "sum", "min", "max", "avg"))


def decay(expr: typed.Expr) -> typed.Expr:
    """An aggregate becomes the number that it stands for; everything else stays."""
    if isinstance(expr.type, Aggregate) and expr.type.kind in NUMERIC_AGGREGATES:
        return replace(expr, type=Int(64, expr.type.signed or expr.type.kind == "count"))
    return expr


def convert(expr: typed.Expr, to: Type) -> typed.Expr:
    """The expression with type `to`, which it is known to go with."""
    if isinstance(expr, typed.Bad) or expr.type == to:
        return expr
    if isinstance(expr, typed.Constant) and isinstance(to, Int | EnumType | Bool):
        return replace(expr, type=to, value=wrap(expr.value, to))
    if isinstance(expr, typed.Text) and isinstance(to, String):
        return replace(expr, type=to)
    if isinstance(expr, typed.MakeTuple) and _same_order(expr.type, to):
        assert isinstance(to, Tuple | Record)
        types = to.elements if isinstance(to, Tuple) else tuple(t for _, t in to.fields)
        elements = tuple(convert(e, t) for e, t in zip(expr.elements, types, strict=True))
        return replace(expr, elements=elements, type=to)
    return typed.Convert(span=expr.span, type=to, operand=expr)


def _same_order(found: Type, to: Type) -> bool:
    """Whether elements can be converted one by one. Records in another order are made as written, and then copied by name."""
    if isinstance(found, Record) and isinstance(to, Record):
        return [n for n, _ in found.fields] == [n for n, _ in to.fields]
    return isinstance(found, Tuple) and isinstance(to, Tuple)


def wrap(value: int, t: Int | EnumType | Bool) -> int:
    """The value that is left of `value` in an integer type."""
    if isinstance(t, Bool):
        return int(value != 0)
    base = t.base if isinstance(t, EnumType) else t
    value &= (1 << base.bits) - 1
    return value - (1 << base.bits) if base.signed and value >> (base.bits - 1) else value


def aggregate_of(expr: typed.Expr) -> Aggregate | None:
    """The aggregate that a number was read from by `decay`, without a cast that asked for it."""
    return expr.map.value if isinstance(expr, typed.ReadMap) and isinstance(expr.map.value, Aggregate) else None


def is_integer(expr: typed.Expr) -> bool:
    """Whether a value is a number by itself: no bool, and no aggregate that nobody has cast to one."""
    return isinstance(expr.type, Int | EnumType) and aggregate_of(expr) is None


def type_name(expr: typed.Expr) -> str:
    """The type of a value as its owner knows it: a decayed aggregate is still called by its own name."""
    return str(aggregate_of(expr) or expr.type)


def cast_hint(expr: typed.Expr) -> tuple[str, ...]:
    """How to make a number of a value that is nearly one."""
    if aggregate_of(expr) is not None:
        return ("A cast sums it up over all CPUs: (int64)@map.",)
    return ("A cast makes a number of it: (int64)flag.",) if isinstance(expr.type, Bool) else ()


def has_truth(expr: typed.Expr) -> bool:
    """Whether a value can be a condition; of strings only a literal, which is known to be empty or not."""
    return isinstance(expr, typed.Text) or isinstance(expr.type, Int | EnumType | Bool | Pointer)


def is_literal_int(expr: typed.Expr) -> bool:
    """An integer constant as written, or folded from such."""
    return isinstance(expr, typed.Constant) and isinstance(expr.type, Int | EnumType)


BOOLEAN, NUMBER = BOOL, I64
