"""Where a program's output goes and what it looks like: text as bpftrace prints it, or one JSON object a line.

    output = TextOutput(Streams(sys.stdout.buffer, sys.stderr.buffer).write)
    output.said("printf", "hi\\n")             hi
    output.attached(2)                         Attached 2 probes           (standard error)

Both writers hand finished text to a sink, with the kind of what it is: the streams of the command line, or the list of the
last lines of a node.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from kubebpf.agent.session.counters import SiteCount
from kubebpf.compiler.artifact import jsonl
from kubebpf.compiler.artifact.manifest import Place
from kubebpf.compiler.artifact.state import MapState
from kubebpf.compiler.artifact.text import map_text, value_text
from kubebpf.compiler.artifact.values import Value

Sink = Callable[[str, str], None]
_ERRORS = frozenset({"errorf", "warnf", "attached", "lost", "failure"})
_MAP_FULL = (
    "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries in a map declaration "
    "e.g. `let @a = hash(5000)`"
)
# A map whose elements are made one by one, in a moment in which the kernel had no memory at hand for that.
_NO_MEMORY = "No memory for another map element; the update was given up."
_REASONS = {
    "map_full": _MAP_FULL,
    "contended": "Other programs changed the value again and again; this update of it was given up.",
    "delete_absent": "Can't delete map element because it does not exist.",
    "loop_limit": "A loop was cut off: it ran as often as this kernel allows (8388608 times; less often before Linux 5.17).",
    "stack": "The stack was not captured: the kernel was taking another one on this CPU. It is counted as an empty stack.",
    "divide_by_zero": "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result.",
}


class Output(Protocol):
    """Takes what a program says, one method for each form of it."""

    def attached(self, probes: int) -> None:
        """The probes are attached."""

    def said(self, kind: str, text: str) -> None:
        """Finished text: printf, time, cat, join or system."""

    def printed(self, texts: Sequence[str]) -> None:
        """Finished texts of printf, in their order."""

    def value(self, value: Value) -> None:
        """print() of a value."""

    def map(self, state: MapState, top: int = 0, div: int = 0) -> None:
        """print() of a map, or a map at the end."""

    def message(self, kind: str, text: str, place: Place | None) -> None:
        """errorf or warnf."""

    def failed(self, failure: SiteCount) -> None:
        """A place of the program failed: a full map, a helper's error."""

    def lost(self, events: int) -> None:
        """Events found the ring buffer full."""

    def ending(self) -> None:
        """The program has ended; its maps follow."""


class Streams:
    """A sink that writes to two streams, errors and remarks to the second.

    Args:
        out: for output.
        err: for what is not output; the same stream for everything when it is None.
        at_once: do not wait for `flush`.
    """

    def __init__(self, out: BinaryIO, err: BinaryIO | None, at_once: bool = False) -> None:
        self._out, self._err, self._at_once = out, err or out, at_once

    def write(self, kind: str, text: str) -> None:
        """Write text; bytes that are no UTF-8 go out as they came in."""
        data = text.encode("utf-8", "surrogateescape")
        if kind not in _ERRORS:
            self._out.write(data)
            if self._at_once:
                self._out.flush()
            return
        self._out.flush()
        self._err.write(data)
        self._err.flush()

    def flush(self) -> None:
        """Show what was written."""
        self._out.flush()


class TextOutput:
    """Text as bpftrace prints it.

    Args:
        sink: takes (kind, text).
        source: the program, for the line under a failure; without it only the place is named.
        name: what places call the program.
    """

    def __init__(self, sink: Sink, source: str = "", name: str = "stdin") -> None:
        self._sink, self._lines, self._name = sink, source.splitlines(), name

    def attached(self, probes: int) -> None:
        """`Attached 2 probes`."""
        self._sink("attached", f"Attached {probes} probe{'' if probes == 1 else 's'}\n")

    def said(self, kind: str, text: str) -> None:
        """The text; join and system end their line (src/output/text.cpp, 577-595)."""
        self._sink(kind, f"{text}\n" if kind in ("join", "system") else text)

    def printed(self, texts: Sequence[str]) -> None:
        """All of them at once."""
        self._sink("printf", "".join(texts))

    def value(self, value: Value) -> None:
        """The value and a newline."""
        self._sink("print", f"{value_text(value)}\n")

    def map(self, state: MapState, top: int = 0, div: int = 0) -> None:
        """The map's lines; nothing for an empty one."""
        if text := map_text(state, top, div):
            self._sink("print", text)

    def message(self, kind: str, text: str, place: Place | None) -> None:
        """`stdin:1:9-62: ERROR: …`."""
        severity = "ERROR" if kind == "errorf" else "WARNING"
        where = f"{place_text(place)}: " if place else ""
        line = f"{where}{severity}: {text}{'' if text.endswith(chr(10)) else chr(10)}"
        self._sink(kind, line + self._expanded(place, severity))

    def failed(self, failure: SiteCount) -> None:
        """The place, what happened there, and the line of the program."""
        where = f"{place_text(failure.site.place)}: " if failure.site.place else ""
        times = f", times: {failure.count}" if failure.count > 1 else ""
        helper = f"\nAdditional Info - helper: {failure.site.helper}, retcode: {failure.last}" if failure.site.helper else ""
        self._sink(
            "failure",
            f"{where}WARNING: {reason(failure)}{helper}{times}\n{self._underlined(failure.site.place)}"
            + self._expanded(failure.site.place, "WARNING"),
        )

    def lost(self, events: int) -> None:
        """`Lost 5 events`."""
        self._sink("lost", f"Lost {events} events\n")

    def ending(self) -> None:
        """Two empty lines before the maps, as upstream (text.cpp, 746)."""
        self._sink("print", "\n\n")

    def _expanded(self, place: Place | None, severity: str) -> str:
        """The macro calls that put the place into the program, each with its line."""
        calls = place.calls() if place else ()
        return "".join(f"{place_text(call)}: {severity}: expanded from\n{self._underlined(call)}" for call in calls)

    def _underlined(self, place: Place | None) -> str:
        return underlined(self._lines, place) if place and place.file == self._name else ""


class JsonOutput:
    """One JSON object a line, all of it output.

    Args:
        sink: takes (kind, line).
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def _write(self, line: str) -> None:
        if line:
            self._sink("json", f"{line}\n")

    def attached(self, probes: int) -> None:
        """An `attached_probes` record."""
        self._write(jsonl.counted_record("attached_probes", "probes", probes))

    def said(self, kind: str, text: str) -> None:
        """A record of the kind; what system() printed is a `syscall`, upstream's word."""
        self._write(jsonl.text_record("syscall" if kind == "system" else kind, text))

    def printed(self, texts: Sequence[str]) -> None:
        """A record for each."""
        for text in texts:
            self.said("printf", text)

    def value(self, value: Value) -> None:
        """A `value` record."""
        self._write(jsonl.value_record(value))

    def map(self, state: MapState, top: int = 0, div: int = 0) -> None:
        """A `map`, `hist`, `stats` or `tseries` record; none for an empty map."""
        self._write(jsonl.map_record(state, top, div))

    def message(self, kind: str, text: str, place: Place | None) -> None:
        """An `errorf` or `warnf` record."""
        self._write(jsonl.placed_record(kind, text, place or _NOWHERE))

    def failed(self, failure: SiteCount) -> None:
        """A `helper_error` record, or a `runtime_error` where no helper is to blame; upstream has no `count`, it repeats them."""
        place, count = failure.site.place or _NOWHERE, str(failure.count)
        if not failure.site.helper:
            self._write(jsonl.placed_record("runtime_error", reason(failure), place, count=count))
            return
        members = {"helper": jsonl.string_json(failure.site.helper), "retcode": str(failure.last), "count": count}
        self._write(jsonl.placed_record("helper_error", reason(failure), place, **members))

    def lost(self, events: int) -> None:
        """A `lost_events` record."""
        self._write(jsonl.counted_record("lost_events", "events", events))

    def ending(self) -> None:
        """Nothing: every map has a record."""


_NOWHERE = Place("", 0, 0, 0, 0)


def underlined(lines: Sequence[str], place: Place) -> str:
    """The line of a place with the place marked; "" for one over several lines.

    Args:
        lines: of the text that the place is in.
        place: the place.
    """
    if place.end_line != place.line or place.line > len(lines):
        return ""
    marks = "~" * max(1, place.end_column - place.column)
    return f"{lines[place.line - 1]}\n{' ' * (place.column - 1)}{marks}\n"


def place_text(place: Place) -> str:
    """`stdin:1:9-62`, or `stdin:1-3` over several lines: as diagnostics print places."""
    if place.line == place.end_line:
        return f"{place.file}:{place.line}:{place.column}-{place.end_column}"
    return f"{place.file}:{place.line}-{place.end_line}"


def reason(failure: SiteCount) -> str:
    """What happened at a site, in words."""
    if failure.site.kind == "map_full" and failure.last == -errno.ENOMEM:
        return _NO_MEMORY
    if failure.site.kind in _REASONS:
        return _REASONS[failure.site.kind]
    return os.strerror(-failure.last) if failure.last < 0 else failure.site.kind.replace("_", " ")
