"""The local mode: what `kubebpf run` does between its options and the engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kubebpf.agent.libbpf.errors import LibbpfError, LibbpfMissingError
from kubebpf.agent.output.writers import JsonOutput, Output, Streams, TextOutput, place_text, underlined
from kubebpf.agent.session.errors import AttachError, FactError, KernelFieldError, MissingProbeError, SessionError
from kubebpf.agent.session.options import Options, Purpose
from kubebpf.agent.session.session import Session
from kubebpf.cli.child import Child
from kubebpf.cli.ends import Ends
from kubebpf.cli.engine import Manner, Run
from kubebpf.cli.problems import UserError, error_line
from kubebpf.cli.progress import progress
from kubebpf.cli.source import Program
from kubebpf.cli.trials import run_trials
from kubebpf.cli.words import Words
from kubebpf.compiler.artifact.manifest import ManifestError

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says about a run; the names are those of the options."""

    form: str = "text"
    command: str | None = None
    pid: int | None = None
    output: Path | None = None
    buffering: str = "line"
    duration_s: float | None = None
    verbose: bool = False
    purpose: Purpose = "run"
    words: Words = field(default_factory=Words)
    manner: Manner = field(default_factory=Manner)


def run(program: Program, made: Callable[[], Artifact], options: RunOptions) -> int:
    """Run a program that is being compiled, or was before.

    Args:
        made: waits for the object.

    Returns:
        the code of exit(), or 0.

    Raises:
        UserError: something that the user can change.
        CompilerCrashError: the compiler failed.
    """
    with progress("compiling"):
        artifact = made()
    if not artifact.manifest.attaches:
        raise error_line("No probes to attach")
    with ExitStack() as stack, explained(options.verbose, program):
        child = stack.enter_context(Child.start(options.command)) if options.command else None
        streams = stack.enter_context(_streams(options.output, at_once=options.buffering == "none"))
        output = _output(options.form, streams, program)
        ends = stack.enter_context(Ends(options.duration_s, [child.fd] if child else _watched(options.pid, stack)))
        with progress("loading", quiet=bool(child)):
            session = stack.enter_context(Session(artifact, session_options(options, child)))
        flush = (lambda: None) if options.buffering == "full" else streams.flush
        run = Run(session, output, ends, options.manner, flush)
        if options.purpose != "run":
            return run_trials(run, options.purpose, streams.write, options.form)
        return run.go(child.go if child else lambda: None)


def session_options(options: RunOptions, child: Child | None = None) -> Options:
    """The session's share of the options."""
    words, pid = options.words, child.pid if child else options.pid
    child_pid = child.pid if child else None
    unsafe, purpose = options.manner.allow_unsafe, options.purpose
    return Options(args=words.args, params=words.params, pid=pid, child=child_pid, unsafe=unsafe, purpose=purpose)


@contextmanager
def explained(verbose: bool = False, program: Program | None = None) -> Iterator[None]:
    """Turn what the session raises into messages for people.

    Args:
        verbose: with the whole log of libbpf and the verifier.
        program: whose line is shown where the message is about one.

    Raises:
        UserError: instead.
    """
    try:
        yield
    except AttachError as error:
        raise UserError("\n".join(line for missing in error.missing for line in _lines(missing))) from error
    except LibbpfError as error:
        log = f"\n{error.log.rstrip()}" if verbose and error.log else ""
        raise UserError(f"ERROR: {error}{log}" + ("" if log else _more(error))) from error
    except FactError as error:
        raise _fact_missing(error, program) from error
    except KernelFieldError as error:
        raise error_line(
            f"{error}\nHINT: kubebpf compile makes an object for this kernel here, or elsewhere with --btf"
        ) from error
    except (SessionError, LibbpfMissingError, ManifestError) as error:
        raise error_line(error) from error


def _fact_missing(error: FactError, program: Program | None) -> UserError:
    if error.place is None:
        return error_line(error)
    shown = program is not None and program.name == error.place.file
    line = underlined(program.text.splitlines(), error.place) if program and shown else ""
    return UserError(f"{place_text(error.place)}: ERROR: {error.message}\n{line}".rstrip("\n"))


def _lines(missing: MissingProbeError) -> list[str]:
    """What is said of a probe that is not there: why, where it stands in the text, what may help."""
    where = f"{place_text(missing.place)}: " if missing.place else ""
    note = [missing.note if missing.note.startswith("ERROR") else where + missing.note] if missing.note else []
    return [*note, f"{where}ERROR: {missing}"]


def _more(error: LibbpfError) -> str:
    return "\nHINT: -v shows the whole log of the kernel" if error.log else ""


def _output(form: str, streams: Streams, program: Program) -> Output:
    return JsonOutput(streams.write) if form == "json" else TextOutput(streams.write, program.text, program.name)


@contextmanager
def _streams(path: Path | None, at_once: bool) -> Iterator[Streams]:
    if path is None:
        yield Streams(sys.stdout.buffer, sys.stderr.buffer, at_once)
        return
    try:
        file: BinaryIO = path.open("wb")
    except OSError as error:
        raise error_line(f"failed to open output file '{path}': {error.strerror}") from error
    with file:
        yield Streams(file, sys.stderr.buffer, at_once)


def _watched(pid: int | None, stack: ExitStack) -> list[int]:
    if pid is None:
        return []
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise error_line(f"-p {pid}: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return [descriptor]
