"""How many events can be printed: a flood of printf, and the CPU time that the tracer takes for those that arrive.

Both tools have a ring buffer of 4 MiB, the same program, and a file to print to. A flood comes from another CPU than the one that
reads, if there is one. A tracer that has a CPU to itself loses nothing up to the rate whose events take all of that CPU's time,
which is what the figure says also on a machine that others use.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from events import Running, attached, family
from programs import call
from tools import Tool

PROGRAM_TEXT = r'printf("%d %s\n", pid, comm)'
_PROGRAM = f"config = {{ perf_rb_pages = 1024 }} tracepoint:syscalls:sys_enter_getppid {{ {PROGRAM_TEXT}; }}"


@dataclass(frozen=True, slots=True)
class Printing:
    """What a tracer prints.

    Args:
        cpu_ns: its CPU time for an event that arrived, user space and kernel, in a flood.
        arrived: the share of a flood.
    """

    cpu_ns: float
    arrived: float


def printing(tools: Sequence[Tool], rounds: int, calls: int) -> dict[str, Printing]:
    """Measure every tool, in turn.

    Returns:
        the medians, by the tool's name.
    """
    runs: dict[str, list[Printing]] = {tool.name: [] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            with attached(tool.command("-e", _PROGRAM)) as running:
                runs[tool.name].append(_one(running, calls))
    return {name: Printing(median(p.cpu_ns for p in found), median(p.arrived for p in found)) for name, found in runs.items()}


def _one(running: Running, calls: int) -> Printing:
    _settled(running)
    lines, cpu = _lines(running.printed), _cpu_ns(running)
    call(calls)
    _settled(running)
    arrived = _lines(running.printed) - lines
    return Printing((_cpu_ns(running) - cpu) / max(arrived, 1), arrived / calls)


def _settled(running: Running) -> None:
    """Wait until nothing more is printed: no thread wants a CPU, and the file has not grown since none did."""
    size = -1
    while size != (size := running.printed.stat().st_size) or any(_wants_cpu(thread) for thread in _threads(running)):
        time.sleep(0.1)


def _wants_cpu(thread: Path) -> bool:
    """Its state is R (proc(5), stat)."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "R"


def _lines(printed: Path) -> int:
    return printed.read_bytes().count(b"\n")


def _cpu_ns(running: Running) -> int:
    """CPU time of a process and its descendants, all threads (Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat)."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in _threads(running))


def _threads(running: Running) -> list[Path]:
    return [thread for pid in family(running.process) for thread in Path(f"/proc/{pid}/task").iterdir()]
