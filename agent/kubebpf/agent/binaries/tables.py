"""Symbol tables of ELF files, searched with numpy: a binary with a hundred thousand symbols takes milliseconds.

    table = Table.of(elf, elf.get_section_by_name(".symtab"))
    table.named("main")            -> [Symbol("main", 0x1139, 22)]
    table.matching(re.compile("str.*"), FUNCTIONS)

libbpf finds symbols, too, but libbpf 1.1 refuses a name that has two versions at one address (`pthread_create` in glibc), and
knows no patterns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")])
FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
ANYTHING = (0, 1, 2, 10)  # and STT_NOTYPE, STT_OBJECT; thread-local data has offsets instead of addresses


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name for an address of an ELF file.

    Args:
        name: without a version.
        address: virtual, as the file's program headers lay it out.
        size: in bytes; 0 where the table does not say.
    """

    name: str
    address: int
    size: int


class Table:
    """One table.

    Args:
        symbols: its entries, as the file has them.
        strings: its names.
    """

    def __init__(self, symbols: Any, strings: bytes) -> None:
        kinds = symbols["info"] & 0xF
        self._symbols = symbols[(symbols["section"] != 0) & np.isin(kinds, ANYTHING)]
        self._kinds = self._symbols["info"] & 0xF
        self._strings = strings

    @classmethod
    def of(cls, elf: Any, section: Any) -> Table:
        """Read a section of symbols."""
        return cls(np.frombuffer(section.data(), _SYMBOL), elf.get_section(section.header.sh_link).data())

    def named(self, name: str, kinds: tuple[int, ...] = FUNCTIONS) -> list[Symbol]:
        """The symbols of that name, in the order of the table."""
        # A name may be the tail of another one's entry (`open` in `\\0fopen\\0`): linkers share them. `@` starts a version.
        starts = [m.start() for m in re.finditer(re.escape(name.encode()) + rb"(?=\0|@)", self._strings)]
        return self._some(np.isin(self._symbols["name"], np.array(starts, np.uint32)), kinds)

    def matching(self, fits: Callable[[str], object], kinds: tuple[int, ...] = FUNCTIONS) -> Iterator[Symbol]:
        """The symbols whose names a function takes."""
        chosen = self._symbols[np.isin(self._kinds, kinds)]
        columns = (chosen[column].tolist() for column in ("name", "value", "size"))
        for start, address, size in zip(*columns, strict=True):
            name = self._name(start)
            if name and fits(name):
                yield Symbol(name, address, size)

    def around(self, address: int) -> list[Symbol]:
        """The functions that hold an address; those without a size only start there."""
        starts, sizes = self._symbols["value"], np.maximum(self._symbols["size"], 1)
        return self._some((starts <= address) & (address - starts < sizes), FUNCTIONS)

    def _some(self, chosen: Any, kinds: tuple[int, ...]) -> list[Symbol]:
        found = self._symbols[chosen & np.isin(self._kinds, kinds)]
        return [Symbol(self._name(int(s["name"])), int(s["value"]), int(s["size"])) for s in found]

    def _name(self, start: int) -> str:
        name = self._strings[start : self._strings.index(b"\0", start)]
        return name.partition(b"@")[0].decode("utf-8", "surrogateescape")
