"""Records of the ring buffer, joined with the layouts of the manifest.

    reader = Reader(manifest)
    (record,) = reader.records([data])     data: b"\\x03\\0\\0\\0\\0\\0\\0\\0" + arguments
    record.event.kind                -> "printf"
    decode(record.event.arguments[0].type, record.argument(0), resolver)

Decoding is left to whoever needs the values: a record that is only counted costs no more than its header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kubebpf.compiler.artifact.manifest import HEADER_SIZES, Event, Manifest, ManifestError
from kubebpf.compiler.artifact.types import DBool, DInt

_CONTEXT = struct.Struct("<IIQQ")
# What such records ask changes what is counted. exit() has a word of its own, which is not forgotten either (ENDED).
_EFFECTS = ("clear", "zero", "unwatch")
_UNKNOWN: tuple[Event | None, int] = (None, 0)


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


class Record(NamedTuple):
    """One record. A named tuple, because a flood of printf makes a million of them a second.

    Args:
        event: its layout.
        data: all of it, a copy of its own, the header counted.
        context: None in objects with plain headers.
    """

    event: Event
    data: bytes
    context: Context | None

    def argument(self, index: int) -> memoryview:
        """The bytes from an argument's start on, for decode."""
        return memoryview(self.data)[self.event.arguments[index].offset :]


@dataclass(frozen=True, slots=True)
class Exit:
    """exit() ran. The caller decides what follows."""

    code: int


class Reader:
    """Takes records apart, by one object's manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._with_context = manifest.header == "context"
        header = HEADER_SIZES[manifest.header]
        # By the bytes that a record starts with: its event, and how long it has to be.
        self._events = {e.id.to_bytes(4, "little"): (e, max(e.size, header)) for e in manifest.events}

    def records(self, found: Iterable[bytes]) -> list[Record]:
        """Join records with their layouts.

        Raises:
            ManifestError: the manifest has no such event, or a record is shorter than it: the object is not what it says.
        """
        records, events = list[Record](), self._events
        for data in found:
            event, size = events.get(data[:4], _UNKNOWN)
            if event is None or len(data) < size:
                raise ManifestError(f"the program sent {len(data)} bytes that are no event of its manifest: {data[:16].hex()}")
            records.append(Record(event, data, _context(data) if self._with_context else None))
        return records


def _context(data: bytes) -> Context:
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


def held_share(manifest: Manifest) -> float:
    """How much of the ring buffer of a pinned session records may fill that are read and not yet acted on.

    All of it where a record changes what is counted; else half: a burst of lines then loses none for want of room, but some of
    them when the agent is killed in that moment.
    """
    return 1.0 if any(event.kind in _EFFECTS for event in manifest.events) else 0.5


def default_ring_bytes() -> int:
    """The ring buffer's size when nobody chose one: a 4096th of the memory, from 256 KiB to 16 MiB, a power of two.

    bpftrace chooses by memory, too (64 to 4096 pages, each CPU); one buffer serves all CPUs here.
    """
    meminfo = Path("/proc/meminfo").read_text().split()
    memory = int(meminfo[meminfo.index("MemTotal:") + 1]) * 1024
    wanted = min(max(memory // 4096, 256 << 10), 16 << 20)
    return 1 << (wanted - 1).bit_length()
