"""How a diagnostic looks: columns, tabs, lines, hints, notes, and the same as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint, Note, Report
from kubebpf.compiler.complaints.render import render, render_all, to_json
from kubebpf.compiler.complaints.syntax import Expected
from kubebpf.compiler.syntax.span import Source, Span


@dataclass(frozen=True, kw_only=True)
class Unresolved(Complaint):
    title: ClassVar[str] = "Failed to resolve kernel symbol: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class Deprecated(Complaint):
    title: ClassVar[str] = "{name} is {{deprecated}}"
    severity = "warning"
    name: str


def place(text: str, part: str) -> Span:
    start = text.index(part)
    return Span(start, start + len(part))


def test_one_line() -> None:
    text = 'begin { print(kaddr("asdf")) }'
    complaint = Unresolved(span=place(text, 'kaddr("asdf")'), name="asdf", help=("try another", "or none"))
    assert render(complaint, [Source("stdin", text)]) == (
        "stdin:1:15-28: ERROR: Failed to resolve kernel symbol: asdf\n"
        'begin { print(kaddr("asdf")) }\n'
        "              ~~~~~~~~~~~~~\n"
        "HINT: try another\n"
        "HINT: or none"
    )


def test_a_warning_and_notes() -> None:
    text = "begin {\n\tprint(a);\r\n}"
    notes = (Note(text="without a place"), Note(text="defined here", span=place(text, "begin")))
    complaint = Deprecated(span=place(text, "a"), name="a", notes=notes)
    assert render(complaint, [Source("x.bt", text)]) == (
        "x.bt:2:8-9: WARNING: a is {deprecated}\n"
        "\tprint(a);\n"
        "\t      ~\n"
        "NOTE: without a place\n"
        "x.bt:1:1-6: NOTE: defined here\n"
        "begin {\n"
        "~~~~~"
    )


def test_several_lines() -> None:
    text = "begin\n{\n  1\n}\n"
    complaint = Expected(span=Span(6, 13), what="x")
    assert render(complaint, [Source("s", text)]) == "s:2-4: ERROR: syntax: expected x\n{\n  1\n}"


def test_the_end_of_the_text() -> None:
    complaint = Expected(span=Span(3, 3), what="'{'")
    assert render(complaint, [Source("s", "k:f")]) == "s:1:4-4: ERROR: syntax: expected '{'\nk:f\n   "


def test_imports_name_their_own_file() -> None:
    complaint = Expected(span=Span(0, 1, file=1), what="x")
    assert render(complaint, [Source("s", "a"), Source("lib.bt", "b")]).startswith("lib.bt:1:1-2: ERROR")


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    text = "begin { \x1b[2J\udcff日 x }"
    shown = render(Expected(span=place(text, "x"), what="\x1b"), [Source("s", text)])
    assert "\x1b" not in shown
    shown.encode()
    _, line, underline = shown.split("\n")
    assert line == "begin { \ufffd[2J\ufffd日 x }"
    assert underline == " " * 16 + "~"  # the wide character takes two cells


def test_long_lines_are_cut_around_the_place() -> None:
    text = "a" * 100_000 + "b" + "c" * 100_000
    _, line, underline = render(Expected(span=place(text, "b"), what="x"), [Source("s", text)]).split("\n")
    assert len(line) < 1000
    assert line[underline.index("~")] == "b"


def test_all_in_the_order_of_the_text() -> None:
    report = Report([Source("s", "ab")])
    for start in (1, 0, 1):
        report.add(Expected(span=Span(start, start + 1), what="x"))
    assert render_all(report) == "s:1:1-2: ERROR: syntax: expected x\nab\n~\ns:1:2-3: ERROR: syntax: expected x\nab\n ~"
    assert render_all(Report([])) == ""


def test_json() -> None:
    text = "begin {\n x\n}"
    note = Note(text="here", span=Span(0, 5))
    complaint = Expected(span=place(text, "x"), what="y", help=("h",), notes=(note, Note(text="nowhere")))
    assert to_json(complaint, [Source("s", text)]) == {
        "severity": "error",
        "code": "Expected",
        "message": "syntax: expected y",
        "file": "s",
        "line": 2,
        "column": 2,
        "end_line": 2,
        "end_column": 3,
        "help": ["h"],
        "notes": [
            {"message": "here", "file": "s", "line": 1, "column": 1, "end_line": 1, "end_column": 6},
            {"message": "nowhere"},
        ],
    }
