"""Records of the ring buffer, joined with the layouts of the manifest.

    reader = Reader(manifest)
    record = reader.record(data)     data: b"\\x03\\0\\0\\0\\0\\0\\0\\0" + arguments
    record.event.kind                -> "printf"
    decode(record.event.arguments[0].type, record.argument(0), resolver)

Decoding is left to whoever needs the values: a record that is only counted costs no more than its header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kubebpf.compiler.artifact.manifest import HEADER_SIZES, Event, Manifest, ManifestError
from kubebpf.compiler.artifact.types import DBool, DInt

_CONTEXT = struct.Struct("<IIQQ")


@dataclass(frozen=True, slots=True)
class Context:
    """When and where a record was made.

    Args:
        cpu: which ran the program.
        time_ns: CLOCK_BOOTTIME, in nanoseconds.
        cgroup: the id of the current task's cgroup v2.
    """

    cpu: int
    time_ns: int
    cgroup: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Args:
        event: its layout.
        data: all of it, a copy of its own, the header counted.
        context: None in objects with plain headers.
    """

    event: Event
    data: memoryview
    context: Context | None

    def argument(self, index: int) -> memoryview:
        """The bytes from an argument's start on, for decode."""
        return self.data[self.event.arguments[index].offset :]


@dataclass(frozen=True, slots=True)
class Exit:
    """exit() ran. The caller decides what follows."""

    code: int


class Reader:
    """Takes records apart, by one object's manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._events = {event.id: event for event in manifest.events}
        self._with_context = manifest.header == "context"
        self._header = HEADER_SIZES[manifest.header]

    def record(self, data: bytes) -> Record:
        """Join a record with its layout.

        Raises:
            ManifestError: the manifest has no such event, or the record is shorter than it: the object is not what it says.
        """
        event = self._events.get(int.from_bytes(data[:4], "little"))
        if event is None or len(data) < max(event.size, self._header):
            raise ManifestError(f"the program sent {len(data)} bytes that are no event of its manifest: {data[:16].hex()}")
        return Record(event, memoryview(data), self._context(data))

    def _context(self, data: bytes) -> Context | None:
        if not self._with_context:
            return None
        _, cpu, time_ns, cgroup = _CONTEXT.unpack_from(data)
        return Context(cpu, time_ns, cgroup)


def exit_of(record: Record) -> Exit | None:
    """The exit that a record tells of, or None for other records."""
    if record.event.kind != "exit":
        return None
    if not record.event.arguments:
        return Exit(0)
    match record.event.arguments[0].type:
        case DInt(bits, signed):
            return Exit(int.from_bytes(record.argument(0)[: bits // 8], "little", signed=signed))
        case DBool():
            return Exit(record.argument(0)[0])
        case other:
            raise ManifestError(f"the code of exit() is no integer but {other}")
