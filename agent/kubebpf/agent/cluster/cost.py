"""What traces cost this node: the time of their programs and the memory of their maps, and the limits of both.

statistics.watch(uid)                       the kernel counts run times while a trace with a limit runs
meter = Meter(limit=5.0, now=monotonic())
meter.look(run_time_ns, now)                raises CpuLimitError in the second window over the limit
budget.limit_of(uid)                        what is left for a trace's maps
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Hashable
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import count_run_time
from kubebpf.agent.session.errors import MemoryLimitError, SessionError

log = logging.getLogger(__name__)

WINDOW = 5.0  # seconds
_WINDOWS = 2  # so many in a row have to be over the limit
_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
MIB = 1 << 20
TRACE_MIB, NODE_MIB = 64, 512
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}


class CpuLimitError(SessionError):
    """The programs took more of a CPU than the trace may."""

    reason = "CPULimitExceeded"

    def __init__(self, used: float, limit: float, seconds: float) -> None:
        super().__init__(
            f"the programs used {used:.3g} % of a CPU in the last {seconds:.0f} s, and limits.maxCPUPercent is {limit:.3g}: "
            "detached on this node until the trace changes"
        )


def percent(quantity: object) -> float | None:
    """The number of a Kubernetes quantity.

    >>> percent("500m"), percent(2), percent("much")
    (0.5, 2.0, None)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([numk]?)", str(quantity)) if quantity is not None else None
    return float(found[1]) * _SUFFIXES[found[2]] if found else None


class Statistics:
    """Has the kernel count the run times of BPF programs, as long as somebody asks for them: it costs each run some nanoseconds.

    Either way works: BPF_ENABLE_STATS, which needs CAP_SYS_ADMIN and ends with this process, or a node where
    kernel.bpf_stats_enabled is 1.
    """

    def __init__(self) -> None:
        self._asking: set[Hashable] = set()
        self._fd = -1

    @property
    def on(self) -> bool:
        """Whether this agent has the kernel count."""
        return self._fd >= 0

    def watch(self, who: Hashable) -> bool:
        """Count from now on. Returns whether the kernel does."""
        self._asking.add(who)
        if self._fd >= 0:
            return True
        try:
            self._fd = count_run_time()
        except LibbpfError as error:
            counts = _switched_on()
            if not counts:
                log.warning("run times of programs are not counted: %s, and kernel.bpf_stats_enabled is not 1", error)
            return counts
        return True

    def release(self, who: Hashable) -> None:
        """One asks no longer; with the last one the kernel stops counting."""
        self._asking.discard(who)
        if not self._asking and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _switched_on() -> bool:
    try:
        return _SWITCH.read_text().strip() == "1"
    except OSError:
        return False


class Meter:
    """The share of one CPU that a trace's programs take, by windows.

    Args:
        limit: percent.
        run_time_ns: of the programs so far.
        now: monotonic, in seconds.
    """

    def __init__(self, limit: float, run_time_ns: int, now: float) -> None:
        self._limit = limit
        self._marks = [(now, run_time_ns)]

    @property
    def due(self) -> float:
        """When to look next."""
        return self._marks[-1][0] + WINDOW

    def look(self, run_time_ns: int, now: float) -> None:
        """End a window.

        Raises:
            CpuLimitError: it and the one before were over the limit.
        """
        self._marks = [*self._marks[-_WINDOWS:], (now, run_time_ns)]
        windows = [
            100 * (after - before) / (end - start) / 1e9
            for (start, before), (end, after) in zip(self._marks, self._marks[1:], strict=False)
        ]
        if len(windows) == _WINDOWS and min(windows) > self._limit:
            seconds = self._marks[-1][0] - self._marks[0][0]
            raise CpuLimitError(sum(windows) / _WINDOWS, self._limit, seconds)


class Budget:
    """How much memory the maps of a node's traces take. Used by the loop and by the thread that loads: each call is one step.

    Args:
        trace_bytes, node_bytes: what one trace, and all of them, may take; 0: no limit.
    """

    def __init__(self, trace_bytes: int = TRACE_MIB * MIB, node_bytes: int = NODE_MIB * MIB) -> None:
        self._trace_bytes, self._node_bytes = trace_bytes, node_bytes
        self._taken: dict[Hashable, int] = {}

    def limit_of(self, who: Hashable) -> int | None:
        """What a trace's maps may take now; None: anything."""
        limits = [self._trace_bytes] if self._trace_bytes else []
        if self._node_bytes:
            others = sum(taken for other, taken in list(self._taken.items()) if other != who)
            limits.append(max(1, self._node_bytes - others))
        return min(limits, default=None)

    def waits(self, error: Exception) -> int:
        """The bytes that a trace may have once others need less; 0 when it was refused for another reason, or needs too much."""
        needed = error.taken if isinstance(error, MemoryLimitError) else 0
        alone = [limit for limit in (self._trace_bytes, self._node_bytes) if limit]
        return needed if needed <= min(alone, default=needed) else 0

    def has_room(self, who: Hashable, count: int) -> bool:
        """Whether a trace's maps may take so many bytes now."""
        limit = self.limit_of(who)
        return limit is None or count <= limit

    def take(self, who: Hashable, count: int) -> None:
        """A trace's maps take so many bytes."""
        self._taken[who] = count

    def give_back(self, who: Hashable) -> None:
        """They are gone."""
        self._taken.pop(who, None)
