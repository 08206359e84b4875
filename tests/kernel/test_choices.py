"""Blocks, `if` and `?:` as values: what is evaluated, and how often."""

from __future__ import annotations

import pytest

from kubebpf.compiler.artifact.cells import Last
from support.programs import pair, run

pytestmark = pytest.mark.kernel

PROGRAM = """
begin {
    $x = { let $a = 1; $a += 2; $a * 2 };
    print($x);
    print({ $s = "text"; $s });
    print({ $t = (1, "a"); $t });
    print(if ($x > 5) { "large" } else { "small, not" });
    print(if ($x > 50) { (1, "x") } else if ($x == 6) { (2, "yy") } else { (3, "z") });
    $y = if ($x == 1) { 10 } else { $z = $x; $z + 1 };
    print($y);
    print({ @calls += 1; 0 } ?: 7);
    print({ @calls += 1; 5 } ?: 7);
    print("" ?: "empty"); print("full" ?: "empty");
    print(comm == "nobody" ?: false);
    $n = 3;
    print($n++ ?: 9); print($n);
    print((uint64)0 ?: $n);
    { print("inner"); 1 };
    if (pid) { print("then") } else { print("else") }
    _ = { @calls += 1; @calls };
    print({ { { 1 } + 1 } + 1 });
    @m[{ "k" }] = { ({ "v" }) };
    print(strlen({ @calls += 1; "four" }));
}
"""


def test_choices() -> None:
    ran = run(PROGRAM)
    first = [6, "text", pair(1, "a"), "large", pair(2, "yy"), 7, 7, 5, "empty", "full", False, 3, 4, 4]
    assert ran.printed == [*first, "inner", "then", 3, 4]
    assert ran.cell("@calls") == Last(4)
    assert ran.maps["@m"].keys() == {"k"}
