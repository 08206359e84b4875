"""Arithmetic on constants, as the program would do it at run time; what has no value is an error with a reason.

fold("+", 1, 2, signed=True) -> 3
fold("/", 1, 0, signed=True) raises NoValueError("divide by zero")
"""

from __future__ import annotations

import operator
from collections.abc import Callable

INT64_MIN, INT64_MAX, UINT64_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


class NoValueError(ValueError):
    """The reason why two constants have no result."""


def fold(op: str, left: int, right: int) -> int:
    """The value of `left op right` for literals.

    Returns: an integer between -2**63 and 2**64 - 1.
    Raises:
        NoValueError: overflow, underflow or division by zero.
    """
    if op in ("/", "%") and right == 0:
        raise NoValueError("divide by zero")
    if op in ("<<", ">>") and not 0 <= right < 64:
        raise NoValueError("overflow")
    if min(left, right) < 0 and max(left, right) > INT64_MAX:
        raise NoValueError("overflow")  # no type holds both
    return in_range(_OPERATIONS[op](left, right), left < 0 or right < 0)


def in_range(value: int, negative: bool) -> int:
    """The value itself when 64 bits hold it.

    Args:
        negative: whether an operand is negative, so that the result has to be an int64.
    Raises:
        NoValueError: they do not.
    """
    if value < INT64_MIN:
        raise NoValueError("underflow")
    if value > (INT64_MAX if negative and value > INT64_MAX else UINT64_MAX):
        raise NoValueError("overflow")
    return value


def _shift_left(left: int, right: int) -> int:
    if left < 0:
        shifted = (left << right) & UINT64_MAX
        return shifted - (1 << 64) if shifted > INT64_MAX else shifted
    return (left << right) & UINT64_MAX


def _divide(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)  # C rounds towards zero
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    return left - right * _divide(left, right)


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": _shift_left,
    ">>": operator.rshift,
}

COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,  # type: ignore[dict-item]
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    ">=": operator.ge,  # type: ignore[dict-item]
}
