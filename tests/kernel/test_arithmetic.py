"""Operators, casts and conversions: what the kernel computes is what C would."""

from __future__ import annotations

import pytest

from kubebpf.compiler.artifact.cells import Last
from kubebpf.compiler.artifact.values import Pointer, Value
from support.programs import pair, run

pytestmark = pytest.mark.kernel

U64 = 1 << 64

# Each expression is made of variables or casts, so that nothing is folded: the BPF program computes it.
EXPRESSIONS: tuple[tuple[str, Value], ...] = (
    # signed division rounds towards zero; a remainder has the sign of the dividend
    ("$minus / 2", -3),
    ("$minus % 2", -1),
    ("$minus / -2", 3),
    ("7 / $minus", -1),
    ("7 % $minus", 0),
    ("8 % $minus", 1),
    ("$least / -1", -(1 << 63)),
    ("$most / 2", (U64 - 1) // 2),
    ("$most % 10", (U64 - 1) % 10),
    ("$most / 3", (U64 - 1) // 3),
    # division by zero is 1
    ("5 / $zero", 1),
    ("5 % $zero", 1),
    ("5 / (uint64)0", 1),
    ("$minus / $zero", 1),
    # 64 bits, wrapping
    ("$most + 1", 0),
    ("$byte + $byte", 510),
    ("$minus * 3", -21),
    ("$ten - 20", -10),
    ("$small - 6", -1),
    ("-$minus", 7),
    ("-$byte", 1),
    ("~$byte", 0),
    ("~$minus", 6),
    ("$six & 3", 2),
    ("$six | 1", 7),
    ("$six ^ 5", 3),
    # shifts: arithmetic for signed numbers; the count goes by its low six bits
    ("$minus >> 1", -4),
    ("$most >> 1", (U64 - 1) >> 1),
    ("$one << 40", 1 << 40),
    ("$one << $sixtyfour", 1),
    ("$six >> 1", 3),
    # comparisons, with the sign of the operands
    ("$minus < 0", True),
    ("$most > 0", True),
    ("$byte == 255", True),
    ("$minus == -7", True),
    ("$minus != -7", False),
    ("$ten >= 10", True),
    ("$ten > 10", False),
    ("$ten <= 9", False),
    # logic
    ("$ten && $zero", False),
    ("$ten || $zero", True),
    ("!$ten", False),
    ("!$zero", True),
    ("$zero == 0 && $ten > 9 || $zero", True),
    # casts
    ("(int8)$wide", -56),
    ("(uint8)$wide", 200),
    ("(int16)$minus", -7),
    ("(uint32)$minus", (1 << 32) - 7),
    ("(uint64)$minus", U64 - 7),
    ("(int64)(uint8)$minus", 249),
    ("(bool)$ten", True),
    ("(bool)$zero", False),
    ("(uint32 *)4096", Pointer(4096)),
    ("(uint32 *)4096 + $ten", Pointer(4136)),
    ("(int64)((uint32 *)4096 - 1)", 4092),
    # choices
    ("$ten > 5 ? 1 : 2", 1),
    ("$ten ?: 3", 10),
    ("$zero ?: 3", 3),
    ('$zero ? "long text" : "no"', "no"),
    ("if ($ten > 5) { 7 } else { 8 }", 7),
    ("{ let $inner = $ten; $inner + 1 }", 11),
    # tuples
    ("($byte, $text, ($minus, true))", pair(255, "hello", pair(-7, True))),
    ("($byte, ($minus, 3)).1.0", -7),
    ('($byte, "a") == (255, "a")', True),
    ('($byte, "a") != (255, "b")', True),
    # strings
    ('$text == "hello"', True),
    ('$text == "hell"', False),
    ('$text != "hello, world"', True),
    ("$text == $text", True),
    ("$text[1]", ord("e")),
    ('$text != "" ? "yes" : "no"', "yes"),
    # sizes
    ("sizeof($byte)", 1),
    ("sizeof((1, $text))", 7),
    ("sizeof(uint64)", 8),
)
PROLOGUE = (
    "$minus = -7; $zero = 0; $least = (int64)-9223372036854775808; $most = (uint64)-1; $byte = (uint8)255; $ten = 10; "
    '$small = (uint64)5; $six = 6; $one = 1; $sixtyfour = 64; $wide = 456; $text = "hello"; '
)


@pytest.fixture(scope="module")
def computed() -> list[Value]:
    """One program computes everything: its parts must not disturb each other."""
    return run("begin { " + PROLOGUE + " ".join(f"print({e});" for e, _ in EXPRESSIONS) + " }").printed


@pytest.mark.parametrize("index", range(len(EXPRESSIONS)), ids=[e for e, _ in EXPRESSIONS])
def test_expression(computed: list[Value], index: int) -> None:
    expected = EXPRESSIONS[index][1]
    assert computed[index] == expected
    assert type(computed[index]) is type(expected)


def test_division_by_zero_is_counted_at_its_place() -> None:
    ran = run("begin { $z = 0;\n  print(1 / $z); print(1 % $z); print(3 / $z); }")
    found = [(f.site.kind, f.count, f.site.place and f.site.place.line) for f in ran.counters.failures]
    assert found == [("divide_by_zero", 1, 2)] * 3


def test_only_the_chosen_side_is_evaluated() -> None:
    ran = run(
        "begin { $x = 1; print($x ? { @a++; 5 } : { @b++; 6 }); print($x && { @c++; 0 }); print($x || { @d++; 1 }); "
        "@b += 0; @d += 0 }"
    )
    assert ran.printed == [5, False, True]
    assert {name: ran.cell(name) for name in ("@a", "@b", "@c", "@d")} == {
        "@a": Last(1),
        "@b": Last(0),
        "@c": Last(1),
        "@d": Last(0),
    }


def test_steps() -> None:
    ran = run(
        "begin { $i = 5; print($i++); print(++$i); print($i--); print(--$i); print($i); @m = 5; print(@m++); print(++@m); @m--; }"
    )
    assert ran.printed == [5, 7, 7, 5, 5, 5, 7]
    assert ran.cell("@m") == Last(6)


def test_steps_wrap_in_the_width_of_their_variable() -> None:
    ran = run("begin { let $small: uint8 = 255; $small++; print($small); let $least: int8 = -128; $least--; print($least); }")
    assert ran.printed == [0, 127]


def test_compound_assignments() -> None:
    text = "$x = 9; $x -= 1; $x *= 3; $x /= 2; $x %= 5; $x <<= 3; $x >>= 1; $x |= 3; $x &= 14; $x ^= 1;"
    expected = ((9 - 1) * 3 // 2 % 5) << 3 >> 1
    expected = ((expected | 3) & 14) ^ 1
    ran = run("begin { " + text + " print($x); " + text.replace("$x", "@x") + " " + text.replace("$x", "@k[1]") + " }")
    assert ran.printed == [expected]
    assert ran.cell("@x") == Last(expected)
    assert ran.maps["@k"] == {1: Last(expected)}


def test_compound_assignment_begins_with_zero() -> None:
    ran = run("begin { @a += 2; @b[1] -= 3; @c |= 4; }")
    assert (ran.cell("@a"), ran.maps["@b"], ran.cell("@c")) == (Last(2), {1: Last(-3)}, Last(4))


def test_values_grow_over_the_whole_program() -> None:
    ran = run('begin { $s = "a"; print($s); @v = 1; } end { @v = 5000000000; @w["x"] = 1; @w["longer key"] = -1; }')
    assert ran.printed == ["a"]
    assert ran.cell("@v") == Last(5000000000)
    assert ran.maps["@w"] == {"x": Last(1), "longer key": Last(-1)}


def test_declared_variables() -> None:
    ran = run(
        "begin { let $a: int64; print($a); let $b: string[8]; print($b); let $c: (uint8, int16) = (1, -2); print($c); "
        "let $d; $d = 4; print($d) }"
    )
    assert ran.printed == [0, "", pair(1, -2), 4]


def test_branches_and_returns() -> None:
    ran = run(
        "begin { $x = 3; "
        "if ($x == 1) { print(1) } else if ($x == 3) { print(3) } else { print(0) } if ($x > 5) { print(9) } return; "
        "print(8) }"
    )
    assert ran.printed == [3]


def test_swapping_a_tuple_reads_the_old_value() -> None:
    assert run("begin { $t = (1, 2); $t = ($t.1, $t.0); print($t) }").printed == [pair(2, 1)]


def test_unroll() -> None:
    assert run("begin { $x = 1; unroll(10) { $x *= 2; } print($x) }").printed == [1024]


def test_actions_as_the_two_sides_of_a_choice() -> None:
    ran = run(
        "begin { $x = 3; $x == 3 ? print(1) : print(2); $x == 4 ? exit() : print(5); $x == 3 ? exit() : print(6); print(7); }"
    )
    assert ran.printed == [1, 5]
    assert ran.exit_code == 0


def test_variables_of_one_branch_are_its_own() -> None:
    ran = run(
        'begin { if (rand >= 0) { $b = "text"; print($b); } else { $b = 5; print($b); } { $c = 1; print($c); '
        "} { $c = (1, 2); print($c); } }"
    )
    assert ran.printed == ["text", 1, pair(1, 2)]
