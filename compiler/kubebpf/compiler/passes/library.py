"""The library: macros of the language itself (library/base.bt), given to the programs that call them.

begin { assert(1 < 2, "never"); }     ->  macro assert(cond, msg) { … } stands in front
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source

_FILE = Path(__file__).parents[1] / "library" / "base.bt"
NAME = "stdlib/base.bt"  # what diagnostics and messages call it, as upstream's


def with_library(program: tree.Program, report: Report) -> tree.Program:
    """The program with the macros of the library that it calls; a macro of its own goes before one of the library.

    Args:
        program: as parsed, imports included.
        report: gets the library's text when it is needed.
    """
    own = {macro.name for macro in program.macros}
    wanted = {macro.name for macro in _parsed(_text(), 0).macros} & set(_called(program)) - own
    if not wanted:
        return program
    report.sources.append(_text())
    macros = _parsed(_text(), len(report.sources) - 1).macros
    return replace(program, macros=(*program.macros, *(macro for macro in macros if macro.name in wanted)))


@cache
def _text() -> Source:
    return Source(NAME, _FILE.read_text())


@cache
def _parsed(source: Source, file: int) -> tree.Program:
    report = Report([source])
    program = parse(source, report, file)
    assert not report.complaints, "the library is right"
    return program


def _called(node: object) -> Iterator[str]:
    """The names of all calls below a node."""
    if isinstance(node, tuple):
        for item in node:
            yield from _called(item)
    elif isinstance(node, tree.Node):
        if isinstance(node, tree.Call):
            yield node.name
        for f in fields(node):
            if f.name != "span":
                yield from _called(getattr(node, f.name))
