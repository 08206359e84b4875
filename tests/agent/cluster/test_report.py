"""The form and the size of reports, by examples and by properties."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebpf.agent.cluster.report import (
    NODE_LABEL,
    RECENT_BYTES,
    TRACE_LABEL,
    Line,
    State,
    fit_lines,
    fit_maps,
    interval_seconds,
    report_name,
    report_object,
    report_status,
    size,
    top_keys,
)
from kubebpf.agent.cluster.trace import TraceName, Uid
from kubebpf.compiler.artifact.cells import Count, Histogram
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Pod

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAME = TraceName("BpfTrace", "shop", "slow-reads", Uid("u-1"))


def counts(name: str, cells: dict[str, int]) -> MapState:
    return MapState(name, "count", entries=tuple(Entry((key,), Count(n)) for key, n in cells.items()))


def state(maps: list[MapState], lines: list[Line] | None = None) -> State:
    return State(1, "sha256:00", "s", "Attached", maps=maps, recent=lines or [], started_at=NOW)


def test_the_object_is_found_by_trace_and_node() -> None:
    obj = report_object(NAME, "node-a", "shop")
    assert obj["metadata"]["labels"] == {TRACE_LABEL: "u-1", NODE_LABEL: "node-a"}
    # sha256("u-1/node-a")
    assert obj["metadata"]["name"] == "slow-reads-86c2ea44a8"
    (owner,) = obj["metadata"]["ownerReferences"]
    assert owner["uid"] == "u-1" and owner["kind"] == "BpfTrace" and owner["blockOwnerDeletion"] is False
    assert obj["spec"] == {"trace": NAME.as_json(), "node": "node-a"}


def test_names_and_labels_fit_kubernetes_limits() -> None:
    long = TraceName("ClusterBpfTrace", "", "a" * 253, Uid("u"))
    node = ".".join(["n" * 60] * 4)
    assert len(report_name(long, node)) <= 253
    label = report_object(long, node, "kubebpf")["metadata"]["labels"][NODE_LABEL]
    assert len(label) <= 63 and label != node_label_of("other." + node)


def node_label_of(node: str) -> str:
    label: str = report_object(NAME, node, "shop")["metadata"]["labels"][NODE_LABEL]
    return label


def test_keys_beyond_top_are_dropped_smallest_first_and_counted() -> None:
    kept = top_keys(counts("@x", {"a": 3, "b": 1, "c": 2, "d": 9}), 2)
    assert [entry["count"] for entry in kept["entries"]] == ["9", "3"]
    assert kept["dropped"] == 2


def test_of_histograms_the_fullest_stay() -> None:
    slots = {"few": ((9, 1), (10, 1)), "many": ((1, 3),)}
    kept = top_keys(MapState("@", "hist", entries=tuple(Entry((k,), Histogram(v)) for k, v in slots.items())), 1)
    assert kept["entries"] == [{"key": [{"str": "many"}], "slots": [{"slot": 1, "count": "3"}]}]


def test_an_unchanged_state_gives_an_equal_status_in_whatever_order_the_kernel_tells_its_keys() -> None:
    cells = {"a": 1, "b": 1, "c": 1}
    backwards = dict(reversed(cells.items()))
    assert report_status(state([counts("@", cells)]), 20, 50) == report_status(state([counts("@", backwards)]), 20, 50)


def test_recent_lines_are_the_last_ones() -> None:
    lines = [Line(NOW, "printf", f"{i}\n", Pod("shop", "api-0", "u", "api")) for i in range(9)]
    status = report_status(state([], lines), 20, 3)
    assert [line["text"] for line in status["recent"]] == ["6\n", "7\n", "8\n"]
    assert status["recent"][0] | {"text": ""} == {
        "time": "2026-11-22T12:00:00.000000Z",
        "kind": "printf",
        "text": "",
        "namespace": "shop",
        "pod": "api-0",
        "container": "api",
    }
    assert report_status(state([], lines), 20, 0)["recent"] == []


def test_a_talking_program_does_not_push_the_keys_out() -> None:
    lines = [Line(NOW, "printf", "x" * 1000)] * 500
    status = report_status(state([counts("@", {f"{i:04}": i for i in range(1000)})], lines), 1000, 500)
    assert size(status["recent"]) >= RECENT_BYTES - 1200
    assert size(status["maps"]) > 20_000


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
entries = st.dictionaries(names, st.integers(0, 2**64), max_size=80)
lines = st.lists(st.builds(Line, st.just(NOW), st.just("printf"), st.text(max_size=3000)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(entries, max_size=5), lines, st.integers(1, 100), st.integers(0, 60), st.integers(1500, 40_000))
def test_no_report_passes_its_limit_and_no_key_is_lost_uncounted(
    cells: list[dict[str, int]], recent: list[Line], top: int, count: int, limit: int
) -> None:
    maps = [counts(f"@{i}", found) for i, found in enumerate(cells)]
    status = report_status(state(maps, recent), top, count, limit)
    assert size(status) <= limit
    for before, after in zip(maps, status["maps"], strict=True):
        kept = after["entries"]
        assert len(kept) + after["dropped"] == len(before.entries)
        assert len(kept) <= top
        values = sorted((entry.cell.count for entry in before.entries if isinstance(entry.cell, Count)), reverse=True)
        assert [int(entry["count"]) for entry in kept] == values[: len(kept)]
    texts = [line.as_json() for line in recent][-count:] if count else []
    assert status["recent"] == texts[len(texts) - len(status["recent"]) :]


@settings(max_examples=40, deadline=None)
@given(st.lists(entries, max_size=4), st.integers(400, 8000))
def test_no_more_is_dropped_than_needed(cells: list[dict[str, int]], room: int) -> None:
    maps = [top_keys(counts(f"@{i}", found), 1000) for i, found in enumerate(cells)]
    fitted = fit_maps(maps, room)
    dropped = [
        m["entries"][len(f["entries"])] for m, f in zip(maps, fitted, strict=True) if len(f["entries"]) < len(m["entries"])
    ]
    if dropped:
        # The largest of what was dropped would not fit any more.
        assert size(fitted) + max(size(entry) for entry in dropped) + 2 > room - 1


def test_lines_that_fit_are_the_newest() -> None:
    said = [Line(NOW, "printf", str(i)).as_json() for i in range(5)]
    assert fit_lines(said, 2 * (size(said[0]) + 1)) == said[3:]
    assert fit_lines(said, 3) == []


@given(st.floats(1.0, 600.0), st.lists(st.integers(1, 5000), max_size=50))
def test_all_reports_of_a_cluster_stay_under_the_budget(base: float, nodes: list[int]) -> None:
    seconds = interval_seconds(base, nodes)
    assert seconds >= base
    assert sum(nodes) / seconds <= 50.0 + 1e-9


@pytest.mark.parametrize(("nodes", "seconds"), [([2], 10.0), ([100] * 5, 10.0), ([5000], 100.0), ([1000] * 10, 200.0)])
def test_intervals(nodes: list[int], seconds: float) -> None:
    assert interval_seconds(10.0, nodes) == seconds


def test_a_status_is_plain_json() -> None:
    assert json.loads(json.dumps(report_status(state([counts("@", {"é": 1})]), 1, 1)))["phase"] == "Attached"
