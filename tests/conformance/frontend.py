"""Front-end cases: does `check --offline` accept what upstream accepts, and refuse what it refuses?

They are judged in this process, a thousand times faster than one `kubebpf check` each; a case that takes long or raises counts as
failed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

from conformance.cases import Case, Verdict
from kubebpf.cli.building import build, complaints, kernel_view
from kubebpf.compiler.kernel.view import KernelView

SECONDS = 10


class TooLongError(Exception):
    """The compiler thought too long."""


def name_of(case: Case) -> str:
    """The test and the program: upstream's test names alone are not unique."""
    return f"{case['test']}: {case['program']}"


def judge(case: Case) -> Verdict:
    """Compile, and compare the verdicts. The words of diagnostics are free."""
    name, tier = name_of(case), f"frontend {case['stage']}"
    try:
        with _limited(SECONDS):
            built = build(case["program"], "stdin", _view(), unsafe=bool(case.get("unsafe")), offline=True)
    except TooLongError:
        return Verdict(name, tier, f"no verdict in {SECONDS} s")
    except Exception as error:
        return Verdict(name, tier, f"raised {type(error).__name__}: {error}"[:300])
    accepted = not built.report.errors and (built.artifact is not None or built.report.assumes)
    if accepted == (case["expect"] == "ok"):
        return Verdict(name, tier)
    said = complaints(built.report, warnings=False)
    return Verdict(name, tier, "accepted, but upstream refuses it" if accepted else f"refused: {said.splitlines()[:1]}", said)


@cache
def _view() -> KernelView:
    return kernel_view(offline=True)


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
