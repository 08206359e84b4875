"""What reports say, read once each: a merge looks at all reports of a trace, and few of them are new.

readings = Readings()
readings.read(report)                      -> NodeState; the same one until the report has changed
readings.keep_only("trace's uid", reports) -> what is remembered of others goes

Remembering only saves time: a state is a pure function of its report.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from kubebpf.operator.model import Report, Uid
from kubebpf.operator.state import NodeState, read_report
from kubebpf.operator.values import BadValueError

# Bytes of reports as JSON; read, they take about two and a half times as much. A few thousand usual ones.
LIMIT = 32 << 20


@dataclass(slots=True)
class _Remembered:
    """The reports of one trace by their uids, each with what it says or what is wrong with it."""

    states: dict[Uid, tuple[Report, NodeState | BadValueError]] = field(default_factory=dict)
    weight: int = 0


class Readings:
    """Of all traces; may be used from several threads, of each trace from one at a time.

    Args:
        limit: bytes of reports to remember at most; the rest is read again each time.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._traces: dict[Uid, _Remembered] = {}
        self._weight = 0
        self._lock = threading.Lock()

    def read(self, report: Report) -> NodeState:
        """What a report says.

        Raises:
            BadValueError: it cannot be used.
        """
        remembered = self._traces.get(report.trace_uid)
        found = remembered.states.get(report.uid) if remembered else None
        if found is None or found[0] is not report:
            found = report, _read(report)
            self._remember(*found)
        if isinstance(found[1], BadValueError):
            raise found[1]
        return found[1]

    def keep_only(self, uid: Uid, reports: Iterable[Report]) -> None:
        """Forget what a trace has no longer."""
        remembered = self._traces.get(uid)
        if remembered is None:
            return
        wanted = {report.uid for report in reports}
        for gone in remembered.states.keys() - wanted:
            self._drop(remembered, gone)

    def forget(self, uid: Uid) -> None:
        """Nobody will ask for this trace's reports soon."""
        with self._lock:
            if (remembered := self._traces.pop(uid, None)) is not None:
                self._weight -= remembered.weight

    def _remember(self, report: Report, said: NodeState | BadValueError) -> None:
        remembered = self._traces.setdefault(report.trace_uid, _Remembered())
        self._drop(remembered, report.uid)
        with self._lock:
            if self._weight + report.size <= self._limit:
                remembered.states[report.uid] = report, said
                remembered.weight += report.size
                self._weight += report.size

    def _drop(self, remembered: _Remembered, uid: Uid) -> None:
        with self._lock:
            if (before := remembered.states.pop(uid, None)) is not None:
                remembered.weight -= before[0].size
                self._weight -= before[0].size


def _read(report: Report) -> NodeState | BadValueError:
    try:
        return read_report(report)
    except BadValueError as error:
        return error.with_traceback(None)
