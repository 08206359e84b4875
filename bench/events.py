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
MORE = (
    "@[comm]++",
    "@ = sum(pid)",
    "@ = avg(pid)",
    "@ = max(nsecs)",
    "@[comm] = hist(nsecs & 1023)",
    "@ = lhist(nsecs & 1023, 0, 1024, 64)",
    "/pid == 1/ @ = count()",
    'printf("%d %s\\n", pid, comm)',
)
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """The cost of one event: time in the kernel, and the length of the translated program in instructions of 8 bytes."""

    ns: float
    instructions: int


def program(action: str) -> str:
    """The whole program of an action with or without a predicate."""
    predicate, _, rest = action.rpartition("/ ")
    return f"tracepoint:syscalls:sys_enter_getppid {predicate + '/' if predicate else ''} {{ {rest} }}"


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
    with _attached(tool.command("-e", program(action), warnings=True)) as number:
        return asked(number)[2]


def _one(command: Sequence[str], calls: int) -> Event:
    with _attached(command) as number:
        call(calls // 20)  # makes the keys, warms caches
        before_ns, before, length = asked(number)
        call(calls)
        after_ns, after, _ = asked(number)
    if after - before < calls:
        raise UnableError(f"the program ran {after - before} times in {calls} calls")
    return Event((after_ns - before_ns) / (after - before), length)


@contextmanager
def _attached(command: Sequence[str]) -> Iterator[int]:
    """Run a tracer until the block ends; gives its program's id."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield _program_of(process, said.fileno())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE_S)


def _program_of(process: subprocess.Popen[bytes], said: int) -> int:
    deadline = time.monotonic() + _PATIENCE_S
    while b"Attached" not in (text := os.pread(said, 1 << 16, 0)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise UnableError(f"{process.args!r} attached nothing: {text.decode()}")
        time.sleep(0.02)
    programs = {n for pid in _family(process.pid) for n in tracepoint_programs(pid)}
    if len(programs) != 1:
        raise UnableError(f"{process.args!r} has {len(programs)} tracepoint programs, not one")
    return programs.pop()


def _family(pid: int) -> list[int]:
    """A process and its descendants: $BPFTRACE may be a script."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in _family(int(child)))]
