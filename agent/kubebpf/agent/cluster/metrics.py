"""What this agent shows Prometheus: its own state, every trace's losses, and the maps that `spec.metrics` names.

    metrics = Metrics("node-a")
    metrics.serve("127.0.0.1", 9464)         http://127.0.0.1:9464/metrics
    metrics.show(trace, state)               as it was read for a report
    metrics.forget(uid)

Nodes show what they counted themselves; Prometheus adds them up. Reading a map for a scrape would cost what a report costs, and
belongs to the agent's main thread: scrapes show the state of the last report, at most its interval old.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from kubebpf.agent.cluster.report import Lost, State
from kubebpf.agent.cluster.samples import family
from kubebpf.agent.cluster.trace import Trace, TraceName, Uid

# Series of all maps of an agent; what comes beyond is left out, and counted.
MAX_SERIES = 10_000
_LABELS = ("trace_namespace", "trace", "node")


@dataclass(frozen=True, slots=True)
class Shown:
    """A trace as it was read last.

    Args:
        families: of its maps.
        dropped: keys left out, by metric.
    """

    name: TraceName
    phase: str
    probes: int
    lost: Lost
    families: tuple[Metric, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)


class Metrics(Collector):
    """See the module. May be called from several threads.

    Args:
        node: the node's name, a label of every sample.
        limit: samples of maps at most.
    """

    def __init__(self, node: str, limit: int = MAX_SERIES) -> None:
        self._node, self._limit = node, limit
        self._lock = threading.Lock()
        self._shown: dict[Uid, Shown] = {}
        self._info = InfoMetricFamily("kubebpf_agent", "The agent.", labels=["node"])
        self._info.add_metric([node], {"version": version("kubebpf")})
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def serve(self, host: str, port: int) -> int:
        """Answer scrapes from a thread of its own, until the process ends.

        Args:
            port: 0: any that is free.

        Returns:
            the port.

        Raises:
            OSError: it cannot be had.
        """
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)

    def show(self, trace: Trace, state: State) -> None:
        """Show this state of a trace from now on; of its maps those that it exports."""
        families: list[Metric] = []
        dropped: dict[str, int] = {}
        maps = {found.name: found for found in state.maps}
        for export in trace.metrics:
            found = maps.get(export.map)
            made = family(export, found, self._labels(trace.name), trace.top) if found else None
            if found and made:
                families.append(made)
                dropped[made.name] = found.dropped + max(0, len(found.entries) - trace.top)
        with self._lock:
            self._shown[trace.name.uid] = Shown(trace.name, state.phase, state.probes, state.lost, tuple(families), dropped)

    def forget(self, uid: Uid) -> None:
        """Show a trace no more."""
        with self._lock:
            self._shown.pop(uid, None)

    def _labels(self, name: TraceName) -> dict[str, str]:
        return {"trace_namespace": name.namespace, "trace": name.name, "node": self._node}

    def collect(self) -> Iterable[Metric]:
        """Everything, as it stands."""
        with self._lock:
            shown = list(self._shown.values())
        yield self._info
        yield from self._of_traces(shown)
        yield from self._of_maps(shown)

    def _of_traces(self, shown: Sequence[Shown]) -> Iterable[Metric]:
        phases = GaugeMetricFamily(
            "kubebpf_agent_traces", "Traces of this node by the phase of its part.", labels=["phase", "node"]
        )
        for phase, count in Counter(trace.phase for trace in shown).items():
            phases.add_metric([phase, self._node], count)
        probes = GaugeMetricFamily("kubebpf_trace_probes", "Attached probes of a trace.", labels=_LABELS)
        lost = CounterMetricFamily(
            "kubebpf_trace_lost",
            "What a trace lost: events, updates of full maps, probes that did not run.",
            labels=(*_LABELS, "what"),
        )
        for trace in shown:
            where = list(self._labels(trace.name).values())
            probes.add_metric(where, trace.probes)
            for what, count in asdict(trace.lost).items():
                lost.add_metric([*where, what], count)
        yield from (phases, probes, lost)

    def _of_maps(self, shown: Sequence[Shown]) -> Iterable[Metric]:
        joined: dict[str, Metric] = {}
        room, refused = self._limit, 0
        keys = GaugeMetricFamily(
            "kubebpf_trace_keys_dropped",
            "Keys of an exported map that are not shown (spec.report.top).",
            labels=(*_LABELS, "metric"),
        )
        for trace in shown:
            where = list(self._labels(trace.name).values())
            for metric in trace.families:
                into = joined.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                # One name has one type in a scrape: of two traces that disagree the first one is shown.
                taken = metric.samples[:room] if into.type == metric.type else []
                into.samples.extend(taken)
                room -= len(taken)
                refused += len(metric.samples) - len(taken)
                keys.add_metric([*where, metric.name], trace.dropped[metric.name])
        left_out = GaugeMetricFamily(
            "kubebpf_agent_series_dropped", "Samples of maps beyond what an agent shows.", labels=["node"]
        )
        left_out.add_metric([self._node], refused)
        yield from (*joined.values(), keys, left_out)
