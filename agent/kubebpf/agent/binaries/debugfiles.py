"""Where the symbols of a stripped binary are: in a file of their own, or packed inside it.

    build-id    /usr/lib/debug/.build-id/ab/cdef….debug
    debuglink   beside the binary, in .debug/ beside it, under /usr/lib/debug
    debugdata   the section .gnu_debugdata: an ELF file with a symbol table, compressed (distributions of the Red Hat family)

The names are those of GDB's manual, "Separate Debug Files" and "MiniDebugInfo".
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEBUG = Path("/usr/lib/debug")
_ROOT = re.compile(r"/proc/\d+/root(?=/)")  # the files of a process in another mount namespace


def separate(path: str, elf: Any) -> Iterator[Path]:
    """The files that may have a binary's symbols, the likeliest first; they are there and belong to it.

    Args:
        path: of the binary; debug files are searched in the same root.
        elf: the binary.
    """
    match = _ROOT.match(path)
    root = Path(match[0]) if match else Path("/")
    if number := build_id(elf):
        found = root / DEBUG.relative_to("/") / ".build-id" / number[:2] / f"{number[2:]}.debug"
        if found.is_file():
            yield found
    yield from _linked(Path(path), root, elf)


def build_id(elf: Any) -> str:
    """The build id in hexadecimal digits, or ""."""
    section = elf.get_section_by_name(".note.gnu.build-id")
    if section is None:
        return ""
    data = section.data()
    names, size, kind = struct.unpack_from("<III", data)
    start = 12 + (names + 3) // 4 * 4
    return data[start : start + size].hex() if kind == 3 else ""  # NT_GNU_BUILD_ID


def _linked(path: Path, root: Path, elf: Any) -> Iterator[Path]:
    section = elf.get_section_by_name(".gnu_debuglink")
    if section is None:
        return
    data: bytes = section.data()
    name = data[: data.index(b"\0")].decode("utf-8", "surrogateescape")
    (checksum,) = struct.unpack("<I", data[-4:])
    folder = path.resolve().parent
    inside = folder.relative_to(root) if folder.is_relative_to(root) else folder.relative_to("/")
    for place in (folder / name, folder / ".debug" / name, root / DEBUG.relative_to("/") / inside / name):
        if place != path and place.is_file() and zlib.crc32(place.read_bytes()) == checksum:
            yield place


def packed(elf: Any) -> bytes | None:
    """The ELF file of .gnu_debugdata, or None."""
    section = elf.get_section_by_name(".gnu_debugdata")
    if section is None:
        return None
    try:
        return lzma.decompress(section.data())
    except lzma.LZMAError:
        return None
