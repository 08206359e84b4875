"""Whole diagnostics: each golden/NAME.bt is a program with mistakes, NAME.err what is said about it, all at once.

A first line `// options: scoped` compiles the program for a namespaced trace, `// options: unsafe` allows unsafe helpers,
`// args: 7 nginx` gives it parameters.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.compiler import builtins, passes, probes
from kubebpf.compiler import complaints as complaint_modules
from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import Compilation, compile_script

FOLDER = Path(__file__).parent / "golden"
PROGRAMS = sorted(FOLDER.glob("*.bt"))
HARMLESS = ("offline", "skipped", "warnings")  # warnings or nothing


def compilation(path: Path, small: KernelView) -> Compilation:
    text = path.read_text()
    args = tuple(text.partition("\n")[0].removeprefix("// args:").split()) if text.startswith("// args:") else ()
    first = text.partition("\n")[0]
    asked = first.removeprefix("// options:").split() if first.startswith("// options:") else ()
    scoped, unsafe, offline = ("scoped" in asked), ("unsafe" in asked), ("offline" in asked)
    options = CompileOptions(source_name=path.name, offline=offline, scoped=scoped, unsafe=unsafe, args=args)
    return compile_script(text, KernelView.offline() if offline else small, options)


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_diagnostics(path: Path, small: KernelView, golden: Callable[[Path, str], None]) -> None:
    report = compilation(path, small).report
    assert bool(report.errors) == (path.stem not in HARMLESS)
    golden(path.with_suffix(".err"), render_all(report) + "\n")


# What no text alone shows: the tests named show it.
ELSEWHERE = {
    *("MapAssumed", "StructAssumed"),  # take an offline check: passes/test_offline.py
    "NoCompilerForC",  # takes a machine without libclang
    "NotText",  # is in no file
    "ProgramTooLong",  # is a file of a megabyte: syntax/test_limits.py
    "ProgramTooBig",  # likewise: passes/test_size.py
    "UnreadableParameter",  # takes DWARF: kernel/test_uprobe_args.py
    *("CauseUncertain", "SeesWholeNode"),  # take a whole kernel's tracepoints and iterators: kernel/test_scope.py
    "NoAttachPoints",  # takes a listing: kernel/test_uprobes.py
    *("ConfigInImport", "ImportKind", "ImportNotFound", "ImportUnsafe", "TooManyImports"),  # take files: passes/test_imports.py
}


def complaints() -> set[type[Complaint]]:
    """All diagnostics of the compiler, wherever they are."""
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for package in (complaint_modules, passes, probes, builtins)
        for module in pkgutil.iter_modules(package.__path__)
    ]
    found = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind for kind in found if issubclass(kind, Complaint) and kind is not Complaint}


def test_every_diagnostic_has_an_example(small: KernelView) -> None:
    shown = {type(complaint) for path in PROGRAMS for complaint in compilation(path, small).report}
    syntax = sorted((FOLDER.parents[1] / "syntax" / "golden").glob("*.bt"))
    shown |= {type(complaint) for path in syntax for complaint in compilation(path, small).report}
    assert {kind.__name__ for kind in complaints() - shown} == ELSEWHERE


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_no_artifact_of_a_program_with_errors(path: Path, small: KernelView) -> None:
    done = compilation(path, small)
    assert (done.artifact is None) == (bool(done.report.errors) or path.stem == "offline")
