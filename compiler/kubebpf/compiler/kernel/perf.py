"""The software and hardware events that the kernel counts: their names, and how often a probe fires unless the program says so.

find(SOFTWARE, "cs")    -> PerfEvent("context-switches", "cs", 3, 1000)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PerfEvent:
    """One event of perf_event_open(2).

    Args:
        name: the full name.
        alias: a shorter one, or "".
        config: PERF_COUNT_SW_* or PERF_COUNT_HW_* (include/uapi/linux/perf_event.h).
        count: the probe fires each time the counter has risen by this much, unless the program gives a count.
    """

    name: str
    alias: str
    config: int
    count: int


SOFTWARE = (
    PerfEvent("alignment-faults", "", 7, 1),
    PerfEvent("bpf-output", "", 10, 1),
    PerfEvent("context-switches", "cs", 3, 1000),
    PerfEvent("cpu-clock", "cpu", 0, 1_000_000),
    PerfEvent("cpu-migrations", "", 4, 1),
    PerfEvent("dummy", "", 9, 1),
    PerfEvent("emulation-faults", "", 8, 1),
    PerfEvent("major-faults", "", 6, 1),
    PerfEvent("minor-faults", "", 5, 100),
    PerfEvent("page-faults", "faults", 2, 100),
    PerfEvent("task-clock", "", 1, 1),
)

HARDWARE = (
    PerfEvent("backend-stalls", "", 8, 1_000_000),
    PerfEvent("branch-instructions", "branches", 4, 100_000),
    PerfEvent("branch-misses", "", 5, 100_000),
    PerfEvent("bus-cycles", "", 6, 100_000),
    PerfEvent("cache-misses", "", 3, 1_000_000),
    PerfEvent("cache-references", "", 2, 1_000_000),
    PerfEvent("cpu-cycles", "cycles", 0, 1_000_000),
    PerfEvent("frontend-stalls", "", 7, 1_000_000),
    PerfEvent("instructions", "", 1, 1_000_000),
    PerfEvent("ref-cycles", "", 9, 1_000_000),
)


def find(events: tuple[PerfEvent, ...], name: str) -> PerfEvent | None:
    """The event with this name or alias."""
    return next((e for e in events if name and name in (e.name, e.alias)), None)


def names(events: tuple[PerfEvent, ...]) -> tuple[str, ...]:
    """All names and aliases, sorted."""
    return tuple(sorted({n for e in events for n in (e.name, e.alias) if n}))
