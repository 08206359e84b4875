"""Diagnostics as text and as data: the place, the words, the line, the underline, the hints.

    stdin:1:9-14: ERROR: syntax: expected ';'
    begin { exit print(1); }
            ~~~~~
    HINT: ...

Columns are 1-based, the second one is the column behind the last underlined character. A diagnostic over several lines
names the lines only (`stdin:2-3:`) and shows them without an underline.
"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from kubebpf.compiler.complaints.base import Complaint, Note, Report, plain
from kubebpf.compiler.syntax.span import Position, Source, Span

_MAX_WIDTH = 400  # Characters shown of one line. A program can be one line of a megabyte.
_MAX_LINES = 12
_MAX_MESSAGE = 2000
_MAX_CALLS = 8  # Macro calls shown inside each other: the innermost ones and the outermost.


def render_all(report: Report) -> str:
    """Every diagnostic of a report in the order of the text, one behind the other; nothing for an empty report."""
    return "\n".join(render(complaint, report.sources) for complaint in report)


def render(complaint: Complaint, sources: Sequence[Source]) -> str:
    """One diagnostic as text, without a newline at the end."""
    lines = _placed(complaint.span, complaint.severity.upper(), complaint.message, sources)
    lines += [f"HINT: {_printable(plain(hint))}" for hint in complaint.help]
    for note in _notes(complaint):
        lines += _note(note, sources)
    return "\n".join(lines)


def to_json(complaint: Complaint, sources: Sequence[Source]) -> dict[str, object]:
    """One diagnostic as data for JSON output."""
    place = _json_place(complaint.span, sources)
    notes = [{"message": n.text} | (_json_place(n.span, sources) if n.span else {}) for n in _notes(complaint)]
    head = {"severity": complaint.severity, "code": complaint.code, "message": _encodable(complaint.message)}
    return {**head, **place, "help": list(map(plain, complaint.help)), "notes": notes}


def _notes(complaint: Complaint) -> list[Note]:
    """The notes, and where the macro was called in whose body the place is."""
    calls = list(complaint.span.calls())
    shown = calls if len(calls) <= _MAX_CALLS else [*calls[: _MAX_CALLS - 1], calls[-1]]
    return [*complaint.notes, *(Note(text="expanded from here", span=call) for call in shown)]


def _json_place(span: Span, sources: Sequence[Source]) -> dict[str, object]:
    source = sources[span.file]
    start, end = source.position(span.start), source.position(span.end)
    where = {"line": start.line, "column": start.column, "end_line": end.line, "end_column": end.column}
    return {"file": source.name, **where}


def _note(note: Note, sources: Sequence[Source]) -> list[str]:
    if note.span is None:
        return [f"NOTE: {_printable(note.text)}"]
    return _placed(note.span, "NOTE", note.text, sources)


def _placed(span: Span, label: str, message: str, sources: Sequence[Source]) -> list[str]:
    source = sources[span.file]
    start, end = source.position(span.start), source.position(span.end)
    words = _words(label, message)
    if start.line == end.line:
        place = f"{source.name}:{start.line}:{start.column}-{end.column}"
        return [f"{place}: {words}", *_underlined(source.line(start.line), start, end)]
    lines = range(start.line, min(end.line, start.line + _MAX_LINES) + 1)
    shown = [_printable(source.line(number).rstrip("\r"))[:_MAX_WIDTH] for number in lines]
    return [f"{source.name}:{start.line}-{end.line}: {words}", *shown]


def _underlined(line: str, start: Position, end: Position) -> list[str]:
    """The line and its underline. Tabs stay tabs in both, so that they reach the same column in any terminal."""
    first, last = start.column - 1, end.column - 1
    left = max(0, first - _MAX_WIDTH // 2) if len(line) > _MAX_WIDTH else 0
    shown = _printable(line[left : left + _MAX_WIDTH].rstrip("\r"))
    blank = "".join("\t" if c == "\t" else " " * _width(c) for c in line[left:first])
    return [shown, blank + "~" * sum(_width(c) for c in line[first : min(last, left + _MAX_WIDTH)])]


def _width(character: str) -> int:
    """How many cells of a terminal a character takes."""
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _printable(text: str) -> str:
    """Text that neither moves a terminal's cursor nor fails to be encoded; every character keeps its cell."""
    return "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text)


def _words(label: str, message: str) -> str:
    return f"{label}: {_printable(message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + '…')}"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
