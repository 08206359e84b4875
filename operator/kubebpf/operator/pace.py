"""When a status may be written: news at once, as long as there is little of it; results at an interval that grows with the fleet.

paces = Paces(interval=15.0)
paces.news("uid")          -> 0.0, and the right to write is taken; or the seconds to wait
paces.results("uid")       -> likewise
paces.count("uid", 200)    # the trace runs on 200 nodes

Each agent's watch gets each status that is written: with many nodes and traces, that is what results cost. Their reports come the
more seldom, the more of them there are (agents share a budget), so a status need not be written more often than a few times for
each of them: what all watches together carry has an upper bound, whatever the fleet's size. docs/design/2026-11-23-scale.md
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kubebpf.operator.model import Uid
from kubebpf.operator.work import Bucket

URGENT_BURST, URGENT_PERIOD = 8, 5.0  # of one trace: at once, but a flapping node must not make a storm
ALL_BURST, ALL_PERIOD = 50, 0.05  # of all traces together: twenty a second
REPORTS_PER_SECOND = 50.0  # the agents' budget (agent/cluster/report.py)
STATUSES_PER_REPORT = 4.0  # so often a status is written while each node reports once, at most


@dataclass(slots=True)
class Pace:
    """When a trace's status was written."""

    urgent: Bucket = field(default_factory=lambda: Bucket(URGENT_BURST, URGENT_PERIOD))
    results_at: float = float("-inf")


class Paces:
    """Of all traces.

    Args:
        interval: seconds between two writes of results of one trace, at least.
    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least, self._clock = interval, clock
        self._all = Bucket(ALL_BURST, ALL_PERIOD, clock)
        self._paces: dict[Uid, Pace] = {}
        self._nodes: dict[Uid, int] = {}
        self._reports = 0

    def count(self, uid: Uid, nodes: int) -> None:
        """Note on how many nodes a trace runs; 0 when it does not."""
        self._reports += nodes - self._nodes.pop(uid, 0)
        if nodes:
            self._nodes[uid] = nodes

    def forget(self, uid: Uid) -> None:
        """The trace is gone."""
        self.count(uid, 0)
        self._paces.pop(uid, None)

    @property
    def round(self) -> float:
        """Seconds in which every node can have written all its reports once, by the agents' budget."""
        return self._reports / REPORTS_PER_SECOND

    @property
    def interval(self) -> float:
        """Seconds between two writes of results of one trace."""
        return max(self._least, self.round / STATUSES_PER_REPORT, len(self._nodes) * ALL_PERIOD * 2)

    def due(self, uid: Uid) -> float:
        """Seconds until results of the trace may be written again."""
        pace = self._paces.get(uid)
        return max(pace.results_at + self.interval - self._clock(), 0.0) if pace else 0.0

    def results(self, uid: Uid) -> float:
        """Seconds until results may be written; 0 takes the right to write them now."""
        wait = self.due(uid)
        if wait <= 0:
            self._of(uid).results_at = self._clock()
        return wait

    def news(self, uid: Uid) -> float:
        """Seconds until a changed condition may be written; 0 takes the right to write it now."""
        urgent = self._of(uid).urgent
        wait = max(urgent.wait(), self._all.wait())
        if wait <= 0:
            urgent.take()
            self._all.take()
        return wait

    def _of(self, uid: Uid) -> Pace:
        return self._paces.setdefault(uid, Pace(Bucket(URGENT_BURST, URGENT_PERIOD, self._clock)))
