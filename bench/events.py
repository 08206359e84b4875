"""What one event costs: a program on getppid, a million calls pinned to a CPU, the kernel's own run-time statistics.

The kernel reads its clock before and after each run, which costs some 25 ns; they are in every figure (__bpf_prog_run in
include/linux/filter.h).
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from machine import UnableError
from programs import asked, call, tracepoint_programs
from tools import Tool

ONE_LINERS = ("@ = count()", "@[pid] = count()", "@[comm] = count()", "@ = hist(nsecs & 1023)")
# The time between two events, as tools measure it: two programs, whose costs are added.
LATENCY = """
tracepoint:syscalls:sys_enter_getppid { @start[tid] = nsecs; }
tracepoint:syscalls:sys_exit_getppid /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start, tid); }
"""
MORE = (
    "@[pid, comm] = sum(nsecs & 1023)",
    "@[comm] = hist(nsecs & 1023)",
    "@ = lhist(nsecs & 1023, 0, 1024, 64)",
    "@ = avg(nsecs & 1023)",
    "@ = sum(pid)",
    "@ = max(nsecs)",
    "@[comm]++",
    "/pid == 1/ @ = count()",
    LATENCY,
    'printf("%d %s\\n", pid, comm)',
)
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """The cost of one event: time in the kernel, and the length of the translated program in instructions of 8 bytes."""

    ns: float
    instructions: int


def program(action: str) -> str:
    """The whole program of an action with or without a predicate; what is a whole program stays as it is."""
    if action is LATENCY:
        return action
    predicate, _, rest = action.rpartition("/ ")
    return f"tracepoint:syscalls:sys_enter_getppid {predicate + '/' if predicate else ''} {{ {rest} }}"


def title(action: str) -> str:
    """The action as a table's first column names it."""
    return "@start[tid] = nsecs; … hist(nsecs - @start[tid])" if action is LATENCY else action


def events(tools: Sequence[Tool], action: str, rounds: int, calls: int) -> dict[str, Event]:
    """Measure an action under every tool, in turn.

    Returns:
        the medians, by the tool's name.
    """
    runs: dict[str, list[Event]] = {tool.name: [] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            runs[tool.name].append(_one(tool.command("-e", program(action)), calls))
    return {name: Event(median(e.ns for e in found), found[-1].instructions) for name, found in runs.items()}


def instructions(tool: Tool, action: str) -> int:
    """The length of the translated program with warnings on: both tools then generate what counts the failures."""
    with attached(tool.command("-e", program(action), warnings=True)) as running:
        return sum(asked(number)[2] for number in running.programs)


def _one(command: Sequence[str], calls: int) -> Event:
    with attached(command) as running:
        call(calls // 20)  # makes the keys, warms caches
        before = [asked(number) for number in running.programs]
        call(calls)
        after = [asked(number) for number in running.programs]
    ns = 0.0
    for (ns_before, runs_before, _), (ns_after, runs_after, _) in zip(before, after, strict=True):
        if runs_after - runs_before < calls:
            raise UnableError(f"the program ran {runs_after - runs_before} times in {calls} calls")
        ns += (ns_after - ns_before) / (runs_after - runs_before)
    return Event(ns, sum(length for _, _, length in after))


@dataclass(frozen=True, slots=True)
class Running:
    """A tracer at work: its process, its programs' ids, and the file that it prints to."""

    process: int
    programs: tuple[int, ...]
    printed: Path


@contextmanager
def attached(command: Sequence[str]) -> Iterator[Running]:
    """Run a tracer until the block ends."""
    with tempfile.NamedTemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            programs = _programs_of(process, said.fileno(), command[-1].count("tracepoint:"))
            yield Running(process.pid, programs, Path(said.name))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE_S)


def _programs_of(process: subprocess.Popen[bytes], said: int, expected: int) -> tuple[int, ...]:
    deadline = time.monotonic() + _PATIENCE_S
    while b"Attached" not in (text := os.pread(said, 1 << 16, 0)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise UnableError(f"{process.args!r} attached nothing: {text.decode()}")
        time.sleep(0.02)
    programs = {n for pid in family(process.pid) for n in tracepoint_programs(pid)}
    if len(programs) != expected:
        raise UnableError(f"{process.args!r} has {len(programs)} tracepoint programs, not {expected}")
    return tuple(sorted(programs))


def family(pid: int) -> list[int]:
    """A process and its descendants: $BPFTRACE may be a script."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]
