"""C definitions of a program become Definitions: clang reads them, the kernel's BTF lends what they miss.

read(program.c_definitions, view, options, report)   -> Definitions, or None after complaints

Clang names what it does not know, the kernel is asked for it, and clang reads again, until nothing is missing or nothing helps.
"""

from __future__ import annotations

import re
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kubebpf.compiler.cdefs import clang
from kubebpf.compiler.cdefs.definitions import Definitions
from kubebpf.compiler.cdefs.lending import lend, wanted
from kubebpf.compiler.cdefs.places import is_kernel_header, strangers
from kubebpf.compiler.cdefs.size import fits
from kubebpf.compiler.complaints.cdefs import BadDefinition, ForbiddenHeader, MissingHeader
from kubebpf.compiler.complaints.offline import HeaderAssumed
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.span import Span

if TYPE_CHECKING:
    from kubebpf.compiler.complaints.base import Complaint, Report
    from kubebpf.compiler.kernel.view import KernelView
    from kubebpf.compiler.options import CompileOptions

MOST_PROBLEMS = 20  # what follows is a consequence of these
ROUNDS = 16  # types of the kernel are opaque once lent, so a definition asks for few
# As long in this order as in the other, so that places stay right.
_LATE_ATTRIBUTE = re.compile(r"^(struct|union) (\w+) (__attribute__ *\(\((?:[^()]|\([^()]*\))*\)\))(?= *\{)")
_MISSING_FILE = re.compile(r"'([^']+)' file not found")


@dataclass
class _Text:
    """The program's definitions as one C text, and where its pieces come from."""

    pieces: Sequence[tree.CDefinition]
    includes: Sequence[str]
    lent: list[str] = field(default_factory=list)

    def render(self) -> str:
        """The whole text: lent types, then the headers of --include, then the program's definitions."""
        head = "\n".join([*self.lent, *(f'#include "{name}"' for name in self.includes)]) + "\n"
        # The grammar lets a struct end without its semicolon.
        lines = [_in_order(piece.text) + ("\n" if piece.text.startswith("#") else "\n;\n") for piece in self.pieces]
        self._starts = []
        at = len(_bytes(head))
        for line in lines:
            self._starts.append(at)
            at += len(_bytes(line))
        return head + "".join(lines)

    @property
    def own_from(self) -> int:
        """The byte offset behind the lent types."""
        return len(_bytes("\n".join(self.lent)))

    def span(self, problem: clang.Problem) -> Span:
        """The place in the program that a problem is about; the first definition for one in a header."""
        if problem.file != clang.MAIN or problem.offset < self._starts[0]:
            return self.pieces[0].span
        number = bisect_right(self._starts, problem.offset) - 1
        piece = self.pieces[number]
        inside = _bytes(piece.text)[: problem.offset - self._starts[number]].decode(errors="surrogateescape")
        start = min(piece.span.start + len(inside), piece.span.end)
        word = re.compile(r"[<\"]?[\w./]*").match(piece.text, len(inside))
        return Span(start, min(start + max(len(word[0]) if word else 1, 1), piece.span.end), piece.span.file)

    _starts: list[int] = field(default_factory=list)


class _StandIns:
    """Empty headers in place of the kernel's: BTF has the types of the real ones. Most programs need none.

    Args:
        stack: removes them.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folders: list[str] = []

    def make(self, header: str) -> bool:
        """Add one; False when it is there already, or nothing can be written here."""
        try:
            if not self.folders:
                self.folders.append(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kubebpf-")))
            path = Path(self.folders[0], header)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except OSError:
            return False
        return True

    def has(self, file: str) -> bool:
        """Whether a file that clang opened is one of these."""
        return any(file.startswith(folder) for folder in self.folders)


def read(pieces: Sequence[tree.CDefinition], view: KernelView, options: CompileOptions, report: Report) -> Definitions | None:
    """Read a program's C definitions.

    Args:
        pieces: as written, in order; at least one.
        view: the kernel whose types they may use.
        options: the processor, and where headers are looked for.
        report: takes the complaints.
    """
    if not fits(pieces, report):
        return None
    text = _Text(pieces, options.includes)
    defines = ["BPFTRACE_HAVE_BTF"] if len(view.btf.raw.words) else []
    with ExitStack() as stack:
        stand_ins = _StandIns(stack)
        unit = _settle(text, view, options, stand_ins, defines)
        if view.anything_exists and (unknown := _missing(unit)):
            # What they define is not known, so neither is what clang makes of the rest.
            for problem in unknown:
                report.add(HeaderAssumed(span=text.span(problem), name=_header(problem)))
            return None
    folders = [*options.include_dirs, *_folders_of(options.includes)]
    foreign = strangers((f for f in unit.files if not stand_ins.has(f)), folders)
    if foreign:
        report.add(ForbiddenHeader(span=_including(pieces, foreign[0]), name=Path(foreign[0]).name))
        return None
    for problem in unit.problems[:MOST_PROBLEMS]:
        report.add(_complaint(text, problem))
    return None if unit.problems else Definitions(unit, view, text.own_from)


def _settle(text: _Text, view: KernelView, options: CompileOptions, stand_ins: _StandIns, defines: Sequence[str]) -> clang.Unit:
    """Read again and again, with more of the kernel's types, until that changes nothing."""
    asked: set[tuple[str, str]] = set()
    for _ in range(ROUNDS):
        folders = [*options.include_dirs, *stand_ins.folders]
        unit = clang.parse(_bytes(text.render()), options.arch, folders, defines, _folders_of(options.includes))
        helped = False
        for problem in unit.problems:
            header = _MISSING_FILE.search(problem.text)
            if header and is_kernel_header(header[1]) and ".." not in header[1]:
                helped |= stand_ins.make(header[1])
            need = wanted(problem.text)
            if need is None or need in asked:
                continue
            asked.add(need)
            lent = lend(view, *need)
            if lent is not None:
                text.lent.append(lent)
                helped = True
        if not helped:
            break
    return unit


def _in_order(text: str) -> str:
    """A definition with its attributes where C wants them: `struct S __attribute__((packed)) {` is understood, too."""
    return _LATE_ATTRIBUTE.sub(r"\1 \3 \2", text)


def _missing(unit: clang.Unit) -> list[clang.Problem]:
    """The headers that clang does not find."""
    return [problem for problem in unit.problems if _header(problem) and not _outside(_header(problem))]


def _header(problem: clang.Problem) -> str:
    found = _MISSING_FILE.search(problem.text)
    return found[1] if found else ""


def _outside(header: str) -> bool:
    """Whether an `#include` names a file by its place on this machine."""
    return header.startswith("/") or ".." in header.split("/")


def _folders_of(files: Sequence[str]) -> list[str]:
    return [str(Path(name).parent) for name in files]


def _bytes(text: str) -> bytes:
    """What clang counts in."""
    return text.encode(errors="surrogateescape")


def _including(pieces: Sequence[tree.CDefinition], file: str) -> Span:
    name = Path(file).name
    return next((piece.span for piece in pieces if name in piece.text), pieces[0].span)


def _complaint(text: _Text, problem: clang.Problem) -> Complaint:
    span = text.span(problem)
    if header := _header(problem):
        return ForbiddenHeader(span=span, name=header) if _outside(header) else MissingHeader(span=span, name=header)
    where = "" if problem.file == clang.MAIN else f" (in <{Path(problem.file).name}>)"
    # What could not be lent by the kernel in view, another one may have.
    return BadDefinition(span=span, problem=_without_places(problem.text) + where, of_kernel=wanted(problem.text) is not None)


def _without_places(text: str) -> str:
    """Clang's words without the paths by which it names anonymous types."""
    return re.sub(r"\((anonymous|unnamed)( struct| union| enum)? at [^)]*\)", r"(\1)", text)
