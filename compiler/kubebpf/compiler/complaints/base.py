"""What every diagnostic is made of. A diagnostic is a frozen dataclass that says what is wrong; `render` words it.

@dataclass(frozen=True, kw_only=True)
class UnknownVariable(Complaint):
    title: ClassVar[str] = "Undefined or undeclared variable: {name}"
    name: str

report.add(UnknownVariable(span=node.span, name="$x", help=("did you mean $y?",)))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from kubebpf.compiler.syntax.span import Source, Span

Severity = Literal["error", "warning"]

_OF_A_MACRO = re.compile(r"(\$[A-Za-z_]\w*)#\d+")


def plain(text: str) -> str:
    """Variables of macros by the names that they have there: expansion puts a number behind them, so that none meet."""
    return _OF_A_MACRO.sub(r"\1", text)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A further remark, with a place of its own when it has one ("expanded from", "first assigned here")."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A diagnostic: `title` is a template over the dataclass's own fields.

    Args:
        span: the place that the caret line underlines.
        help: hints, one a line, printed as `HINT: …`.
        notes: further places and remarks.
        of_kernel: it is about something that the kernel in view lacks or has in another form: another kernel may take the
            program. Of some diagnostics it is always so.
    """

    title: ClassVar[str]
    severity: ClassVar[Severity] = "error"
    assumes: ClassVar[bool] = False  # offline: what it is about was taken to exist, and what follows from it was not judged

    span: Span
    help: tuple[str, ...] = ()
    notes: tuple[Note, ...] = field(default=())
    of_kernel: bool = False

    @property
    def message(self) -> str:
        """The title with the fields of the complaint filled in."""
        return plain(self.title.format(**{f.name: getattr(self, f.name) for f in fields(self)}))

    @property
    def code(self) -> str:
        """The stable name of the diagnostic, for JSON output and tests."""
        return type(self).__name__


@dataclass
class Report:
    """The diagnostics of one compilation, in the order of their finding; equal ones are kept once.

    Args:
        sources: the texts that spans point into, by `Span.file`.
    """

    sources: list[Source]
    complaints: list[Complaint] = field(default_factory=list)
    _known: set[Complaint] = field(default_factory=set, repr=False, compare=False)

    def add(self, complaint: Complaint) -> None:
        """Record a diagnostic unless an equal one (same kind, same place, same words) is already there."""
        if complaint not in self._known:
            self._known.add(complaint)
            self.complaints.append(complaint)

    @property
    def errors(self) -> list[Complaint]:
        """The diagnostics that stop the compilation."""
        return [c for c in self.complaints if c.severity == "error"]

    @property
    def warnings(self) -> list[Complaint]:
        """The diagnostics that do not."""
        return [c for c in self.complaints if c.severity == "warning"]

    @property
    def assumes(self) -> bool:
        """Whether something was taken to exist of which nothing is known: the program may be right, but makes no object."""
        return any(c.assumes for c in self.complaints)

    @property
    def of_kernel(self) -> bool:
        """Whether it is the kernel in view alone that stands in the way: the program may compile against another one."""
        return bool(self.errors) and all(c.of_kernel for c in self.errors)

    def __iter__(self) -> Iterator[Complaint]:
        return iter(sorted(self.complaints, key=lambda c: (c.span.file, c.span.start, c.span.end)))
