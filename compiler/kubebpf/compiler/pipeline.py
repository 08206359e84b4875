"""From text to Artifact: the table of contents of the compiler.

compilation = compile_script('begin { print(1) }', KernelView.running(), CompileOptions())
compilation.artifact.elf, compilation.report.errors

text -> parse -> with_imports -> expand (macros) -> read_config -> fold_heads (parameters) -> declare_maps -> infer -> emit
-> Artifact
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.cdefs.bpf_c import Compiled
from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.typing import ProgramTooLarge
from kubebpf.compiler.emit.limits import TooLargeError
from kubebpf.compiler.emit.program import emit
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions, Settings
from kubebpf.compiler.passes.c_definitions import with_definitions
from kubebpf.compiler.passes.config import read_config
from kubebpf.compiler.passes.declarations import check_declared, declare_maps
from kubebpf.compiler.passes.functions import declare_external
from kubebpf.compiler.passes.imports import Imported, with_imports
from kubebpf.compiler.passes.layouts import layouts
from kubebpf.compiler.passes.library import with_library
from kubebpf.compiler.passes.macros import expand
from kubebpf.compiler.passes.parameters import fold_heads
from kubebpf.compiler.passes.size import check_size
from kubebpf.compiler.passes.typing import Typing, infer
from kubebpf.compiler.passes.unstable import check_unstable
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import check_depth
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source, Span
from kubebpf.compiler.types import typed

# The parser takes trees 200 deep, and every pass spends a few calls on each level.
DEEPEST = 10_000


@dataclass(frozen=True)
class Compilation:
    """What came of a text: an artifact, or None and at least one error, or an offline check's assumption, in the report."""

    artifact: Artifact | None
    report: Report


@dataclass(frozen=True)
class Checked:
    """A program that passed all checks, or None, with the settings and the diagnostics."""

    program: typed.Program | None
    settings: Settings
    report: Report


@contextmanager
def _deep_calls() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@_deep_calls()
def compile_script(text: str, view: KernelView, options: CompileOptions) -> Compilation:
    """Compile a program.

    Args:
        text: the program.
        view: the kernel that it is compiled against.
        options: see CompileOptions.
    Returns: the artifact, or the diagnostics that stand in its way. Equal arguments give equal bytes.
    """
    checked = check_script(text, view, options)
    if checked.program is None:
        return Compilation(None, checked.report)
    try:
        artifact = emit(checked.program, checked.report.sources, options, checked.settings)
    except TooLargeError as error:
        span = checked.program.probes[0].span if len(checked.program.probes) == 1 else Span(0, 0)
        checked.report.add(ProgramTooLarge(span=span, what=error.what, needed=error.needed, limit=error.limit))
        return Compilation(None, checked.report)
    return Compilation(artifact, checked.report)


@_deep_calls()
def check_script(text: str, view: KernelView, options: CompileOptions) -> Checked:
    """Everything but the code: diagnostics of all passes at once."""
    source = Source(options.source_name, text)
    report = Report([source])
    syntax = parse(source, report)
    imported = Imported(syntax)
    if not report.errors:
        imported = with_imports(syntax, options, report)
        syntax, options = imported.program, replace(options, include_dirs=(*options.include_dirs, *imported.folders))
    macros = frozenset(macro.name for macro in syntax.macros)
    if not report.errors:
        syntax = expand(with_library(syntax, report), report)
        check_depth(syntax, report)
    settings = read_config(syntax.config, report, options.environment, options.overrides)
    check_unstable(syntax, settings, report)
    check_size(syntax, settings, report)
    if report.errors:
        return Checked(None, settings, report)
    program = _analyse(syntax, view, options, settings, report, macros, imported.compiled)
    return Checked(None if report.errors or report.assumes else program, settings, report)


def _analyse(
    syntax: tree.Program,
    view: KernelView,
    options: CompileOptions,
    settings: Settings,
    report: Report,
    macros: frozenset[str],
    compiled: tuple[Compiled, ...],
) -> typed.Program:
    typing = Typing(report, with_definitions(syntax.c_definitions, view, options, report), options, settings, macros=macros)
    if report.errors:
        return typed.Program(probes=(), maps=())
    syntax = fold_heads(syntax, typing.parameters, report)
    declare_maps(typing, syntax.map_declarations)
    declare_external(typing, compiled)
    probes = infer(typing, syntax.probes, syntax.functions)
    check_declared(typing, syntax.map_declarations)
    maps = tuple(typing.used_maps())
    return typed.Program(
        probes=probes,
        maps=maps,
        layouts=() if report.errors else layouts(typing, probes, maps),
        strings=tuple(typing.strings),
        unsafe=tuple(sorted(typing.unsafe)),
        folded=tuple(sorted(typing.parameters.folded)),
        linked=tuple(one.bitcode for one in compiled),
    )
