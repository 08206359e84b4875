"""What of a node's part of a trace is reported, and when it is looked at again.

reporting = Reporting(known, writer, "node-a", "kubebpf-system")
reporting.write(part, live.state("Attached"))      -> given to the writer, if it differs from what was given before
reporting.postpone(part, took=0.01)                -> part.due

A session that has just begun is looked at after one second, two, four, and so on, as far as the cluster's budget allows: somebody
waits for its first numbers. Later the trace's interval counts, and the first line that is printed after a silence.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubebpf.agent.cluster.known import Known
from kubebpf.agent.cluster.pace import AT_ONCE, slot_seconds
from kubebpf.agent.cluster.part import Part
from kubebpf.agent.cluster.report import State, interval_seconds, report_status
from kubebpf.agent.cluster.trace import Trace, format_time
from kubebpf.agent.cluster.writer import ReportWriter, Target, Urgency

if TYPE_CHECKING:
    from kubebpf.agent.cluster.metrics import Metrics

# What of a report is told at once when it changes; the operator looks at once for the same.
NEWS = ("generation", "digest", "session", "phase", "reason", "exitCode")
# Lines come in groups: a first one waits so long for the others before it is reported.
GROUP_SECONDS = 0.1
# A report that took d seconds to make is not made again before this times d: at most a tenth of a core for a trace's maps.
READING_SHARE = 9.0


class Reporting:
    """See the module. Belongs to the agent's thread.

    Args:
        known: what the watches have told.
        writer: of reports.
        node: this node's name.
        namespace: where reports of ClusterBpfTraces live.
        metrics: what Prometheus sees of the same states; None: nothing.
    """

    def __init__(self, known: Known, writer: ReportWriter, node: str, namespace: str, metrics: Metrics | None = None) -> None:
        self._known, self._writer = known, writer
        self._node, self._namespace, self._metrics = node, namespace, metrics

    def write(self, part: Part, state: State) -> None:
        """Give the writer a state, if it says something new."""
        trace = part.trace
        if self._metrics is not None:
            self._metrics.show(trace, state)
        status = report_status(state, trace.top, trace.recent_lines)
        before = {name: value for name, value in (part.said() or {}).items() if name != "observedAt"}
        if status != before:
            news = any(status.get(name) != before.get(name) for name in NEWS)
            new = part.written is None and self._known.report(trace.name.uid) is None
            part.told = time.monotonic()
            told = status | {"observedAt": format_time(datetime.now(UTC))}
            part.written = told
            self._writer.put(self._target(trace), told, Urgency(trace.desired_nodes, news, new))
            if state.phase in ("Completed", "Failed"):
                part.pack()

    def restore(self, part: Part) -> None:
        """Somebody deleted the report: write it again."""
        exists = self._known.report(part.trace.name.uid) is not None
        if part.reported and not exists and (said := part.said()) is not None:
            how = Urgency(part.trace.desired_nodes, urgent=True, new=True)
            self._writer.put(self._target(part.trace), said, how)
        part.reported = exists

    def forget(self, part: Part, gone: bool) -> None:
        """The part is over, and nobody asks for what it has counted.

        Args:
            gone: its trace is deleted, so the garbage collector takes the report.
        """
        if self._metrics is not None:
            self._metrics.forget(part.trace.name.uid)
        self._writer.forget(self._target(part.trace))
        if not gone and self._known.report(part.trace.name.uid) is not None:
            self._writer.remove(self._target(part.trace), part.trace.desired_nodes)

    # -- when to look for news

    def is_held(self, part: Part) -> bool:
        """Whether a newer state would only wait, because the writer is busy with what began or ended; then it is made later."""
        held = self._writer.held(self._target(part.trace))
        if held > 0:
            part.hold(time.monotonic(), held, self._interval(part.trace))
        return held > 0

    def postpone(self, part: Part, took: float) -> None:
        """Look again later; making the last report took so many seconds."""
        # A map of a million keys takes seconds to read: it may not take the node's other traces along.
        least = max(interval_seconds(0.0, self._known.reports_of_cluster()), READING_SHARE * took)
        part.postpone(time.monotonic(), part.trace.interval, least)

    def hurry(self, part: Part) -> None:
        """Lines were printed. Other nodes may have printed the same at this moment."""
        spread = random.uniform(0.0, max(0.0, slot_seconds(part.trace.desired_nodes) - AT_ONCE))
        part.hurry(time.monotonic(), self._interval(part.trace), GROUP_SECONDS + spread)

    def _interval(self, trace: Trace) -> float:
        return interval_seconds(trace.interval, self._known.reports_of_cluster())

    def _target(self, trace: Trace) -> Target:
        return Target(trace.name, self._node, trace.name.namespace or self._namespace)
