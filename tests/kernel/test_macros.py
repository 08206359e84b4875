"""Macros: what the kernel computes for a program after their expansion."""

from __future__ import annotations

import pytest

from kubebpf.compiler.artifact.cells import Last
from support.programs import run

pytestmark = pytest.mark.kernel

PROGRAM = """
macro inc(x) { $y = x + 1; $y }
macro bump($x) { $x += 1; }
macro twice($z) { bump($z); bump($z) }
macro put(@m, k) { @m[k] = k * 10; }
macro thrice(x) { x; x; x }
macro one() { 1 }
macro pick($v) { "variable" }
macro pick(@v) { "map" }
macro pick(v) { "expression" }
macro pick(v, w) { "two" }
macro same(one) { one }
macro width(T) { sizeof(T) + sizeof(T[4]) }
macro outer(T) { width(T) }
macro comm() { "mine" }
macro choose(c) { if (c) { "yes" } else { "no" } }
macro counted() { count() }

begin {
    $y = 2;
    print(inc(5));
    print(inc({ $y += 1; $y }));
    print($y);
    twice($y);
    print($y);
    put(@m, 3);
    print(@m[3]);
    thrice({ @calls += 1; @calls });
    print(one);
    print(pick($y)); print(pick(@m)); print(pick(1)); print(pick(1, 2));
    print(same(7));
    print(outer(typeof(uint32)));
    print(comm);
    print(choose($y > 2));
    @c = counted();
    print(inc(inc(inc(one))));
}
"""


def test_macros() -> None:
    ran = run(PROGRAM)
    kinds = ["variable", "map", "expression", "two"]
    assert ran.printed == [6, 4, 3, 5, 30, 1, *kinds, 7, 20, "mine", "yes", 4]
    assert ran.cell("@calls") == Last(3)
