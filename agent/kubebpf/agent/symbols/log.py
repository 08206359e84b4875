"""What processes map to run, as the kernel records it for perf: also of processes that live too short to be looked at.

    log = MappingLog.open()
    log.drain()                   now and then, before the memory that the kernel writes to is full
    log.mappings(4711)            -> [Mappings, …] of the process, the newest program first

Every CPU has a ring of its own. What is drained from it stays bytes until somebody asks.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.perf import open_mapping_events
from kubebpf.agent.session.points import online_cpus
from kubebpf.agent.symbols.mappings import Mapping, Mappings

RING_BYTES = 64 * mmap.PAGESIZE  # of one CPU: some 2,000 records; a power of two pages, as perf demands
KEPT_BYTES = 8 << 20  # of records that nobody asked for yet
PROCESSES = 4096
PROGRAMS = 4  # that one process ran, one after another
_HEAD, _TAIL = 1024, 1032  # data_head, data_tail in struct perf_event_mmap_page
_HEADER = struct.Struct("<IHH")  # struct perf_event_header {type, misc, size}
_MAPPED = struct.Struct("<IIQQQIIQQII")  # pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags
_COMM, _FORK, _MMAP2 = 3, 7, 10  # PERF_RECORD_*
_EXEC = 1 << 13  # PERF_RECORD_MISC_COMM_EXEC


class Ring:
    """The records of one CPU.

    Args:
        cpu: its number.

    Raises:
        LibbpfError, OSError: the kernel gives none.
    """

    def __init__(self, cpu: int) -> None:
        fd = open_mapping_events(cpu)
        try:
            self._memory = mmap.mmap(fd, mmap.PAGESIZE + RING_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def drain(self) -> bytes:
        """The records since the last call."""
        (head,), (tail,) = struct.unpack_from("<Q", self._memory, _HEAD), struct.unpack_from("<Q", self._memory, _TAIL)
        if head == tail:
            return b""
        start, size = tail % RING_BYTES, head - tail
        data = mmap.PAGESIZE
        taken = self._memory[data + start : data + min(start + size, RING_BYTES)]
        taken += self._memory[data : data + size - len(taken)]
        struct.pack_into("<Q", self._memory, _TAIL, head)
        return taken

    def close(self) -> None:
        """Stop recording."""
        self._memory.close()
        os.close(self._fd)


class MappingLog:
    """See the module."""

    def __init__(self, rings: list[Ring]) -> None:
        self._rings = rings
        self._raw: deque[bytes] = deque()
        self._raw_bytes = 0
        self._processes: OrderedDict[int, list[list[Mapping]]] = OrderedDict()

    @classmethod
    def open(cls) -> MappingLog | None:
        """Record from now on; None where the kernel does not let this process."""
        rings: list[Ring] = []
        try:
            for cpu in online_cpus():
                rings.append(Ring(cpu))
        except (LibbpfError, OSError):
            for ring in rings:
                ring.close()
            return None
        return cls(rings)

    def drain(self) -> None:
        """Take the kernel's records over."""
        for ring in self._rings:
            taken = ring.drain()
            if taken:
                self._raw.append(taken)
                self._raw_bytes += len(taken)
        while self._raw_bytes > KEPT_BYTES:
            self._raw_bytes -= len(self._raw.popleft())

    def mappings(self, pid: int) -> list[Mappings]:
        """What a process mapped since the log was opened, by the programs that it ran, the newest first."""
        self.drain()
        for record in sorted(_records(b"".join(self._raw))):
            self._apply(*record)
        self._raw.clear()
        self._raw_bytes = 0
        rows = self._processes.get(pid, [])
        return [Mappings(sorted(program, key=lambda row: row.start)) for program in reversed(rows) if program]

    def _apply(self, time: int, kind: int, misc: int, body: bytes) -> None:
        (pid,) = struct.unpack_from("<I", body)
        if kind == _MMAP2:
            self._programs(pid)[-1].append(_mapping(body))
        elif kind == _COMM and misc & _EXEC:
            programs = self._programs(pid)
            programs.append([])
            del programs[:-PROGRAMS]
        elif kind == _FORK:
            (parent,) = struct.unpack_from("<I", body, 4)
            if parent != pid and parent in self._processes:
                self._programs(pid)[:] = [list(self._processes[parent][-1])]

    def _programs(self, pid: int) -> list[list[Mapping]]:
        programs = self._processes.setdefault(pid, [[]])
        self._processes.move_to_end(pid)
        while len(self._processes) > PROCESSES:
            self._processes.popitem(last=False)
        return programs


def _records(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(time, type, misc, body); every record ends with its time (sample_id_all)."""
    at = 0
    with suppress(struct.error):
        while at < len(data):
            kind, misc, size = _HEADER.unpack_from(data, at)
            (time,) = struct.unpack_from("<Q", data, at + size - 8)
            if kind in (_COMM, _FORK, _MMAP2):
                yield time, kind, misc, data[at + _HEADER.size : at + size - 8]
            at += size


def _mapping(body: bytes) -> Mapping:
    _, _, start, length, offset, major, minor, inode, _, _, _ = _MAPPED.unpack_from(body)
    path = body[_MAPPED.size :].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return Mapping(start, start + length, offset, f"{major:02x}:{minor:02x}", inode, path)
