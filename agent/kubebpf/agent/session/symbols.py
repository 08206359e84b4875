"""Functions of ELF files, as file offsets: what a uprobe needs.

    with Symbols.open("/usr/lib/x86_64-linux-gnu/libc.so.6") as symbols:
        symbols.offset("malloc")      -> 0x99370
        symbols.matching("str*")      -> {"strlen": 0x9b3c0, ...}

libbpf finds symbols, too, but libbpf 1.1 refuses a name that has two versions at one address (`pthread_create` in glibc), and
knows no patterns. The tables are searched with numpy: a binary with a hundred thousand symbols takes milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kubebpf.agent.session.wildcards import pattern

_SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")])
_FUNCTION, _INDIRECT = 2, 10  # STT_FUNC, STT_GNU_IFUNC
_CODE = 1  # PF_X


class NotElfError(Exception):
    """The file is no 64-bit little-endian ELF file."""


class Symbols:
    """The function symbols of one file: the dynamic table and, unless it was stripped, the full one."""

    def __init__(self, elf: Any) -> None:
        tables = [elf.get_section_by_name(name) for name in (".dynsym", ".symtab")]
        self._tables = [_functions(elf, table) for table in tables if table is not None and table.data()]
        self._segments = [s.header for s in elf.iter_segments() if s.header.p_type == "PT_LOAD" and s.header.p_flags & _CODE]

    @classmethod
    @contextmanager
    def open(cls, path: str) -> Iterator[Symbols]:
        """Read a file's symbols.

        Raises:
            OSError: it cannot be read.
            NotElfError: it is no 64-bit ELF file.
        """
        with open(path, "rb") as file:  # noqa: PTH123 - pyelftools wants a seekable stream, and the path may be /proc/PID/root/…
            try:
                elf = ELFFile(file)
                if elf.elfclass != 64:
                    raise NotElfError(f"{path} is not a 64-bit ELF file")
                symbols = cls(elf)
            except ELFError as error:
                raise NotElfError(f"{path} is not an ELF file: {error}") from error
            yield symbols

    def offset(self, name: str) -> int | None:
        """The file offset of a function, or None. Of versions of one name the first in the table counts."""
        wanted = name.encode()
        for symbols, strings in self._tables:
            # A name may be the tail of another one's entry (`open` in `\0fopen\0`): linkers share them.
            starts = [found.start() for found in re.finditer(re.escape(wanted) + b"\0", strings)]
            hits = symbols[np.isin(symbols["name"], np.array(starts, np.uint32))]
            for address in hits["value"].tolist():
                if (offset := self._in_file(address)) is not None:
                    return offset
        return None

    def matching(self, wildcard: str) -> dict[str, int]:
        """All functions whose names match, each with its file offset; one name for each offset."""
        matches, found = pattern(wildcard).fullmatch, dict[int, str]()
        for symbols, strings in self._tables:
            for start, address in zip(symbols["name"].tolist(), symbols["value"].tolist(), strict=True):
                name = strings[start : strings.index(b"\0", start)].decode("utf-8", "surrogateescape")
                offset = self._in_file(address)
                if offset is not None and matches(name):
                    found.setdefault(offset, name)
        return {name: offset for offset, name in sorted(found.items(), key=lambda item: item[1])}

    def _in_file(self, address: int) -> int | None:
        for segment in self._segments:
            if segment.p_vaddr <= address < segment.p_vaddr + segment.p_filesz:
                return int(address - segment.p_vaddr + segment.p_offset)
        return None


def _functions(elf: Any, table: Any) -> tuple[Any, bytes]:
    symbols = np.frombuffer(table.data(), _SYMBOL)
    kind = symbols["info"] & 0xF
    defined = symbols["section"] != 0
    strings: bytes = elf.get_section(table.header.sh_link).data()
    return symbols[defined & ((kind == _FUNCTION) | (kind == _INDIRECT))], strings
