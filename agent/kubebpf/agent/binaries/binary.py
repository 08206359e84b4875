"""One user program or library: where its functions are, in memory and in the file.

    libc = binary("/usr/lib/x86_64-linux-gnu/libc.so.6")
    libc.function("malloc")           -> Symbol("malloc", 0x9a2a0, 422)
    libc.offset(0x9a2a0)              -> 0x9a2a0, the place in the file that a uprobe is given
    binary("/data/x.apk!/lib/y.so")   a member of a zip file, stored without compression

Files are read lazily and once, as long as they do not change.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from kubebpf.agent.binaries import debugfiles
from kubebpf.agent.binaries.stream import Stream
from kubebpf.agent.binaries.tables import ANYTHING, FUNCTIONS, Symbol, Table
from kubebpf.agent.session.wildcards import pattern

_KEPT = 32  # parsed binaries
_CODE, _LOAD = 1, "PT_LOAD"  # PF_X
_MEMBER = "!/"
_LOCAL_HEADER = 30  # bytes before name and extra field of a zip member (APPNOTE.TXT 4.3.7)


# What the reader of ELF and DWARF raises for a damaged file, at any question: the file is a tenant's, and may be made so.
DAMAGE = (
    *(ELFError, DWARFError, ConstructError, struct.error, zlib.error, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, AssertionError, RecursionError, MemoryError),
)


class NotElfError(Exception):
    """The file is no 64-bit little-endian ELF file."""


class Binary:
    """An ELF file.

    Args:
        path: of the file that is probed: for a member of a zip file, the zip file.
        stream: the ELF file.
        start: where it begins in the file, in bytes.

    Raises:
        NotElfError: it is no 64-bit ELF file.
    """

    def __init__(self, path: str, stream: Stream | io.BytesIO, start: int = 0) -> None:
        self.path, self._start = path, start
        self.elf = elf_of(stream, path)

    def function(self, name: str) -> Symbol | None:
        """The function of that name. Of versions of one name the first in the table counts."""
        return next((s for table in self._tables for s in table.named(name) if self.offset(s.address) is not None), None)

    def functions(self, wildcard: str) -> list[Symbol]:
        """All functions whose names match, by name; one name for each address."""
        found: dict[int, Symbol] = {}
        for symbol in self._matching(pattern(wildcard).fullmatch):
            found.setdefault(symbol.address, symbol)
        return sorted(found.values(), key=lambda symbol: symbol.name)

    def mangled(self, wildcard: str) -> list[tuple[str, Symbol]]:
        """All C++ functions whose names match, each with its name as the source says it.

        A pattern without parameters goes by the name alone, `ns::f` is `ns::f(int)` and `ns::f(char)`.
        """
        from kubebpf.agent.libbpf.demangle import demangled

        fits, found = pattern(wildcard).fullmatch, dict[int, tuple[str, Symbol]]()
        for symbol in self._matching(lambda name: name.startswith("_Z")):
            name = demangled(symbol.name)
            if name and any(map(fits, (name, without_parameters(name), own_name(name)))):
                found.setdefault(symbol.address, (name, symbol))
        return sorted(found.values(), key=lambda item: item[0])

    def symbol(self, name: str) -> Symbol | None:
        """The function or variable of that name."""
        return next((s for table in self._tables for s in table.named(name, ANYTHING)), None)

    def around(self, address: int) -> Symbol | None:
        """The function that holds an address."""
        return next((s for table in self._tables for s in table.around(address)), None)

    def offset(self, address: int, *, code: bool = True) -> int | None:
        """The place of an address in the file, or None.

        Args:
            address: virtual.
            code: in a segment that is executed.
        """
        for s in self._segments:
            if s.p_vaddr <= address < s.p_vaddr + s.p_filesz and (s.p_flags & _CODE or not code):
                return int(address - s.p_vaddr + s.p_offset) + self._start
        return None

    def bytes_at(self, address: int, size: int) -> bytes:
        """What the file has for a stretch of memory; "" where it has nothing."""
        for s in self._segments:
            if s.p_vaddr <= address < s.p_vaddr + s.p_filesz:
                self.elf.stream.seek(address - s.p_vaddr + s.p_offset)
                return bytes(self.elf.stream.read(min(size, s.p_vaddr + s.p_filesz - address)))
        return b""

    @cached_property
    def debug(self) -> Any:
        """The ELF file that has DWARF: this one, or a separate one; None when there is none."""
        if self.elf.get_section_by_name(".debug_info") is not None:
            return self.elf
        others = (elf_of(Stream(str(path)), str(path)) for path in debugfiles.separate(self._own_path, self.elf))
        return next((other for other in others if other.get_section_by_name(".debug_info") is not None), None)

    @property
    def _own_path(self) -> str:
        return self.path if not self._start else ""

    def _matching(self, fits: Any) -> Iterator[Symbol]:
        for table in self._tables:
            yield from (s for s in table.matching(fits, FUNCTIONS) if self.offset(s.address) is not None)

    @cached_property
    def _segments(self) -> list[Any]:
        return [s.header for s in self.elf.iter_segments() if s.header.p_type == _LOAD]

    @cached_property
    def _tables(self) -> list[Table]:
        tables = [*_tables(self.elf, ".dynsym"), *_tables(self.elf, ".symtab")]
        if self.elf.get_section_by_name(".symtab") is None:
            tables += self._separate_tables()
        return tables

    def _separate_tables(self) -> list[Table]:
        for path in debugfiles.separate(self._own_path, self.elf):
            return _tables(elf_of(Stream(str(path)), str(path)), ".symtab")
        data = debugfiles.packed(self.elf)
        return _tables(elf_of(io.BytesIO(data), self.path), ".symtab") if data else []


def without_parameters(name: str) -> str:
    """A demangled name up to its parameters.

    >>> without_parameters("ns::apply(void (*)(int)) const")
    'ns::apply'
    """
    depth = 0
    for at in range(name.rfind(")"), 0, -1):
        depth += {")": 1, "(": -1}.get(name[at], 0)
        if depth == 0:
            return name[:at]
    return name


def own_name(name: str) -> str:
    """A demangled name without parameters and without what templates return.

    >>> own_name("long ns::twice<long>(long)"), own_name("ns::A::operator new[](unsigned long)")
    ('ns::twice<long>', 'ns::A::operator new[]')
    """
    name, depth = without_parameters(name), 0
    end = name.find("operator")
    for at in range(len(name) if end < 0 else end):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(name[at], 0)
        if name[at] == " " and depth == 0:
            return own_name(name[at + 1 :])
    return name


def elf_of(stream: Stream | io.BytesIO, path: str) -> Any:
    """An ELF file.

    Raises:
        NotElfError: it is no 64-bit ELF file.
    """
    try:
        elf = ELFFile(cast("IO[bytes]", stream))
    except DAMAGE as error:
        raise NotElfError(f"{path} is not an ELF file: {error}") from error
    if elf.elfclass != 64 or not elf.little_endian:
        raise NotElfError(f"{path} is not a 64-bit ELF file")
    return elf


def _tables(elf: Any, name: str) -> list[Table]:
    section = elf.get_section_by_name(name)
    return [] if section is None or section.header.sh_type == "SHT_NOBITS" else [Table.of(elf, section)]


_binaries: OrderedDict[tuple[object, ...], Binary] = OrderedDict()


def binary(path: str) -> Binary:
    """The binary of a path, read anew only when the file has changed.

    Raises:
        OSError: it cannot be read.
        NotElfError: it is no 64-bit ELF file.
    """
    file = path.partition(_MEMBER)[0]
    status = Path(file).stat()
    key = (path, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _binaries:
        _binaries[key] = _read(path)
        while len(_binaries) > _KEPT:
            _binaries.popitem(last=False)
    _binaries.move_to_end(key)
    return _binaries[key]


def forget_below(root: str) -> None:
    """Close the files below a root: an open one would hold a container's mount when it has ended."""
    for key in [key for key in _binaries if str(key[0]).startswith(root)]:
        del _binaries[key]


def _read(path: str) -> Binary:
    file, inside, member = path.partition(_MEMBER)
    if not inside or Path(path).exists():
        return Binary(path, Stream(path))
    try:
        with ZipFile(file) as archive:
            info = archive.getinfo(member)
            if info.compress_type != ZIP_STORED:
                raise NotElfError(f"{member} is compressed in {file}: only what is stored as it is can run there")
            data = archive.read(info)
    except (BadZipFile, KeyError) as error:
        raise NotElfError(f"{path}: {error}") from error
    return Binary(file, io.BytesIO(data), _member_start(file, info.header_offset))


def _member_start(file: str, header: int) -> int:
    with Path(file).open("rb") as archive:
        archive.seek(header + 26)
        name, extra = (int.from_bytes(archive.read(2), "little") for _ in range(2))
    return header + _LOCAL_HEADER + name + extra
