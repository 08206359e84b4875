"""libclang, asked to read C definitions. It is imported here alone, and not before a program has C definitions.

    unit = parse(buffer, Flags(...))
    unit.problems     -> (Problem(offset=12, text="unknown type name 'u32'", fatal=False), …)
    unit.declarations -> cursors of the file scope

Clang reads layouts only: nothing of what it generates is used, and no path of this machine gets into what is made of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clang import cindex

from kubebpf.compiler.cdefs.places import OWN_HEADERS, SYSTEM_HEADERS

MAIN = "/kubebpf/definitions.c"  # a name, not a file
_SEVERE = 3  # CXDiagnostic_Error
RECORDS = {cindex.CursorKind.STRUCT_DECL: "struct", cindex.CursorKind.UNION_DECL: "union"}
Cursor = Any  # clang's Python binding has no types
CType = Any
Kind = cindex.TypeKind
CursorKind = cindex.CursorKind


class GaveUpError(MemoryError):
    """The definitions are too much for clang: it ran out of memory or of stack."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error of clang's.

    Args:
        file: where it is; MAIN for the program's own text.
        offset: bytes from the start of the file.
        text: clang's words.
    """

    file: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What clang read. `raw` keeps the memory that cursors point into."""

    raw: Any
    problems: tuple[Problem, ...]
    files: tuple[str, ...]

    def declarations(self) -> Iterator[Cursor]:
        """Everything at file scope, macros first."""
        yield from self.raw.cursor.get_children()


def parse(text: bytes, arch: str, folders: Sequence[str], defines: Sequence[str], visible: Sequence[str] = ()) -> Unit:
    """Read C.

    Args:
        text: the whole main file.
        arch: the processor whose layout holds, as `uname -m` says it.
        folders: searched for headers, before our own headers and the system's.
        defines: macros, as `NAME` or `NAME=VALUE`.
        visible: folders whose files may be included, beside all these, by whatever name.

    Raises:
        GaveUpError: clang has crashed. It leaves memory behind then, so that the process had better end.
    """
    system = [OWN_HEADERS, SYSTEM_HEADERS, f"{SYSTEM_HEADERS}/{arch}-linux-gnu"]
    arguments = ["-x", "c", "-std=gnu11", "-w", "-ferror-limit=0", "-nostdinc", "-target", f"{arch}-linux-gnu"]
    arguments += [f"-I{folder}" for folder in folders] + [f"-D{d}" for d in defines]
    arguments += [part for folder in system for part in ("-isystem", folder)]
    index = cindex.Index.create()
    options = cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD | cindex.TranslationUnit.PARSE_SKIP_FUNCTION_BODIES
    with _only([*folders, *visible, *system]) as overlay:
        try:
            raw = index.parse(MAIN, args=[*arguments, "-ivfsoverlay", overlay], unsaved_files=[(MAIN, text)], options=options)
        except cindex.TranslationUnitLoadError as error:
            raise GaveUpError("clang could not read the C definitions") from error
    problems = tuple(_problem(d) for d in raw.diagnostics if d.severity >= _SEVERE)
    files = tuple(dict.fromkeys(i.include.name for i in raw.get_includes()))
    return Unit(raw, problems, files)


@contextmanager
def _only(folders: Sequence[str]) -> Iterator[str]:
    """The name of a file that tells clang of no files but those below the folders. A program may be anybody's, and `#include
    "/dev/zero"` has no end; whether a file of this machine exists, which `__has_include` asks, is not the program's business."""
    # clang looks for a file by the name that the program has for it, so a folder that is a link has both names.
    names = [str(name) for folder in map(Path, folders) for name in (folder.absolute(), folder.resolve())]
    roots = [{"type": "directory-remap", "name": name, "external-contents": name} for name in dict.fromkeys(names)]
    layout = {"version": 0, "case-sensitive": "true", "redirecting-with": "redirect-only", "roots": roots}
    number = os.memfd_create("kubebpf-headers")
    try:
        os.write(number, json.dumps(layout).encode())
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _problem(diagnostic: Any) -> Problem:
    place = diagnostic.location
    return Problem(place.file.name if place.file else MAIN, place.offset, diagnostic.spelling)


def file_of(cursor: Cursor) -> str:
    """The file that a declaration stands in."""
    found = cursor.location.file
    return str(found.name) if found else ""


def is_function_like(cursor: Cursor) -> bool:
    """Whether a macro has parameters."""
    return bool(cindex.conf.lib.clang_Cursor_isMacroFunctionLike(cursor))


def tokens(cursor: Cursor) -> list[str]:
    """The words of a macro, its name first; none of a macro whose text is not UTF-8."""
    try:
        return [token.spelling for token in cursor.get_tokens()]
    except UnicodeDecodeError:
        return []
