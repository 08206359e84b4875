"""Text to Artifact for the commands: the kernel view, the compiler, the diagnostics on standard error."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubebpf.cli.problems import UserError, error_line

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact
    from kubebpf.compiler.complaints.base import Report
    from kubebpf.compiler.kernel.view import KernelView


@dataclass(frozen=True, slots=True)
class Headers:
    """Where a program's C definitions find more.

    Args:
        folders: of -I.
        files: of --include.
    """

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class Built:
    """What came of a text: an artifact, or none and the errors in `report`."""

    artifact: Artifact | None
    report: Report


def kernel_view(btf: Path | None = None, offline: bool = False) -> KernelView:
    """The kernel to compile for.

    Args:
        btf: a file with BTF instead of this machine's.
        offline: everything named is taken to exist.

    Raises:
        UserError: there is no BTF.
    """
    from kubebpf.cli.programs import LocalPrograms
    from kubebpf.compiler.kernel.btf_raw import BtfError
    from kubebpf.compiler.kernel.view import KernelView

    try:
        if offline:
            return KernelView.offline(btf)
        view = KernelView.from_file(btf) if btf else KernelView.running()
        view.programs = LocalPrograms()
        return view
    except BtfError as error:
        hint = (
            ""
            if btf
            else "\nHINT: a kernel needs CONFIG_DEBUG_INFO_BTF=y (every current distribution's has it), or give a --btf FILE"
        )
        raise UserError(f"ERROR: {error}{hint}") from error


_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h


def build(
    text: str,
    name: str,
    view: KernelView,
    *,
    unsafe: bool = False,
    offline: bool = False,
    header: str = "plain",
    here: bool = False,
    count_failures: bool = True,
    check_helpers: bool = False,
    headers: Headers = NO_HEADERS,
    **more: Any,
) -> Built:
    """Compile a text.

    Args:
        text: of the program.
        name: in diagnostics.
        view: of the kernel.
        unsafe: allow unsafe helpers.
        offline: everything named exists.
        header: of events.
        here: for this process alone to load, not for other nodes.
        count_failures: generate what counts full maps and the like.
        check_helpers: and what counts failed reads.
        headers: of -I and --include.
        more: further fields of CompileOptions.
    """
    from kubebpf.compiler.options import CompileOptions
    from kubebpf.compiler.pipeline import compile_script

    options = CompileOptions(
        source_name=name,
        unsafe=unsafe,
        offline=offline,
        header=header,
        arch=view.machine or os.uname().machine,
        count_failures=count_failures,
        check_helpers=check_helpers,
        include_dirs=headers.folders,
        includes=headers.files,
        initial_pids=here and Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE,
        **more,
    )
    done = compile_script(text, view, options)
    return Built(done.artifact, done.report)


def generated(
    text: str, name: str, view: KernelView, *, unsafe: bool, assembly: bool, headers: Headers = NO_HEADERS, **more: Any
) -> str:
    """What the compiler hands to LLVM, or what LLVM makes of it.

    Raises:
        UserError: the program has errors.
    """
    from kubebpf.compiler.emit.program import build as build_module
    from kubebpf.compiler.emit.target import to_assembly
    from kubebpf.compiler.options import CompileOptions
    from kubebpf.compiler.pipeline import check_script

    arch = view.machine or os.uname().machine
    options = CompileOptions(
        source_name=name, unsafe=unsafe, arch=arch, include_dirs=headers.folders, includes=headers.files, **more
    )
    checked = check_script(text, view, options)
    if checked.program is None:
        raise UserError(complaints(checked.report))
    module, manifest = build_module(checked.program, checked.report.sources, options, checked.settings)
    ir = module.ir(manifest)
    return to_assembly(ir) if assembly else ir


def complaints(report: Report, warnings: bool = True) -> str:
    """The diagnostics as text; without warnings if they are not wanted."""
    from kubebpf.compiler.complaints.render import render

    return "\n".join(render(complaint, report.sources) for complaint in report if warnings or complaint.severity == "error")


def complaints_json(report: Report, warnings: bool = True) -> list[str]:
    """The diagnostics, one JSON object each."""
    from kubebpf.compiler.complaints.render import to_json

    shown = [complaint for complaint in report if warnings or complaint.severity == "error"]
    return [json.dumps(to_json(complaint, report.sources), ensure_ascii=False) for complaint in shown]


def artifact_of(built: Built, warnings: bool = True) -> Artifact:
    """The artifact; the diagnostics go to standard error.

    Raises:
        UserError: the program has errors.
    """
    text = complaints(built.report, warnings)
    if built.artifact is None:
        raise UserError(text) if text else error_line("the program could not be compiled")
    if text:
        click.echo(text, err=True)
    return built.artifact
