"""Source lines as addresses, by DWARF's line tables.

addresses(elf, "main.c", 17)      -> [0x1169]
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any


def addresses(elf: Any, source: str, line: int, column: int = 0) -> list[int]:
    """Where the code of a line starts, in each compilation unit that has any.

    Args:
        elf: with debug information.
        source: the file's name, or the end of its path.
        line: from 1.
        column: from 1; 0 for any.

    Returns:
        the first address that the compiler recommends for a breakpoint, of each unit; all where it copied the line to several.
    """
    found = list[int]()
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        numbers = _files(program, source)
        if numbers:
            found += _starts(program, numbers, line, column)
    return list(dict.fromkeys(found))


def _starts(program: Any, numbers: frozenset[int], line: int, column: int) -> list[int]:
    states = [entry.state for entry in program.get_entries() if entry.state is not None]
    fits = [s for s in states if s.line == line and s.file in numbers and not s.end_sequence and column in (0, s.column)]
    return [s.address for s in fits if s.is_stmt][:1] or [s.address for s in fits][:1]


def _files(program: Any, source: str) -> frozenset[int]:
    """The numbers of a file in a unit's table: before DWARF 5 they count from 1."""
    header = program.header
    first = 0 if header.version >= 5 else 1
    wanted = PurePath(source).parts
    numbers = list[int]()
    for number, entry in enumerate(header.file_entry, first):
        path = PurePath(_folder(header, entry.dir_index), entry.name.decode("utf-8", "surrogateescape"))
        if path.parts[-len(wanted) :] == wanted:
            numbers.append(number)
    return frozenset(numbers)


def _folder(header: Any, index: int) -> str:
    folders = header.include_directory
    at = index if header.version >= 5 else index - 1
    return folders[at].decode("utf-8", "surrogateescape") if 0 <= at < len(folders) else ""
