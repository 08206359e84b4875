"""What the agent makes of the watches' changes: lists that remove, kinds that do not meet, objects that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubebpf.agent.cluster.known import CLUSTER_TRACES, NAMESPACES, NODES, PODS, REPORTS, TRACES, Known, resources
from kubebpf.agent.cluster.live import ring_bytes
from kubebpf.agent.cluster.watch import Backoff, Changed, Listed, Removed
from kubebpf.agent.pods.cgroups import CgroupMount
from kubebpf.agent.pods.directory import PodDirectory

EMPTY = Path("/nonexistent")


@pytest.fixture
def known() -> Known:
    return Known("node-a", PodDirectory(CgroupMount(EMPTY, EMPTY)))


def trace(uid: str, generation: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": f"t-{uid}", "namespace": "shop", "uid": uid, "generation": generation}, "spec": {"program": "x"}}


def report(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "spec": {"trace": {"uid": uid}, "node": "node-a"}}


def node(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "node-a", "uid": "uid-a", "labels": labels}}


def test_nothing_is_concluded_before_every_list_has_come(known: Known) -> None:
    known.take(Listed(TRACES, [trace("1")]))
    for name in (NODES, PODS, REPORTS):
        known.take(Listed(name, []))
        assert not known.complete
    assert known.take(Listed(CLUSTER_TRACES, [trace("2")])) == {"1", "2"}
    assert known.complete


def test_a_list_removes_what_it_does_not_name_but_only_of_its_kind(known: Known) -> None:
    known.take(Listed(CLUSTER_TRACES, [trace("c")]))
    known.take(Listed(TRACES, [trace("1"), trace("2")]))
    assert known.take(Listed(TRACES, [trace("2"), trace("3")])) == {"1", "2", "3"}
    assert known.traces.keys() == {"2", "3", "c"}
    assert [t.namespaced for t in known.traces.values() if t.name.uid == "c"] == [False]


def test_changes_and_removals(known: Known) -> None:
    assert known.take(Changed(TRACES, trace("1"))) == {"1"}
    known.take(Changed(TRACES, trace("1", generation=2)))
    assert known.traces[next(iter(known.traces))].generation == 2
    assert known.take(Removed(TRACES, trace("1"))) == {"1"}
    assert not known.traces
    assert known.take(Removed(TRACES, trace("1"))) == {"1"}


@pytest.mark.parametrize(
    "broken",
    [{"metadata": {}}, {"metadata": {"name": "t", "uid": "x"}, "spec": {"target": "nonsense"}}, {"metadata": None}],
)
def test_an_object_that_cannot_be_read_harms_no_other(known: Known, broken: dict[str, Any]) -> None:
    known.take(Listed(TRACES, [broken, trace("1")]))
    assert known.traces.keys() == {"1"}


def test_labels_of_the_node(known: Known) -> None:
    known.take(Listed(TRACES, [trace("1")]))
    assert known.node.labels is None
    assert known.take(Listed(NODES, [node(zone="1")])) == {"1"}
    assert known.take(Changed(NODES, node(zone="1"))) == set()
    assert known.take(Changed(NODES, node(zone="2"))) == {"1"}
    assert known.take(Removed(NODES, node(zone="2"))) == {"1"}
    assert known.node.labels == {}


def test_reports_that_come_and_go_concern_their_trace(known: Known) -> None:
    assert known.take(Changed(REPORTS, report("1"))) == {"1"}
    assert known.take(Changed(REPORTS, report("1"))) == set()
    assert known.take(Listed(REPORTS, [report("2")])) == {"1", "2"}
    assert known.take(Removed(REPORTS, report("2"))) == {"2"}


def test_an_agent_watches_only_its_own_pods_and_reports() -> None:
    queries = {resource.name: resource.query for resource in resources("node-a")}
    assert queries[PODS] == {"fieldSelector": "spec.nodeName=node-a"}
    assert queries[REPORTS] == {"labelSelector": "kubebpf.dev/node=node-a"}
    assert queries[NODES] == {"fieldSelector": "metadata.name=node-a"}


def test_back_off_doubles_to_its_limit_and_begins_again() -> None:
    backoff = Backoff(first=1.0, last=8.0)
    assert backoff.fresh
    delays = [backoff.next() for _ in range(6)]
    for delay, most in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= delay <= most
    assert not backoff.fresh
    backoff.reset()
    assert backoff.next() <= 1.0


@pytest.mark.parametrize(("cpus", "size"), [(1, 256 << 10), (2, 256 << 10), (6, 512 << 10), (64, 4 << 20), (512, 4 << 20)])
def test_ring_buffers_grow_with_the_cpus(cpus: int, size: int) -> None:
    assert ring_bytes(cpus) == size


def test_namespaces_are_asked_for_only_while_a_trace_goes_by_their_labels(known: Known) -> None:
    by_label = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    plain, asking = trace("1"), trace("2")
    asking["spec"]["target"] = by_label
    known.take(Listed(CLUSTER_TRACES, [plain]))
    assert not known.asks_namespaces
    known.take(Changed(CLUSTER_TRACES, asking))
    assert known.asks_namespaces
    version = known.namespaces_version
    # What comes before the list is not all there is.
    known.take(Changed(NAMESPACES.name, {"metadata": {"name": "shop", "labels": {"team": "a"}}}))
    assert known.namespaces is None
    known.take(Listed(NAMESPACES.name, [{"metadata": {"name": "shop"}}, {"metadata": {"name": "bank"}}]))
    known.take(Changed(NAMESPACES.name, {"metadata": {"name": "shop", "labels": {"team": "a"}}}))
    known.take(Removed(NAMESPACES.name, {"metadata": {"name": "bank"}}))
    assert known.namespaces == {"shop": {"team": "a"}} and known.namespaces_version > version
    asking["spec"]["suspend"] = True
    known.take(Changed(CLUSTER_TRACES, asking))
    assert not known.asks_namespaces
    # A BpfTrace has its own namespace and no other.
    known.take(Listed(CLUSTER_TRACES, []))
    known.take(Listed(TRACES, [asking | {"spec": {"program": "x", "target": by_label}}]))
    assert not known.asks_namespaces
