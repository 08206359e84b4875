"""The function symbols of an ELF image, searched by address with numpy; no part of it is copied before it is needed.

    with open("/usr/bin/bash", "rb") as file: image = Image(mmap(file.fileno(), 0, access=ACCESS_READ))
    image.build_id                    -> "465815ee…"
    image.symbols().find(image.address(0x1190))    -> ("readline", 25)

A table of 100,000 symbols is ready in a few milliseconds; a general reader of ELF files takes seconds for it. The numbers are
those of the gABI.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

_SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")])
_FUNCTION, _INDIRECT = 2, 10  # STT_FUNC, STT_GNU_IFUNC
_LOAD, _NOTE, _EXECUTABLE = 1, 4, 1  # PT_LOAD, PT_NOTE, PF_X
_SYMTAB, _DYNSYM = 2, 11  # SHT_*
_BUILD_ID = 3  # NT_GNU_BUILD_ID
_MINI_BYTES = 64 << 20  # of a .gnu_debugdata section, unpacked
_SECTIONS, _SEGMENTS = 1 << 16, 1 << 12  # more than linkers make

_DAMAGE = (struct.error, IndexError, ValueError, OverflowError)  # what numbers that point elsewhere lead to

Buffer = Any  # bytes or mmap


class BadImageError(Exception):
    """Not a 64-bit little-endian ELF image, or a damaged one."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    offset: int
    size: int
    link: int


class Image:
    """An ELF file or the vdso.

    Args:
        data: its bytes.

    Raises:
        BadImageError: see there.
    """

    def __init__(self, data: Buffer) -> None:
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01":
            raise BadImageError("no 64-bit little-endian ELF image")
        try:
            self._sections = self._read_sections()
            self._segments = self._read_segments()
        except _DAMAGE as error:
            raise BadImageError(str(error)) from error

    def address(self, offset: int) -> int | None:
        """The virtual address of a file offset, as the symbols count; None outside of the code."""
        for kind, flags, start, address, size in self._segments:
            if kind == _LOAD and flags & _EXECUTABLE and start <= offset < start + size:
                return address + offset - start
        return None

    @property
    def build_id(self) -> str:
        """The GNU build id in hexadecimal, or an empty string."""
        for kind, _, start, _, size in self._segments:
            if kind == _NOTE and (found := _build_id(bytes(self.data[start : start + min(size, 1 << 16)]))):
                return found
        return ""

    @property
    def debug_link(self) -> str:
        """The name of the file that the symbols were moved to (.gnu_debuglink), or an empty string."""
        return self._content(".gnu_debuglink").partition(b"\0")[0].decode("utf-8", "surrogateescape")

    @property
    def debug_crc(self) -> int:
        """The CRC-32 of that file, from the end of .gnu_debuglink."""
        return int.from_bytes(self._content(".gnu_debuglink")[-4:], "little")

    def without_data(self) -> Image:
        """What answers `address` when the bytes are gone."""
        copy = object.__new__(Image)
        copy.data, copy._sections, copy._segments = b"", [], self._segments
        return copy

    @property
    def stripped(self) -> bool:
        """Whether it lacks the full symbol table."""
        return not any(section.type == _SYMTAB for section in self._sections)

    def symbols(self) -> Symbols:
        """All functions: the full table, the one that the dynamic linker uses, and the compressed one of some distributions.

        Raises:
            BadImageError: a table is damaged.
        """
        try:
            return self._all_symbols()
        except _DAMAGE as error:
            raise BadImageError(str(error)) from error

    def _all_symbols(self) -> Symbols:
        rows, texts = [], []
        for section in self._sections:
            if section.type in (_SYMTAB, _DYNSYM) and section.link < len(self._sections):
                table = self._table(section)
                strings = self._sections[section.link]
                texts.append(bytes(self.data[strings.offset : strings.offset + strings.size]))
                rows.append(table)
        return Symbols.of(rows, texts).joined(self._mini())

    def _mini(self) -> Symbols | None:
        packed = self._content(".gnu_debugdata")
        if not packed:
            return None
        try:
            inner = lzma.LZMADecompressor(memlimit=_MINI_BYTES).decompress(packed, _MINI_BYTES)
            return Image(inner).symbols()
        except (lzma.LZMAError, BadImageError):
            return None

    def _table(self, section: _Section) -> Any:
        count = section.size // _SYMBOL.itemsize
        if section.offset + count * _SYMBOL.itemsize > len(self.data):
            return np.zeros(0, _SYMBOL)
        table = np.frombuffer(self.data, _SYMBOL, count, section.offset)
        kind = table["info"] & 0xF
        code = (kind == _FUNCTION) | (kind == _INDIRECT)
        return table[code & (table["section"] != 0) & (table["value"] != 0)]

    def _content(self, name: str) -> bytes:
        for section in self._sections:
            if section.name == name:
                return bytes(self.data[section.offset : section.offset + section.size])
        return b""

    def _read_sections(self) -> list[_Section]:
        # Elf64_Ehdr: e_shoff at 40, e_shentsize, e_shnum, e_shstrndx at 58. Elf64_Shdr has 64 bytes.
        (table,) = struct.unpack_from("<Q", self.data, 40)
        entry, count, names = struct.unpack_from("<HHH", self.data, 58)
        if not table or count > _SECTIONS or table + entry * count > len(self.data):
            return []  # no section headers: the vdso of some kernels, and what sstrip left
        rows = [struct.unpack_from("<IIQQQQI", self.data, table + i * entry) for i in range(count)]
        start, size = (rows[names][4], rows[names][5]) if names < count else (0, 0)
        texts = bytes(self.data[start : start + size])
        return [_Section(_string(texts, row[0]), row[1], row[4], row[5], row[6]) for row in rows]

    def _read_segments(self) -> list[tuple[int, int, int, int, int]]:
        """(type, flags, file offset, virtual address, bytes in the file)"""
        (table,) = struct.unpack_from("<Q", self.data, 32)
        entry, count = struct.unpack_from("<HH", self.data, 54)
        rows = [struct.unpack_from("<IIQQQQ", self.data, table + i * entry) for i in range(min(count, _SEGMENTS))]
        return [(kind, flags, offset, address, size) for kind, flags, offset, address, _, size in rows]


class Symbols:
    """Functions by address. Of several at one place the first of the table counts, global ones before local ones."""

    def __init__(self, values: Any, sizes: Any, names: Any, tables: Any, texts: list[bytes]) -> None:
        self._values, self._sizes, self._names, self._tables, self._texts = values, sizes, names, tables, texts

    @classmethod
    def of(cls, rows: list[Any], texts: list[bytes]) -> Symbols:
        """Sort the rows of tables, each with its strings."""
        if not rows:
            return cls(np.zeros(0, "<u8"), np.zeros(0, "<u8"), np.zeros(0, "<u4"), np.zeros(0, "u1"), [])
        table = np.concatenate(rows)
        which = np.concatenate([np.full(len(row), i, np.uint8) for i, row in enumerate(rows)])
        local = table["info"] >> 4 == 0
        order = np.lexsort((which, local, table["value"]))
        table, which = table[order], which[order]
        first = np.concatenate(([True], np.diff(table["value"]) != 0)) if len(table) else np.zeros(0, bool)
        table, which = table[first], which[first]
        return cls(table["value"].copy(), table["size"].copy(), table["name"].copy(), which, texts)

    def joined(self, other: Symbols | None) -> Symbols:
        """With the symbols of another table, which count where this one has none."""
        if other is None or not len(other):
            return self
        new = ~np.isin(other._values, self._values)
        values, sizes, names, tables = (
            np.concatenate((mine, theirs[new]))
            for mine, theirs in (
                (self._values, other._values),
                (self._sizes, other._sizes),
                (self._names, other._names),
                (self._tables, other._tables + len(self._texts)),
            )
        )
        order = np.argsort(values, kind="stable")
        return Symbols(values[order], sizes[order], names[order], tables[order], self._texts + other._texts)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def bytes(self) -> int:
        """The memory that it takes, in bytes."""
        return len(self) * 21 + sum(map(len, self._texts))

    def find(self, address: int) -> tuple[str, int] | None:
        """The function that holds an address and the bytes from its start; one without a size reaches to the next."""
        index = int(np.searchsorted(self._values, np.uint64(address), side="right")) - 1
        if index < 0:
            return None
        offset, size = address - int(self._values[index]), int(self._sizes[index])
        if size and offset >= size:
            return None
        return _string(self._texts[self._tables[index]], int(self._names[index])), offset


def _string(texts: bytes, start: int) -> str:
    end = texts.find(b"\0", start)
    return texts[start : end if end >= 0 else len(texts)].decode("utf-8", "surrogateescape")


def _build_id(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        name, size, kind = struct.unpack_from("<III", notes, at)
        start = at + 12 + (name + 3) // 4 * 4
        if kind == _BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0":
            return notes[start : start + size].hex()
        at = start + (size + 3) // 4 * 4
    return ""
