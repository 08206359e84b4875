"""Positional parameters and getopt: what is folded, and what the node writes before the load."""

from __future__ import annotations

import pytest

from kubebpf.agent.session.options import Options
from support.programs import compiled, kernel, result, run, running

pytestmark = pytest.mark.kernel

PROGRAM = """
let @sized = hash($4);
begin {
    @sized[1] = 1;
    print($1); print($2); print($#); print($9);
    print(str($1)); print(str($2 + 2)); print(str($2, 3)); print(str($9));
    print($5);
    $n = 0;
    unroll ($1) { $n += 1; }
    print($n);
    print(comptime ($1 * 10 + 1));
    if comptime (str($2) == "nginx") { print("web") } else { print(no_such_name) }
    print(getopt("limit", 10)); print(getopt("limit", 10, "how many"));
    print(getopt("who", "nobody")); print(getopt("quiet")); print(getopt("loud", true)); print(getopt("far", -1));
    print(getopt("big", 1));
    if ($1 == 3 && getopt("limit", 10) == 20) { print("both") }
}
"""
PARAMS = (("big", "0xffffffffffffffff"), ("limit", "20"), ("loud", "False"), ("quiet", ""))
ARGS = ("3", "nginx", "x", "16", "18446744073709551615")


def test_parameters() -> None:
    options = Options(args=ARGS, params=dict(PARAMS))
    with running(PROGRAM, options=options, args=ARGS, params=PARAMS) as session:
        schema = next(m for m in session.manifest.maps if m.name == "@sized")
        assert schema.max_entries == 16
        assert session.manifest.folded == ("$1", "$2", "$4", "$5", "--big")
    most = (1 << 64) - 1
    printed = [3, "nginx", 5, 0, "3", "inx", "ng", "", most, 3, 31, "web", 20, 20, "nobody", True, False, -1, most, "both"]
    assert result(session).printed == printed


def test_positional_unfolded_is_not_in_the_object() -> None:
    text = 'begin { print($1 + getopt("n", 1)); print(str($2)) }'
    one, two = (compiled(text, args=args, params=(("n", "5"),)) for args in (("1", "a"), ("2", "b")))
    assert one.elf == two.elf
    assert one.manifest.folded == ()


def test_parameters_in_attach_points() -> None:
    artifact = compiled("tracepoint:$1:$2 { @ = count() } interval:ms:$3 { }", args=("raw_syscalls", "sys_enter", "20"))
    assert [a.text for a in artifact.manifest.attaches] == ["tracepoint:raw_syscalls:sys_enter", "interval:ms:20"]
    assert artifact.manifest.folded == ("$1", "$2", "$3")
    assert kernel() is not None


def test_str_of_a_parameter_that_is_too_long() -> None:
    assert run("begin { print(str($1, 4)) }", "abcdefgh").printed == ["abc"]
