"""The kernel's symbols, from /proc/kallsyms: read when the first address is asked for, searched where they lie.

    KernelSymbols().find(0xffffffff81234567)    -> Place("do_nanosleep", 113)

The table has some 200,000 lines. Taking them apart one by one costs half a second and 50 MB; numpy finds all addresses at once,
and a name is cut out of the text only when it is wanted.
"""

from __future__ import annotations

import time
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kubebpf.agent.symbols.place import Place

KALLSYMS = Path("/proc/kallsyms")
FARTHEST = 1 << 20  # bytes behind a symbol that still belong to it: kallsyms has no sizes
STALE_S = 10.0  # modules and BPF programs come and go: an address outside the kernel's image is looked up in a table no older
_DIGITS = 16
_VARIANTS = ("__ia32_", "__pi_", "__pfx___ia32_")  # second names that the kernel gives to functions of other names


class KernelSymbols:
    """Finds the function around an address.

    Args:
        source: the file to read.
    """

    def __init__(self, source: Path = KALLSYMS) -> None:
        self._source = source
        self._read_at = 0.0

    def find(self, address: int) -> Place | None:
        """The symbol that holds an address, or None."""
        if not self._table.holds(address) and time.monotonic() - self._read_at > STALE_S:
            del self._table
        return self._table.find(address)

    @cached_property
    def _table(self) -> Table:
        self._read_at = time.monotonic()
        return Table(self._source.read_bytes())


@cache
def kernel_symbols() -> KernelSymbols:
    """The table that all sessions of this process share."""
    return KernelSymbols()


class Table:
    """One reading of kallsyms: `ffffffff81000000 T name [module]`, in no order that could be relied on."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        data = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        numbers = _hexadecimal(data, starts)
        kinds = data[starts + _DIGITS + 1]
        # a and A are absolute: offsets inside per-CPU data, no places in memory.
        real = (numbers != 0) & (kinds != ord("a")) & (kinds != ord("A"))
        order = np.argsort(numbers[real], kind="stable")
        self._numbers, self._starts = numbers[real][order], starts[real][order].astype(np.uint32)
        self._image = self._bounds()
        self.find = lru_cache(maxsize=1 << 14)(self._find)

    def holds(self, address: int) -> bool:
        """Whether the address lies in the kernel's own image, whose symbols never change."""
        return self._image[0] <= address < self._image[1]

    def _find(self, address: int) -> Place | None:
        index = int(np.searchsorted(self._numbers, np.uint64(address), side="right")) - 1
        if index < 0:
            return None
        start = int(self._numbers[index])
        # Below the first symbol lies user space; programs and modules that went lie behind the last one.
        if address - start > FARTHEST:
            return None
        first = int(np.searchsorted(self._numbers, np.uint64(start), side="left"))
        _, name, module = min(self._line(i) for i in range(first, index + 1))
        return Place(name, address - start, module)

    def _line(self, index: int) -> tuple[tuple[bool, bool, int], str, str]:
        """(rank among the names of one place, name, module): global names first, then as they stand in the table."""
        start = int(self._starts[index])
        words = self._text[start : self._text.index(b"\n", start)].decode(errors="replace").split()
        rank = words[1].islower(), words[2].startswith(_VARIANTS), index
        return rank, words[2], words[3].strip("[]") if len(words) > 3 else ""

    def _bounds(self) -> tuple[int, int]:
        first, last = (_address_of(self._text, name) for name in (b"_stext", b"_end"))
        return first or 0, last or 0


def _address_of(text: bytes, name: bytes) -> int | None:
    """The address of a symbol by its name, in the text of kallsyms."""
    at = text.find(b" " + name + b"\n")
    if at < 0:
        return None
    start = text.rfind(b"\n", 0, at) + 1
    return int(text[start : start + _DIGITS], 16)


def _hexadecimal(data: Any, starts: Any) -> Any:
    """The 16-digit numbers that begin at `starts`."""
    total = np.zeros(len(starts), np.uint64)
    for column in range(_DIGITS):
        digit = data[starts + column]
        value = np.where(digit >= ord("a"), digit - (ord("a") - 10), digit - ord("0")).astype(np.uint64)
        total = (total << np.uint64(4)) | value
    return total
