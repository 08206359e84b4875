"""The executable memory of a process: /proc/PID/maps, and the file behind an address.

Mappings.parse(Path("/proc/1/maps").read_bytes()).find(0x7f7e5e6cde27)
-> Mapping(start=0x7f7e5e60e000, end=…, offset=0x26000, device="fe:00", inode=4711, path="/usr/lib/…/libc.so.6")
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of maps.

    Args:
        start, end: of the addresses.
        offset: in the file, of `start`.
        device, inode: of the file; inode 0 is no file.
        path: as the process sees it; [vdso], [heap], //anon or nothing for what is no file.
    """

    start: int
    end: int
    offset: int
    device: str
    inode: int
    path: str

    @property
    def key(self) -> tuple[str, int]:
        """What tells its file from others."""
        return self.device, self.inode

    @property
    def range(self) -> str:
        """Its name in /proc/PID/map_files."""
        return f"{self.start:x}-{self.end:x}"


class Mappings:
    """The executable mappings of one process at one moment, by address."""

    def __init__(self, rows: Sequence[Mapping]) -> None:
        self.rows = tuple(rows)
        self._starts = [row.start for row in rows]

    @classmethod
    def parse(cls, text: bytes) -> Mappings:
        """Read the lines of a maps file that can hold code."""
        rows = (_mapping(line) for line in text.splitlines() if b"x" in line[:80].split(b" ", 2)[1])
        return cls(sorted(rows, key=lambda row: row.start))

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds an address."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self.rows[index].end:
            return None
        return self.rows[index]


def _mapping(line: bytes) -> Mapping:
    # 7f7e5e60e000-7f7e5e763000 r-xp 00026000 fe:00 4711    /usr/lib/libc.so.6
    span, _, offset, device, inode, *path = line.split(None, 5)
    start, _, end = span.partition(b"-")
    name = path[0].decode("utf-8", "surrogateescape") if path else ""
    return Mapping(int(start, 16), int(end, 16), int(offset, 16), device.decode(), int(inode), name)
