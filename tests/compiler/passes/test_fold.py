"""Folding against the arithmetic of 64-bit machines, and against the same expression not folded."""

from __future__ import annotations

import ctypes
import math
import operator
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebpf.compiler.artifact.values import Value
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.passes.fold import INT64_MAX, INT64_MIN, UINT64_MAX, NoValueError, fold
from support.programs import codes

LITERALS = st.one_of(
    st.integers(INT64_MIN, UINT64_MAX),
    st.sampled_from([0, 1, -1, 2, INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX + 1, UINT64_MAX]),
    st.integers(-100, 100),
)


OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


def exact(op: str, a: int, b: int) -> int:
    """The mathematical value, with C's rounding towards zero."""
    if op in ("/", "%"):
        quotient = (
            math.trunc(a / b) if abs(a) < 1 << 50 and abs(b) < 1 << 50 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        )
        return quotient if op == "/" else a - quotient * b
    return OPERATIONS[op](a, b)


def fits(value: int, *operands: int) -> bool:
    """Whether one 64-bit type holds the operands and the result."""
    signed = min(value, *operands) < 0
    return all((INT64_MIN if signed else 0) <= n <= (INT64_MAX if signed else UINT64_MAX) for n in (value, *operands))


@given(st.sampled_from(["+", "-", "*", "/", "%", "&", "|", "^"]), LITERALS, LITERALS)
def test_a_fold_is_exact_or_refused(op: str, a: int, b: int) -> None:
    if op in ("/", "%") and b == 0:
        with pytest.raises(NoValueError, match="divide by zero"):
            fold(op, a, b)
        return
    value = exact(op, a, b)
    try:
        assert fold(op, a, b) == value
    except NoValueError:
        assert not fits(value, a, b)


@given(st.sampled_from(["+", "-", "*", "/", "%", "&", "|", "^"]), LITERALS, LITERALS.filter(bool))
def test_what_fits_is_folded(op: str, a: int, b: int) -> None:
    value = exact(op, a, b)
    if fits(value, a, b):
        assert fold(op, a, b) == value


@given(LITERALS, st.integers(0, 63))
def test_shifts_are_the_machine_s(a: int, count: int) -> None:
    left = fold("<<", a, count)
    right = fold(">>", a, count)
    assert left & UINT64_MAX == (a << count) & UINT64_MAX
    assert right == (a >> count if a < 0 else ctypes.c_uint64(a).value >> count)


@pytest.mark.parametrize("count", [-1, 64, 1000])
@pytest.mark.parametrize("op", ["<<", ">>"])
def test_wide_shifts_are_refused(op: str, count: int) -> None:
    with pytest.raises(NoValueError, match="overflow"):
        fold(op, 1, count)


SMALL = st.integers(-(1 << 31), 1 << 31)


@pytest.mark.kernel
@settings(deadline=None)  # each example compiles and loads a program
@given(data=st.data())
def test_folding_changes_nothing(data: st.DataObject) -> None:
    """One program computes forty expressions twice: of literals, and of variables with the same values."""
    from support.programs import run

    cases = data.draw(st.lists(st.tuples(st.sampled_from("+-*/%&|^"), SMALL, SMALL.filter(bool)), min_size=20, max_size=40))
    text = " ".join(f"$a = (int64){a}; $b = (int64){b}; print(({a} {op} ({b})) == ($a {op} $b));" for op, a, b in cases)
    printed: list[Value] = run(f"begin {{ {text} }}").printed
    assert printed == [True] * len(cases)


@pytest.mark.parametrize(
    "expression", ['"a" < "b"', '"a" == "a"', "(1, 2).1 == 2", "!0", "comptime (1, 2).0", '"ab" + "cd" == "abcd"']
)
def test_constant_expressions_have_a_value_at_compile_time(expression: str, small: KernelView) -> None:
    assert codes(f"begin {{ if comptime ({expression}) {{ print(1); }} else {{ undefined(); }} }}", small) == []
