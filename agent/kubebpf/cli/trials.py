"""--test and --bench: the test and bench probes of a program are run one after the other, in place of everything else.

[ RUN      ] adds
[       OK ] adds (12 μs)
[==========] 1 test ran.
"""

from __future__ import annotations

import json
import sys
from typing import Protocol

from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.writers import Sink, TextOutput
from kubebpf.agent.session.options import Purpose
from kubebpf.agent.session.session import Session, Trial
from kubebpf.cli.engine import Run
from kubebpf.compiler.artifact.manifest import Attach

# A bench probe runs a few times for a guess, and then for about this long.
_FEW, _MANY, _BENCH_NS = 20, 1_000_000, 50_000_000
_GREEN, _RED, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


class _Teller(Protocol):
    def start(self, count: int) -> None: ...
    def begun(self, name: str) -> None: ...
    def tested(self, name: str, trial: Trial, output: str) -> None: ...
    def measured(self, name: str, average_ns: int, rounds: int) -> None: ...
    def tests_ran(self, passed: int, failed: list[str]) -> None: ...


def run_trials(run: Run, purpose: Purpose, sink: Sink, form: str) -> int:
    """Run the test or bench probes between the begin and the end probes.

    Args:
        run: of a session with that purpose, not started.
        sink: takes what is told.
        form: text or json.

    Returns:
        1 when a test failed, else 0.
    """
    session, teller = run.session, _Json(sink) if form == "json" else _Text(sink)
    session.start()
    failed = _tests(run, teller) if purpose == "test" else _benches(session, teller)
    run.end()
    return 1 if failed else 0


def _tests(run: Run, teller: _Teller) -> list[str]:
    said: list[str] = []
    session, attaches = run.session, run.session.probes("test")
    dispatch = Dispatcher(session, run.resolver, TextOutput(lambda kind, text: said.append(text)), run.manner.allow_unsafe)
    failed: list[str] = []
    teller.start(len(attaches))
    for attach in attaches:
        name = _name(attach)
        teller.begun(name)
        trial = session.run_probe(attach)
        while records := session.poll(0):
            for record in records:
                dispatch(record)
        if trial.value:
            failed.append(name)
        teller.tested(name, trial, "".join(said))
        said.clear()
    teller.tests_ran(len(attaches) - len(failed), failed)
    return failed


def _benches(session: Session, teller: _Teller) -> list[str]:
    teller.start(0)
    for attach in session.probes("bench"):
        guess = max(1, session.measure(attach, _FEW))
        rounds = min(max(_FEW, _BENCH_NS // guess), _MANY)
        teller.measured(_name(attach), session.measure(attach, rounds), rounds)
    session.poll(0)
    return []


def _name(attach: Attach) -> str:
    return str(attach.target["name"])


class _Json:
    """One object a result."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def start(self, count: int) -> None:
        """Nothing."""

    def begun(self, name: str) -> None:
        """Nothing."""

    def tested(self, name: str, trial: Trial, output: str) -> None:
        """A `test_result`."""
        self._write("test_result", name, {"duration": trial.duration_ns, "passed": not trial.value, "output": output})

    def measured(self, name: str, average_ns: int, rounds: int) -> None:
        """A `benchmark_result`."""
        self._write("benchmark_result", name, {"average": average_ns, "iters": rounds})

    def tests_ran(self, passed: int, failed: list[str]) -> None:
        """Nothing."""

    def _write(self, kind: str, name: str, result: dict[str, object]) -> None:
        self._sink("json", json.dumps({"type": kind, "data": {name: result}}, ensure_ascii=False) + "\n")


class _Text:
    """As upstream prints it; what a test printed is shown when it failed. Colours are for terminals."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        colours = sys.stdout.isatty()
        self._good, self._bad, self._end = (_GREEN, _RED, _PLAIN) if colours else ("", "", "")

    def start(self, count: int) -> None:
        """How many tests there are; without tests, the head of the table."""
        if count:
            self._mark("==========", f"Running {_tests_of(count)}.")
        else:
            self._sink("print", f"{'Benchmark':<41}{'Time(ns)':<17}Iterations\n{'-' * 68}\n")

    def begun(self, name: str) -> None:
        """Which test runs."""
        self._mark(" RUN      ", name)

    def tested(self, name: str, trial: Trial, output: str) -> None:
        """How it went."""
        if trial.value:
            self._sink("print", output)
        time = f"{trial.duration_ns // 1000} μs" if trial.duration_ns >= 1000 else f"{trial.duration_ns} ns"
        self._mark("  FAILED  " if trial.value else "       OK ", f"{name} ({time})", good=not trial.value)

    def measured(self, name: str, average_ns: int, rounds: int) -> None:
        """A line of the table."""
        self._sink("print", f"{name:<41}{average_ns:<17}{rounds}\n")

    def tests_ran(self, passed: int, failed: list[str]) -> None:
        """The sums, and the names of what failed."""
        self._mark("==========", f"{_tests_of(passed + len(failed))} ran.")
        self._mark("  PASSED  ", f"{_tests_of(passed)}.")
        if failed:
            self._mark("  FAILED  ", f"{_tests_of(len(failed))}, listed below:", good=False)
        for name in failed:
            self._mark("  FAILED  ", name, good=False)

    def _mark(self, mark: str, text: str, *, good: bool = True) -> None:
        self._sink("print", f"{self._good if good else self._bad}[{mark}]{self._end} {text}\n")


def _tests_of(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'}"
