"""`import`: the pieces of other files, in front of the program's own.

    import "lib/net.bt";     its macros, functions, map declarations, C definitions and probes
    import "event.h";        C definitions
    import "sum.bpf.c";      functions in C, where there is a clang
    import "lib";            everything of these kinds in a folder, by name

Paths are relative to the file that imports. Each file is read once, whoever asks for it, so that circles do no harm. The text of
every file is a source of its own in the report, which the spans of its pieces name.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from kubebpf.compiler.cdefs.bpf_c import BpfCError, Compiled, compile_file
from kubebpf.compiler.complaints import imports as complaints
from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.parser import MAX_LENGTH, parse
from kubebpf.compiler.syntax.span import Source, Span

MAX_FILES = 256
LIBRARY = "stdlib"  # the language's own helpers, which every program has
_KINDS = (".bpf.c", ".bt", ".h")


@dataclass(frozen=True, slots=True)
class Imported:
    """A program with its imports in it, the folders of the C headers and the files of BPF C among them."""

    program: tree.Program
    folders: tuple[str, ...] = ()
    compiled: tuple[Compiled, ...] = ()


def with_imports(program: tree.Program, options: CompileOptions, report: Report) -> Imported:
    """Read what a program imports.

    Args:
        program: as parsed.
        options: with the folder of the program.
        report: takes the complaints and the sources.
    """
    program = replace(program, imports=tuple(wanted for wanted in program.imports if wanted.path != LIBRARY))
    if not program.imports:
        return Imported(program)
    if options.base is None:
        report.add(complaints.ImportsImpossible(span=program.imports[0].span))
        return Imported(program)
    reader = _Reader(report, options)
    reader.all(program.imports, Path(options.base))
    return Imported(reader.joined(program), tuple(reader.folders), tuple(reader.compiled))


@dataclass
class _Reader:
    report: Report
    options: CompileOptions
    folders: list[str] = field(default_factory=list)
    compiled: list[Compiled] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)
    _programs: list[tree.Program] = field(default_factory=list)

    def all(self, imports: tuple[tree.Import, ...], base: Path) -> None:
        """What one file imports, in its order."""
        for node in imports:
            if len(self._seen) > MAX_FILES:
                self.report.add(complaints.TooManyImports(span=node.span, limit=MAX_FILES))
                return
            self._one(node, base / node.path)

    def joined(self, program: tree.Program) -> tree.Program:
        """The program behind the pieces that were read."""
        parts = [*self._programs, program]
        return replace(
            program,
            imports=(),
            c_definitions=tuple(d for part in parts for d in part.c_definitions),
            map_declarations=tuple(d for part in parts for d in part.map_declarations),
            macros=tuple(m for part in parts for m in part.macros),
            functions=tuple(f for part in parts for f in part.functions),
            probes=tuple(p for part in parts for p in part.probes),
        )

    def _one(self, node: tree.Import, path: Path) -> None:
        try:
            path = path.resolve(strict=True)
            if path in self._seen:
                return
            self._seen.add(path)
            if problem := _writable(path):
                self.report.add(complaints.ImportUnsafe(span=node.span, path=node.path, what=problem))
            elif path.is_dir():
                files = sorted(p for p in path.iterdir() if p.name.endswith(_KINDS))
                self.all(tuple(replace(node, path=str(p)) for p in files), path)
            else:
                self._file(node, path)
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.report.add(complaints.ImportNotFound(span=node.span, path=node.path, why=why or "no such file"))

    def _file(self, node: tree.Import, path: Path) -> None:
        if path.name.endswith(".bpf.c"):
            self._bpf_c(node, path)
        elif not path.name.endswith(_KINDS):
            why = "only .bt, .h and folders are"
            self.report.add(complaints.ImportKind(span=node.span, path=node.path, why=why))
        elif (text := self._text(node, path)) is not None:
            self._read(path, text)

    def _bpf_c(self, node: tree.Import, path: Path) -> None:
        try:
            self.compiled.append(compile_file(path, self.options.arch, self.options.include_dirs))
        except BpfCError as error:
            self.report.add(complaints.ImportKind(span=node.span, path=node.path, why=str(error)))

    def _text(self, node: tree.Import, path: Path) -> str | None:
        data = path.read_bytes() if path.stat().st_size <= MAX_LENGTH else b"\xff"
        try:
            return data.decode()
        except UnicodeDecodeError:
            why = f"it is no text of at most {MAX_LENGTH} characters"
            self.report.add(complaints.ImportKind(span=node.span, path=node.path, why=why))
            return None

    def _read(self, path: Path, text: str) -> None:
        number = len(self.report.sources)
        self.report.sources.append(Source(str(path), text))
        if path.suffix == ".h":
            self.folders.append(str(path.parent))
            definition = tree.CDefinition(text, span=Span(0, len(text), number))
            self._programs.append(tree.Program((definition,)))
            return
        program = parse(self.report.sources[number], self.report, number)
        if program.config is not None:
            self.report.add(complaints.ConfigInImport(span=program.config.span))
        self.all(program.imports, path.parent)
        self._programs.append(program)


def _writable(path: Path) -> str:
    """What of a file, or of the folder that it is in, everybody can write; "" if nothing."""
    if path.stat().st_mode & stat.S_IWOTH:
        return "it"
    return f"its folder {path.parent}" if path.parent.stat().st_mode & stat.S_IWOTH else ""
