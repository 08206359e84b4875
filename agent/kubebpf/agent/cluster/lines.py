"""Records of a session as printed lines, each with its time and pod.

for line in Lines(session, resolver, identities).of(record):
    line.text -> "hello from 4711\\n"

clear() and zero() print nothing: they are done here, in their place among the lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from kubebpf.agent.cluster.identity import Identities
from kubebpf.agent.cluster.report import Line
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.decode import PlainResolver, Resolver, decode
from kubebpf.compiler.artifact.manifest import Manifest
from kubebpf.compiler.artifact.printf import printf
from kubebpf.compiler.artifact.state import Entry, MapState, key_of, of_schema, with_default
from kubebpf.compiler.artifact.strftime import format_clock
from kubebpf.compiler.artifact.text import map_text, value_text
from kubebpf.compiler.artifact.values import Cgroup, Text, Value


class ClusterResolver(PlainResolver):
    """What this node can say about raw numbers; a cgroup is named by its pod."""

    def __init__(self, manifest: Manifest, identities: Identities) -> None:
        super().__init__(manifest.strings, manifest.config.str_trunc_trailer, boot_time_ns())
        self._identities = identities

    def cgroup(self, id: int) -> Cgroup:
        """The id with path and pod."""
        return self._identities.cgroup(id)

    def cgroup_path(self, id: int, pattern: str) -> Cgroup | Text:
        """The path with its pod."""
        known = self._identities.cgroup(id)
        return Cgroup(known.id, known.node, known.path, known.pod, as_path=True)


def boot_time_ns() -> int:
    """When CLOCK_BOOTTIME was 0, in nanoseconds since 1970."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def read_maps(session: Session, resolver: Resolver) -> list[MapState]:
    """All maps of a session, with decoded keys."""
    return [_state(session, schema.name, resolver) for schema in session.manifest.maps]


def _state(session: Session, name: str, resolver: Resolver) -> MapState:
    read = session.read(name, resolver)
    layout = read.schema.key
    entries = [Entry(key_of(decode(layout, key, resolver)) if layout else (), cell) for key, cell in read.rows]
    return of_schema(read.schema, entries)


class Lines:
    """Turns records into lines.

    Args:
        session: whose records they are; clear() and zero() change its maps.
        resolver: for their arguments.
        identities: for the pod of an event.
    """

    def __init__(self, session: Session, resolver: Resolver, identities: Identities) -> None:
        self._session, self._resolver, self._identities = session, resolver, identities
        self._makers: dict[str, Callable[[Record], str]] = {
            "printf": self._printf,
            "errorf": self._printf,
            "warnf": self._printf,
            "print_value": lambda record: f"{value_text(self._values(record)[0])}\n",
            "print_map": self._print_map,
            "time": lambda record: format_clock(self._moment(record) // 10**9, record.event.format),
            "join": lambda record: " ".join(value_text(value) for value in self._values(record)) + "\n",
            "clear": self._clear,
            "zero": self._zero,
        }

    def of(self, record: Record) -> Line | None:
        """The line of a record; None when it prints nothing."""
        make = self._makers.get(record.event.kind)
        text = make(record) if make else ""
        if not text:
            return None
        when = datetime.fromtimestamp(self._moment(record) / 1e9, UTC)
        pod = self._identities.pod(record.context.cgroup) if record.context else None
        return Line(when, record.event.kind, text, pod)

    def _moment(self, record: Record) -> int:
        return boot_time_ns() + record.context.time_ns if record.context else time.time_ns()

    def _values(self, record: Record) -> list[Value]:
        arguments = record.event.arguments
        return [decode(argument.type, record.argument(i), self._resolver) for i, argument in enumerate(arguments)]

    def _printf(self, record: Record) -> str:
        return printf(record.event.format, self._values(record))

    def _print_map(self, record: Record) -> str:
        event = record.event
        schema = next(schema for schema in self._session.manifest.maps if schema.name == event.map)
        state = with_default(_state(self._session, event.map, self._resolver), schema, self._resolver)
        return map_text(state, event.top, event.div)

    def _clear(self, record: Record) -> str:
        self._session.clear(record.event.map)
        return ""

    def _zero(self, record: Record) -> str:
        self._session.zero(record.event.map)
        return ""
