"""What a scrape of an agent says, read by Prometheus' own parser."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from kubebpf.agent.cluster.metrics import Metrics
from kubebpf.agent.cluster.report import Lost, State
from kubebpf.agent.cluster.samples import bounds, key_labels
from kubebpf.agent.cluster.trace import Trace
from kubebpf.compiler.artifact.cells import Average, Count, Extreme, Histogram, Intervals, Last, Sum
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Cgroup, Pod, Text

COMMON = {"trace_namespace": "shop", "trace": "t", "node": "node-a"}
CAT = Cgroup(77, "node-a", "/x", Pod("shop", "api-0", "u", "main"))


def trace(metrics: list[dict[str, Any]], name: str = "t", top: int = 20) -> Trace:
    meta = {"namespace": "shop", "name": name, "uid": f"u-{name}", "generation": 1}
    return Trace.from_object({"kind": "BpfTrace", "metadata": meta, "spec": {"metrics": metrics, "report": {"top": top}}})


def state(*maps: MapState) -> State:
    return State(1, "sha256:00", "s", "Attached", probes=3, maps=maps, lost=Lost(1, 2, 3))


def scrape(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    port = metrics.serve("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(parse(answer.read().decode()))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("node-a")


def one(map_: MapState, metrics: Metrics, **more: Any) -> dict[str, list[tuple[dict[str, str], float]]]:
    metrics.show(trace([{"map": map_.name, "name": "x", **more}]), state(map_))
    return {name: rows for name, rows in scrape(metrics).items() if name.startswith("kubebpf_x")}


@pytest.mark.parametrize(
    ("kind", "signed", "cell", "expected"),
    [
        ("count", True, Count(2**40), {"kubebpf_x_total": 2**40}),
        ("sum", False, Sum(7), {"kubebpf_x_total": 7}),
        ("sum", True, Sum(-7), {"kubebpf_x": -7}),
        ("min", True, Extreme("min", 3), {"kubebpf_x": 3}),
        ("max", True, Extreme("max", 3), {"kubebpf_x": 3}),
        ("avg", True, Average(14, 7), {"kubebpf_x_sum": 14, "kubebpf_x_count": 7}),
        ("stats", True, Average(14, 7), {"kubebpf_x_sum": 14, "kubebpf_x_count": 7}),
        ("last", True, Last(5, ""), {"kubebpf_x": 5}),
        ("last", True, Last("text", ""), {}),
        ("tseries", True, Intervals(()), {}),
    ],
)
def test_kinds(kind: str, signed: bool, cell: Any, expected: dict[str, float], metrics: Metrics) -> None:
    rows = one(MapState("@x", kind, signed, scalar=True, entries=(Entry((), cell),)), metrics)
    assert rows == {name: [(COMMON, value)] for name, value in expected.items()}


def test_a_histogram_has_cumulative_buckets(metrics: Metrics) -> None:
    cells = Histogram(((2, 1), (3, 4)))  # one 1, four of [2, 4)
    rows = one(MapState("@x", "hist", params=(0,), scalar=True, entries=(Entry((), cells),)), metrics)
    assert [(labels["le"], value) for labels, value in rows["kubebpf_x_bucket"]] == [
        ("-1", 0), ("0", 0), ("1", 1), ("3", 5), ("+Inf", 5),
    ]  # fmt: skip
    assert rows["kubebpf_x_count"] == [(COMMON, 5)]


def test_fine_histograms_are_told_by_powers_of_two_and_linear_ones_by_their_steps() -> None:
    # hist(x, 2): after 0, 1, 2, 3 four slots for each power of two: 4, 5, 6, 7, then [8, 10) …
    assert bounds("hist", (2,), ((5, 1), (8, 2), (9, 4))) == [("-1", 0), ("0", 0), ("1", 0), ("3", 0), ("7", 3), ("+Inf", 7)]
    assert bounds("lhist", (0, 30, 10), ((0, 1), (2, 2), (4, 4))) == [("-1", 1), ("9", 1), ("19", 3), ("29", 3), ("+Inf", 7)]


def test_keys_are_labels_and_a_cgroup_is_its_pod() -> None:
    assert key_labels(("cat",)) == {"key": "cat"}
    assert key_labels(("cat", 3), ("comm",)) == {"comm": "cat", "key2": "3"}
    pod = {"namespace": "shop", "pod": "api-0", "container": "main"}
    assert key_labels((CAT, "cat")) == {**pod, "key2": "cat"}
    assert key_labels((Cgroup(1),)) == {"namespace": "", "pod": "", "container": ""}
    assert key_labels((Text("api-0", "pod"), CAT)) == {"pod": "api-0", "namespace": "shop", "pod2": "api-0", "container": "main"}
    assert key_labels((CAT,), ("server",)) == {"server_namespace": "shop", "server_pod": "api-0", "server_container": "main"}


def test_the_largest_keys_are_shown_and_the_others_counted(metrics: Metrics) -> None:
    entries = tuple(Entry((f"k{i}",), Count(i)) for i in range(10))
    metrics.show(trace([{"map": "@x", "name": "x"}], top=2), state(MapState("@x", "count", entries=entries, dropped=5)))
    found = scrape(metrics)
    assert {labels["key"]: value for labels, value in found["kubebpf_x_total"]} == {"k9": 9, "k8": 8}
    assert found["kubebpf_trace_keys_dropped"] == [({**COMMON, "metric": "kubebpf_x"}, 13)]


def test_an_agent_shows_no_more_than_its_limit() -> None:
    metrics = Metrics("node-a", limit=3)
    entries = tuple(Entry((i,), Count(i)) for i in range(10))
    metrics.show(trace([{"map": "@x", "name": "x"}]), state(MapState("@x", "count", entries=entries)))
    found = scrape(metrics)
    assert len(found["kubebpf_x_total"]) == 3
    assert found["kubebpf_agent_series_dropped"] == [({"node": "node-a"}, 7)]


def test_two_traces_share_a_name_of_one_type(metrics: Metrics) -> None:
    for name, kind, cell in (("a", "count", Count(1)), ("b", "count", Count(2)), ("c", "max", Extreme("max", 3))):
        map_ = MapState("@x", kind, scalar=True, entries=(Entry((), cell),))
        # A counter's family is called like its samples without _total.
        metrics.show(trace([{"map": "@x", "name": "x"}], name), state(map_))
    found = scrape(metrics)
    assert sorted((labels["trace"], value) for labels, value in found["kubebpf_x_total"]) == [("a", 1), ("b", 2)]
    assert "kubebpf_x" not in found
    assert found["kubebpf_agent_series_dropped"][0][1] == 1


def test_losses_phases_and_the_process_itself(metrics: Metrics) -> None:
    metrics.show(trace([]), state())
    found = scrape(metrics)
    assert {labels["what"]: value for labels, value in found["kubebpf_trace_lost_total"]} == {
        "events": 1, "map_full": 2, "missed": 3,
    }  # fmt: skip
    assert found["kubebpf_trace_probes"] == [(COMMON, 3)]
    assert found["kubebpf_agent_traces"] == [({"phase": "Attached", "node": "node-a"}, 1)]
    assert found["process_cpu_seconds_total"]
    metrics.forget(trace([]).name.uid)
    assert "kubebpf_trace_probes" not in scrape(metrics)
