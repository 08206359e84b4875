"""Where a piece of program text stands: byte-exact spans, and the lines they fall on.

>>> source = Source("stdin", "begin { x }")
>>> source.position(8)
Position(line=1, column=9)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of character offsets into one source text.

    Args:
        start: offset of the first character (0-based).
        end: offset behind the last character.
        file: index of the source in the program's list of sources (0 is the program itself, others are imports).
        via: inside a macro's body, the call that put it there; that may lie in a body itself.
    """

    start: int
    end: int
    file: int = 0
    via: Span | None = None

    def to(self, other: Span) -> Span:
        """The smallest span that covers this one and `other` (both of one file)."""
        return Span(min(self.start, other.start), max(self.end, other.end), self.file, self.via)

    def calls(self) -> Iterator[Span]:
        """The macro calls that it was expanded from, the innermost first."""
        via = self.via
        while via is not None:
            yield via
            via = via.via


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A 1-based line and a 1-based column, counted in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """One program text with the name that diagnostics print for it.

    Args:
        name: what diagnostics print before the line: `stdin` for -e, else the file's path.
        text: the whole text.
    """

    name: str
    text: str

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return (0, *(i + 1 for i, c in enumerate(self.text) if c == "\n"))

    def position(self, offset: int) -> Position:
        """The line and column of a character offset."""
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its newline."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end]
