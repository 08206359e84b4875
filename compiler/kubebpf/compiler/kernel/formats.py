"""The tracepoints that tracefs describes: `events/<category>/<event>/format`, of this machine or saved from another one.

formats = Formats.find()                                    # None where tracefs is not mounted
formats.read("sched", "sched_switch").fields[0]             -> FormatField("char prev_comm[16]", offset 8, size 16, …)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MOUNTS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_FIELD = re.compile(
    r"^\s*field:(?P<text>[^;]*);\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(\s*signed:(?P<signed>\d+);)?", re.M
)
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class FormatField:
    """One line of a format: a C declaration, and where the field lies in the record, in bytes."""

    declaration: str
    offset: int
    size: int
    signed: bool


@dataclass(frozen=True)
class Formats:
    """A tree of formats: a tracefs, or a copy of one.

    Args:
        root: the directory that has `events/`, or that directory itself.
    """

    root: Path

    @classmethod
    def find(cls, mounts: tuple[Path, ...] = MOUNTS) -> Formats | None:
        """The tracefs of this machine; None when it is not mounted or may not be read."""
        for mount in mounts:
            try:
                if (mount / "events" / "sched").is_dir():
                    return cls(mount)
            except OSError:
                continue
        return None

    @property
    def events(self) -> Path:
        """The directory of the categories."""
        inner = self.root / "events"
        return inner if inner.is_dir() else self.root

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(category, event) of every tracepoint, sorted; without ftrace's own entries, which take no programs."""
        try:
            lines = (self.root / "available_events").read_text().split()
        except OSError:
            lines = [f"{path.parent.parent.name}:{path.parent.name}" for path in self.events.glob("*/*/format")]
        pairs = (line.partition(":") for line in lines)
        return tuple(sorted((category, event) for category, _, event in pairs if category != "ftrace"))

    @cached_property
    def traceable(self) -> frozenset[str]:
        """The functions that ftrace, and so fentry, can attach to; empty when tracefs does not tell."""
        try:
            text = (self.root / "available_filter_functions").read_text()
        except OSError:
            return frozenset()
        return frozenset(line.split()[0] for line in text.splitlines() if line.strip())

    def text(self, category: str, event: str) -> str | None:
        """A format's text; None when there is no such tracepoint."""
        if not (_NAME.fullmatch(category) and _NAME.fullmatch(event)) or category == "ftrace":
            return None
        try:
            return (self.events / category / event / "format").read_text()
        except OSError:
            return None

    def read(self, category: str, event: str) -> tuple[FormatField, ...] | None:
        """The fields of a tracepoint, those common to all of them left out; None when there is no such tracepoint."""
        text = self.text(category, event)
        return None if text is None else parse(text)


def parse(text: str) -> tuple[FormatField, ...]:
    """The fields that a format's text lists, those named `common_…` left out."""
    fields = []
    for found in _FIELD.finditer(text):
        declaration = found["text"].strip()
        if not re.search(r"\bcommon_\w+$", declaration):
            fields.append(FormatField(declaration, int(found["offset"]), int(found["size"]), found["signed"] == "1"))
    return tuple(fields)
