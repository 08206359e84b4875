"""One input through the compiler, in this process: what must never happen, as a Finding.

judge("begin { print(1) }", CHECK)   -> None, or Finding("raised", "KeyError: 'x' in passes/typing.py:12")

The limits are of processor time, so that a busy machine finds no hangs. What does not return from C code is for the process
around this one to end (hack/fuzz.py).
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Literal

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all, to_json
from kubebpf.compiler.complaints.syntax import NestedTooDeeply
from kubebpf.compiler.complaints.typing import FoldError, ProgramTooLarge
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import check_script, compile_script
from kubebpf.compiler.syntax.formatter import format_program
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source

Stage = Literal["check", "compile"]
SECONDS: dict[Stage, float] = {"check": 1.0, "compile": 10.0}  # of processor time; LLVM's own is most of the second


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong.

    Args:
        kind: raised, slow, killed (by a signal, for its memory or its time), or a broken promise.
        detail: the exception and its place; equal details are one mistake.
    """

    kind: str
    detail: str


class TooSlowError(BaseException):
    """The time is over. No code that expects exceptions may catch it."""


@cache
def view() -> KernelView:
    """A kernel that has everything, or this machine's with its BTF."""
    return KernelView.offline()


def judge(text: str, stage: Stage = "check") -> Finding | None:
    """Check or compile a text, and word its diagnostics."""
    try:
        with _limited(SECONDS[stage]):
            return _promises(text, stage)
    except TooSlowError:
        return Finding("slow", f"more than {SECONDS[stage]:g} s of processor time")
    except Exception as error:
        return Finding("raised", f"{type(error).__name__}: {str(error)[:120]} in {_place(error)}")


def judge_program(text: str) -> Finding | None:
    """A program that has to compile, for a kernel that has everything."""
    try:
        with _limited(SECONDS["compile"]):
            done = compile_script(text, view(), CompileOptions(offline=True))
    except TooSlowError:
        return Finding("slow", f"more than {SECONDS['compile']:g} s of processor time")
    except Exception as error:
        return Finding("raised", f"{type(error).__name__}: {str(error)[:120]} in {_place(error)}")
    if done.artifact is not None:
        return _formatting(text)
    said = done.report.errors[0]
    return None if isinstance(said, ProgramTooLarge | FoldError) else Finding("refused", f"{said.code}: {said.message[:80]}")


def _promises(text: str, stage: Stage) -> Finding | None:
    options = CompileOptions(offline=True, unsafe=True)
    report = compile_script(text, view(), options).report if stage == "compile" else check_script(text, view(), options).report
    for complaint in report:
        to_json(complaint, report.sources)
        length = len(report.sources[complaint.span.file].text)
        if not 0 <= complaint.span.start <= complaint.span.end <= length:
            return Finding("place", f"{complaint.code} is outside the text")
    render_all(report).encode()
    return _formatting(text)


def _formatting(text: str) -> Finding | None:
    """A program that parses is the same one when it is formatted."""
    report = Report([Source("stdin", text)])
    tree = parse(report.sources[0], report)
    if report.errors:
        return None
    again = format_program(text, tree)
    report = Report([Source("stdin", again)])
    same = parse(report.sources[0], report) == tree
    if any(isinstance(complaint, NestedTooDeeply) for complaint in report.errors):
        return None  # `**$x` gets parentheses
    if not same or report.errors:
        return Finding("format", "the formatted program is another one")
    return None


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "kubebpf" in frame.filename] or frames
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
