"""What just-in-time compilers write about their code: /tmp/perf-PID.map, lines of START SIZE name (perf's jit-interface.txt)."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 32 << 20


class PerfMap:
    """The functions of one process, as its compiler wrote them down so far; later lines replace earlier ones of their start."""

    def __init__(self, text: bytes = b"") -> None:
        rows: dict[int, tuple[int, bytes]] = {}
        for line in text.splitlines():
            parts = line.split(None, 2)
            if len(parts) == 3:
                with suppress(ValueError):
                    rows[int(parts[0], 16)] = int(parts[1], 16), parts[2]
        self._starts = sorted(rows)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> tuple[str, int] | None:
        """The function that holds an address and the bytes from its start."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start = self._starts[index]
        size, name = self._rows[start]
        return (name.decode("utf-8", "replace"), address - start) if address < start + size else None


def read_perf_map(pid: int, inner: int, seen: tuple[int, int]) -> tuple[PerfMap, tuple[int, int]] | None:
    """The map of a process, in its own /tmp under its own process id.

    Args:
        pid: as this process counts.
        inner: as the process itself counts.
        seen: what this function gave when the file was read last; (0, 0) at first.

    Returns: the map and what tells its states apart; None when there is none, or none that is newer.
    """
    try:
        fd = os.open(Path(f"/proc/{pid}/root/tmp/perf-{inner}.map"), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        state = status.st_size, status.st_mtime_ns
        # A container can put anything there: it is read as far as memory allows, and only names come of it.
        if not stat.S_ISREG(status.st_mode) or state == seen:
            return None
        return PerfMap(file.read(MOST_BYTES)), state
