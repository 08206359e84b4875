"""What the operator sees of the cluster: kopf's indexes, read as traces, nodes and reports.

kopf fills the indexes with everything there is before the first handler runs, so no merge ever works on half the reports.
After a write of its own the operator would see the old object until the watch brings the new one; `overlay` closes that gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from kubebpf.operator.model import Node, Report, Trace

Index = Mapping[str, Iterable[object]]


@dataclass(slots=True)
class Store:
    """Views of the indexes; `Operator` hands them over at the first event.

    Args:
        traces: by uid.
        clustertraces: by uid.
        reports: by the uid of the trace.
        nodes: by name.
    """

    traces: Index = field(default_factory=dict)
    clustertraces: Index = field(default_factory=dict)
    reports: Index = field(default_factory=dict)
    nodes: Index = field(default_factory=dict)
    _written: dict[str, tuple[frozenset[str], Trace]] = field(default_factory=dict)

    def trace(self, uid: str) -> Trace | None:
        """The trace of that uid, our own last write counted in."""
        seen = _first(self.traces.get(uid) or self.clustertraces.get(uid))
        if not isinstance(seen, Trace):
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
        return {*self.traces, *self.clustertraces}

    def all_traces(self) -> Iterator[Trace]:
        """All traces, as `trace` gives them."""
        return (trace for uid in self.uids() if (trace := self.trace(uid)))

    def reports_of(self, uid: str) -> list[Report]:
        """The reports that name that trace."""
        return [report for report in self.reports.get(uid) or () if isinstance(report, Report)]

    def report_uids(self) -> set[str]:
        """Uids that reports name, of traces that exist or not."""
        return set(self.reports)

    def all_nodes(self) -> list[Node]:
        """All nodes of the cluster."""
        return [node for node in chain.from_iterable(self.nodes.values()) if isinstance(node, Node)]


def _first(values: Iterable[object] | None) -> object:
    return next(iter(values or ()), None)
