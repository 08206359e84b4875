"""What the operator sees of the cluster: kopf's indexes, read as traces, nodes and reports.

kopf fills the indexes with everything there is before the first handler runs, so no merge ever works on half the reports.
After a write of its own the operator would see the old object until the watch brings the new one; `overlay` closes that gap.
When a watch has to list again, kopf tells what is there and not what went in between; `vanish` removes those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from kubebpf.operator.model import BpfNode, Node, NodeName, Report, Trace

Index = Mapping[str, Iterable[object]]


@dataclass(slots=True)
class Store:
    """Views of the indexes; `Operator` hands them over at the first event.

    Args:
        traces: by uid.
        clustertraces: by uid.
        reports: by the uid of the trace.
        nodes: by name.
        bpfnodes: by name.
    """

    traces: Index = field(default_factory=dict)
    clustertraces: Index = field(default_factory=dict)
    reports: Index = field(default_factory=dict)
    nodes: Index = field(default_factory=dict)
    bpfnodes: Index = field(default_factory=dict)
    _vanished: set[str] = field(default_factory=set)
    _written: dict[str, tuple[frozenset[str], Trace]] = field(default_factory=dict)

    def trace(self, uid: str) -> Trace | None:
        """The trace of that uid, our own last write counted in."""
        seen = _first(self.traces.get(uid) or self.clustertraces.get(uid))
        if not isinstance(seen, Trace) or uid in self._vanished:
            self._written.pop(uid, None)
            return None
        replaced, written = self._written.get(uid, (frozenset(), seen))
        if seen.resource_version in replaced:
            return written
        self._written.pop(uid, None)
        return seen

    def overlay(self, before: Trace, after: Trace) -> None:
        """`before` was read, `after` is what the write answered."""
        replaced, _ = self._written.get(before.key.uid, (frozenset(), before))
        self._written[before.key.uid] = replaced | {before.resource_version}, after

    def uids(self) -> set[str]:
        """Of all traces."""
        return {*self.traces, *self.clustertraces} - self._vanished

    def all_traces(self) -> Iterator[Trace]:
        """All traces, as `trace` gives them."""
        return (trace for uid in self.uids() if (trace := self.trace(uid)))

    def owned_by(self, uid: str) -> list[Trace]:
        """The traces that the trace of that uid controls."""
        return [trace for trace in self.all_traces() if trace.owner == uid]

    def reports_of(self, uid: str) -> list[Report]:
        """The reports that name that trace."""
        found = [report for report in self.reports.get(uid) or () if isinstance(report, Report)]
        return [report for report in found if report.uid not in self._vanished]

    def report_uids(self) -> set[str]:
        """Uids that reports name, of traces that exist or not."""
        return {uid for uid in self.reports if self.reports_of(uid)}

    def all_nodes(self) -> list[Node]:
        """All nodes of the cluster."""
        found = [node for node in chain.from_iterable(self.nodes.values()) if isinstance(node, Node)]
        return [node for node in found if node.uid not in self._vanished]

    def all_bpf_nodes(self) -> dict[NodeName, BpfNode]:
        """What is known of the nodes' kernels, by the node's name."""
        found = [node for node in chain.from_iterable(self.bpfnodes.values()) if isinstance(node, BpfNode)]
        return {node.name: node for node in found if node.uid not in self._vanished}

    # -- objects that went while nobody watched

    def known_uids(self) -> set[str]:
        """Uids of everything that is seen now."""
        bpf_nodes = {node.uid for node in self.all_bpf_nodes().values()}
        reports = {report.uid for uid in self.reports for report in self.reports_of(uid)}
        return {*self.uids(), *reports, *bpf_nodes, *(node.uid for node in self.all_nodes())}

    def vanish(self, uids: set[str]) -> None:
        """Take these for deleted. A uid never comes back, so this is final."""
        self._vanished |= uids


def _first(values: Iterable[object] | None) -> object:
    return next(iter(values or ()), None)
