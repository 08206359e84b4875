"""Whole diagnostics: each golden/NAME.bt is a program with mistakes, NAME.err what is said about it, all at once.

A first line `// options: scoped` compiles the program for a namespaced trace, `// options: unsafe` allows unsafe helpers,
`// args: 7 nginx` gives it parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.compiler.complaints import cdefs as c_complaints
from kubebpf.compiler.complaints import flow as flow_complaints
from kubebpf.compiler.complaints import helpers as helper_complaints
from kubebpf.compiler.complaints import macros as macro_complaints
from kubebpf.compiler.complaints import parameters as parameter_complaints
from kubebpf.compiler.complaints import stacks as stack_complaints
from kubebpf.compiler.complaints import typing as typing_complaints
from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.passes import config, declarations, unstable
from kubebpf.compiler.pipeline import Compilation, compile_script

FOLDER = Path(__file__).parent / "golden"
PROGRAMS = sorted(FOLDER.glob("*.bt"))
HARMLESS = ("skipped", "warnings")  # warnings or nothing


def compilation(path: Path, small: KernelView) -> Compilation:
    text = path.read_text()
    args = tuple(text.partition("\n")[0].removeprefix("// args:").split()) if text.startswith("// args:") else ()
    first = text.partition("\n")[0]
    asked = first.removeprefix("// options:").split() if first.startswith("// options:") else ()
    options = CompileOptions(source_name=path.name, scoped="scoped" in asked, unsafe="unsafe" in asked, args=args)
    return compile_script(text, small, options)


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_diagnostics(path: Path, small: KernelView, golden: Callable[[Path, str], None]) -> None:
    report = compilation(path, small).report
    assert bool(report.errors) == (path.stem not in HARMLESS)
    golden(path.with_suffix(".err"), render_all(report) + "\n")


def test_every_diagnostic_has_an_example(small: KernelView) -> None:
    shown = {type(complaint) for path in PROGRAMS for complaint in compilation(path, small).report}
    kinds = {
        kind
        for module in (
            typing_complaints,
            c_complaints,
            flow_complaints,
            helper_complaints,
            macro_complaints,
            parameter_complaints,
            stack_complaints,
            config,
            declarations,
            unstable,
        )
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Complaint) and kind is not Complaint and kind.__module__ == module.__name__
    }
    assert kinds - shown == {c_complaints.NoCompilerForC}  # that takes a machine without libclang


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_no_artifact_of_a_program_with_errors(path: Path, small: KernelView) -> None:
    done = compilation(path, small)
    assert (done.artifact is None) == bool(done.report.errors)
