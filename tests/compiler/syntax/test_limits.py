"""Hostile programs: deep, long, broken. One clear complaint in little time, never an exception."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all, to_json
from kubebpf.compiler.syntax.parser import MAX_LENGTH, parse
from kubebpf.compiler.syntax.span import Source

DEEP = {
    "parentheses": "begin { " + "(" * 5000,
    "blocks": "begin " + "{" * 5000,
    "negations": "begin { " + "!" * 5000 + "1 }",
    "sum": "begin { @x = " + "+".join(["1"] * 5000) + " }",
    "calls": "begin { " + "f(" * 5000,
    "casts": "begin { " + "(int8)" * 5000 + "1 }",
    "typeof": "begin { " + "(typeof(" * 5000,
    "sizeof": "begin { " + "sizeof(" * 5000,
    "else if": "begin { " + "if (1) {} else " * 5000 + "{} }",
    "if as a value": "begin { $x = " + "if (1) {1} else { " * 5000,
    "ternaries": "begin { " + "1 ? 2 : " * 5000 + "3 }",
    "pointers": "begin { let $x: int8" + "*" * 5000 + "; }",
    "fields": "begin { $x" + ".a" * 5000 + " }",
    "keys": "begin { " + "@a[" * 5000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=list(DEEP))
def test_deep_programs(complaints: Callable[[str], str], text: str) -> None:
    said = complaints(text)
    assert said.count("ERROR") == 1
    assert "nested too deeply" in said


def test_what_is_deep_enough_for_anybody(parsed: Callable[[str], object]) -> None:
    parsed("begin { " + "(" * 98 + "1" + ")" * 98 + " }")
    parsed("begin { @x = " + "+".join(["1"] * 150) + " }")
    parsed("begin " + "{ " * 99 + "} " * 99)


def test_long_programs(complaints: Callable[[str], str]) -> None:
    assert "longer than" in complaints("//" + "a" * MAX_LENGTH)


def test_many_errors(complaints: Callable[[str], str]) -> None:
    said = complaints("begin { " + "print(1) " * 1000 + "}")
    assert "too many errors, stopped after 50" in said
    assert said.count("ERROR") == 51


SEEDS = [
    'begin { @x[1, "a"] = (int8)$y.z[2] ?: { $a = 1; $a }; if (1) { 2 } else { for ($i : 0..3) { f(typeof(a*)) } } }',
    '#include <a>\nstruct s { int x; };\nconfig = { a = 1 }\nimport "x";\nlet @m = hash(1);\nmacro m($x, y) { y }\n',
    'u:/bin/sh:"f g"+0x4, k:$1 /pid == 1 / 2/ { let $x: struct s*[4] = sizeof(a[1]); printf("%d\\x41\\n", 10ms); }',
]
PIECES = [*'{}()[]/*"\\;:,$@#.<>=+-&|!?~%^ \n0aé\x00', "if", "else", "struct x {", "typeof(", "/*", "//", "..", "(a", "1e", "0x"]


@pytest.mark.parametrize("seed", range(20))
def test_mutated_programs(seed: int) -> None:
    chance = random.Random(seed)
    began = monotonic()
    for _ in range(100):
        text = chance.choice(SEEDS)
        for _ in range(chance.randint(1, 8)):
            at, end = sorted(chance.choices(range(len(text) + 1), k=2))
            middle = chance.choice([chance.choice(PIECES), text[at:end] * 2, ""])
            text = text[:at] + middle + text[min(end, at + chance.randint(0, 9)) :]
        report = Report([Source("s", text)])
        parse(report.sources[0], report)
        render_all(report).encode()
        for complaint in report:
            assert 0 <= complaint.span.start <= complaint.span.end <= len(text)
            to_json(complaint, report.sources)
    assert monotonic() - began < 30
