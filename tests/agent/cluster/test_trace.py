"""What an agent reads out of a trace, and what it then wants: tables, no API server needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubebpf.agent.cluster.desired import Identity, Node, Run, Stop, Wait, Wish, ends_at, wish
from kubebpf.agent.cluster.selector import Selector
from kubebpf.agent.cluster.target import PodTarget
from kubebpf.agent.cluster.trace import Trace, Uid, parse_duration
from kubebpf.agent.pods.cgroups import CgroupId, parse
from kubebpf.agent.pods.directory import Cgroup
from kubebpf.agent.pods.pod import Pod

DIGEST = "sha256:" + "ab" * 32
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def trace_object(spec: dict[str, Any] | None = None, generation: int = 2, **status: Any) -> dict[str, Any]:
    compiled = {"type": "Compiled", "status": "True", "observedGeneration": 2}
    done = {
        "observedGeneration": 2,
        "conditions": [compiled],
        "artifact": {"digest": DIGEST, "configMap": "kubebpf-abab"},
    }
    return {
        "kind": "BpfTrace",
        "metadata": {"namespace": "shop", "name": "t", "uid": "u-1", "generation": generation},
        "spec": {"program": "begin { }"} | (spec or {}),
        "status": done | status,
    }


NODE = Node("node-a", {"kubernetes.io/os": "linux", "zone": "1"})
RUN = Run(Identity(Uid("u-1"), 2, DIGEST))
FAILED = {"type": "Compiled", "status": "False", "observedGeneration": 2}
OLD = {"type": "Compiled", "status": "True", "observedGeneration": 1}
DONE = {"type": "Succeeded", "status": "True", "observedGeneration": 2}
COMPILED = {"type": "Compiled", "status": "True", "observedGeneration": 2}


@pytest.mark.parametrize(
    ("obj", "wanted"),
    [
        (trace_object(), RUN),
        (trace_object({"target": {"nodeSelector": {"zone": "1"}}}), RUN),
        (trace_object({"target": {"nodeSelector": {"zone": "2"}}}), Stop("Elsewhere", keep_report=False)),
        (trace_object({"suspend": True}), Stop("Suspended", keep_report=True)),
        # The operator has not seen the new generation yet: its object belongs to the old one.
        (trace_object(generation=3), Wait()),
        (trace_object(observedGeneration=1), Wait()),
        (trace_object(conditions=[OLD]), Wait()),
        (trace_object(conditions=[FAILED]), Wait()),
        (trace_object(artifact={}), Wait()),
        (trace_object(conditions=[COMPILED, DONE]), Stop("Finished", keep_report=True)),
        (trace_object(completedAt="2026-11-22T12:00:00Z"), Stop("Finished", keep_report=True)),
        # Suspending must not wait for a compiler.
        (trace_object({"suspend": True}, generation=3), Stop("Suspended", keep_report=True)),
        ({"kind": "BpfTrace", "metadata": {"name": "t", "namespace": "shop", "uid": "u-1", "generation": 1}}, Wait()),
    ],
)
def test_wishes(obj: dict[str, Any], wanted: Wish) -> None:
    assert wish(Trace.from_object(obj), NODE) == wanted


def test_a_trace_that_is_gone_or_going_stops() -> None:
    going = trace_object()
    going["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    for trace in (None, Trace.from_object(going)):
        assert wish(trace, NODE) == Stop("Deleted", keep_report=False)


def test_a_node_whose_labels_are_unknown_waits_and_does_not_fail_open() -> None:
    selective = Trace.from_object(trace_object({"target": {"nodeSelector": {"zone": "1"}}}))
    assert wish(selective, Node("node-a")) == Wait()
    assert wish(selective, Node("node-a", {})) == Stop("Elsewhere", keep_report=False)
    assert wish(Trace.from_object(trace_object()), Node("node-a")) == RUN


def test_a_finished_generation_does_not_finish_the_next_one() -> None:
    old = DONE | {"observedGeneration": 1}
    assert wish(Trace.from_object(trace_object(conditions=[COMPILED, old])), NODE) == RUN


def test_the_duration_counts_from_the_first_node() -> None:
    first = NOW - timedelta(seconds=50)
    late = Trace.from_object(trace_object({"duration": "1m"}, startedAt=first.isoformat()))
    assert ends_at(late, NOW) == NOW + timedelta(seconds=10)
    alone = Trace.from_object(trace_object({"duration": "1m"}))
    assert ends_at(alone, NOW) == NOW + timedelta(seconds=60)
    assert ends_at(Trace.from_object(trace_object()), NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("1h30m", 5400.0), ("250ms", 0.25), ("1.5m", 90.0), ("", None), ("10", None), ("1d", None), (None, None)],
)
def test_durations(text: object, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


LABELS = {"app": "api", "tier": "web"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"app": "api"}}, True),
        ({"matchLabels": {"app": "api", "tier": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "api"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["api"]}]}, False),
        ({"matchExpressions": [{"key": "gone", "operator": "NotIn", "values": ["api"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "gone", "operator": "DoesNotExist", "values": None}]}, True),
        ({"matchLabels": {"app": "api"}, "matchExpressions": [{"key": "gone", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Near", "values": ["api"]}]}, False),
        # What cannot be evaluated selects nothing.
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": []}]}, False),
        ({"matchExpressions": [{"key": "", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "gone", "operator": "DoesNotExist", "values": ["x"]}]}, False),
    ],
)
def test_selectors(selector: dict[str, Any], matches: bool) -> None:
    assert Selector.from_object(selector).matches(LABELS) is matches


API, PROXY, PAUSE = (digit * 64 for digit in "abc")


def node_pods() -> list[tuple[Pod, list[Cgroup]]]:
    """Two pods of two namespaces, each with a pod cgroup, two containers, a pause container and a nested cgroup."""
    pods = []
    for number, namespace in ((10, "shop"), (20, "bank")):
        uid = f"00000000-0000-0000-0000-0000000000{number}"
        top = f"/kubepods/pod{uid}"
        paths = [top, f"{top}/{API}", f"{top}/{PROXY}", f"{top}/{PAUSE}", f"{top}/{API}/nested"]
        cgroups = [Cgroup(CgroupId(number + i), path, parse(path)) for i, path in enumerate(paths)]
        containers = {API: "api", PROXY: "proxy"}
        pods.append((Pod(namespace, "p", uid, uid, {"app": namespace}, containers), cgroups))
    return pods


@pytest.mark.parametrize(
    ("namespace", "selector", "containers", "ids"),
    [
        ("shop", {}, (), {10, 11, 12, 13}),
        ("shop", {}, ("api",), {11}),
        ("shop", {}, ("api", "proxy", "none"), {11, 12}),
        ("shop", {"matchLabels": {"app": "bank"}}, (), set()),
        ("other", {}, (), set()),
        (None, {}, ("proxy",), {12, 22}),
        (None, {"matchLabels": {"app": "bank"}}, (), {20, 21, 22, 23}),
    ],
)
def test_scope(namespace: str | None, selector: dict[str, Any], containers: tuple[str, ...], ids: set[int]) -> None:
    target = PodTarget(namespace, pods=Selector.from_object(selector), containers=frozenset(containers))
    chosen = target.choose(node_pods(), None)
    assert chosen.cgroups == ids
    assert chosen.reason == ("" if ids else "NoMatchingPods")


TEAM_A = {"matchLabels": {"team": "a"}}
NO_VALUES = {"matchExpressions": [{"key": "team", "operator": "NotIn"}]}


@pytest.mark.parametrize(
    ("selector", "namespaces", "ids", "reason"),
    [
        (TEAM_A, {"shop": {"team": "a"}, "bank": {"team": "b"}}, {10, 11, 12, 13}, ""),
        (TEAM_A, {"shop": {}, "bank": {"team": "b"}}, set(), "NoMatchingPods"),
        # A namespace that nobody has seen is in no selector, also in those that ask for the lack of a label.
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {"shop": {}}, {10, 11, 12, 13}, ""),
        (TEAM_A, None, set(), "NamespacesUnknown"),
        (NO_VALUES, {"shop": {"team": "a"}}, set(), "SelectorInvalid"),
    ],
)
def test_namespaces_are_selected_by_label(
    selector: dict[str, Any], namespaces: dict[str, dict[str, str]] | None, ids: set[int], reason: str
) -> None:
    chosen = PodTarget(None, Selector.from_object(selector)).choose(node_pods(), namespaces)
    assert (set(chosen.cgroups), chosen.reason) == (ids, reason)


def test_what_may_not_run_without_a_scope() -> None:
    everything = trace_object()
    assert Trace.from_object(everything).selects_pods
    everything["kind"] = "ClusterBpfTrace"
    assert not Trace.from_object(everything).selects_pods
    everything["spec"]["target"] = {"podSelector": {"matchLabels": {"app": "api"}}}
    assert Trace.from_object(everything).selects_pods
    everything["spec"]["target"] = {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}
    assert Trace.from_object(everything).selects_pods
    everything["spec"]["target"] = {"containers": ["api"]}
    assert Trace.from_object(everything).selects_pods
