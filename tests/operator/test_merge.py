"""Merging is exact: against a flat recount of the events, and by its algebra."""

from __future__ import annotations

import json
from collections import Counter
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebpf.operator.cells import KINDS, last_slot
from kubebpf.operator.merge import Maps, combine, disagreement, keep_top, merge, read_maps
from kubebpf.operator.picture import picture
from kubebpf.operator.values import BadValueError, identity, read_value

Json = dict[str, Any]
NODES = ("a", "b", "c")

# One event: the node, the key's string, the number that was counted.
EVENTS = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(["sh", "cat", "ls"]), st.integers(0, 200)), max_size=60)
LHIST = (0, 100, 10)


def hist_slot(number: int) -> int:
    return 1 if number == 0 else 1 + number.bit_length()


def lhist_slot(number: int) -> int:
    return 11 if number >= 100 else 1 + number // 10


def slots(numbers: list[int], slot: Any) -> Json:
    return {"slots": [{"slot": s, "count": str(n)} for s, n in sorted(Counter(map(slot, numbers)).items())]}


CELLS: dict[str, Any] = {
    "count": lambda numbers: {"count": str(len(numbers))},
    "sum": lambda numbers: {"sum": str(sum(numbers))},
    "min": lambda numbers: {"min": str(min(numbers))},
    "max": lambda numbers: {"max": str(max(numbers))},
    "avg": lambda numbers: {"total": str(sum(numbers)), "count": str(len(numbers))},
    "stats": lambda numbers: {"total": str(sum(numbers)), "count": str(len(numbers))},
    "hist": lambda numbers: slots(numbers, hist_slot),
    "lhist": lambda numbers: slots(numbers, lhist_slot),
}
PARAMS = {"hist": (0,), "lhist": LHIST}


def report_of(events: list[tuple[str, str, int]]) -> list[Json]:
    """The maps that a node which saw these events reports: one of each kind, keyed by the string, and a scalar one."""
    by_key: dict[str, list[int]] = {}
    for _, key, number in events:
        by_key.setdefault(key, []).append(number)
    maps = [
        {
            "name": f"@{kind}", "kind": kind, "signed": False, "params": [str(p) for p in PARAMS.get(kind, ())], "how": "",
            "scalar": False, "dropped": 0,
            "entries": [{"key": [{"str": key}]} | cell(numbers) for key, numbers in sorted(by_key.items())],
        }
        for kind, cell in CELLS.items()
    ]  # fmt: skip
    scalar = [{"key": [], "count": str(len(events))}] if events else []
    return [*maps, {"name": "@all", "kind": "count", "scalar": True, "entries": scalar}]


def canonical(maps: Maps) -> list[Json]:
    return [item.write() for item in merge([maps])]


def read_all(events: list[tuple[str, str, int]]) -> list[Maps]:
    return [read_maps(report_of([event for event in events if event[0] == node]), node) for node in NODES]


@given(EVENTS)
@settings(max_examples=150, deadline=None)
def test_the_merge_of_the_nodes_is_a_recount_of_all_events(events: list[tuple[str, str, int]]) -> None:
    merged = [item.write() for item in merge(read_all(events))]
    recount = canonical(read_maps(report_of(events), "anywhere"))
    assert merged == recount


@given(EVENTS)
@settings(max_examples=60, deadline=None)
def test_merging_is_associative_and_commutative(events: list[tuple[str, str, int]]) -> None:
    a, b, c = read_all(events)
    one = canonical(combine(combine(a, b), c))
    assert one == canonical(combine(a, combine(b, c)))
    assert one == canonical(combine(combine(c, a), b))
    assert one == canonical(combine(b, combine(c, a)))


@given(EVENTS, st.permutations(NODES))
@settings(max_examples=60, deadline=None)
def test_reading_a_report_again_changes_nothing(events: list[tuple[str, str, int]], order: list[str]) -> None:
    """The newest report of a node replaces the older one, so any sequence of readings ends in the same state."""
    half = events[: len(events) // 2]
    store = dict(zip(NODES, read_all(half), strict=True))
    for node in order:  # read again, twice, in any order
        for _ in range(2):
            store[node] = read_maps(report_of([event for event in events if event[0] == node]), node)
    assert [m.write() for m in merge(store.values())] == [m.write() for m in merge(read_all(events))]


POINTS = st.dictionaries(st.integers(100, 110), st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=8)


@pytest.mark.parametrize("how", ["", "none", "avg", "sum", "min", "max"])
@given(st.lists(POINTS, min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_series_merge_by_epoch(how: str, nodes: list[dict[int, tuple[int, int]]]) -> None:
    def series(points: dict[int, tuple[int, int]]) -> list[Json]:
        rows = [{"epoch": str(e), "value": str(v), "meta": str(m)} for e, (v, m) in points.items()]
        entry = {"key": [], "intervals": rows}
        return [{"name": "@t", "kind": "tseries", "how": how, "params": ["1000", "100"], "scalar": True, "entries": [entry]}]

    a, b, c = (read_maps(series(points), "n") for points in nodes)
    got = canonical(combine(a, combine(b, c)))
    assert got == canonical(combine(combine(c, b), a))
    rows = {int(row["epoch"]): row for row in got[0]["entries"][0]["intervals"]}
    assert rows.keys() == {epoch for points in nodes for epoch in points}
    for epoch, row in rows.items():
        seen = [points[epoch] for points in nodes if epoch in points]
        values = [value for value, _ in seen]
        want = {"avg": sum(values), "sum": sum(values), "min": min(values), "max": max(values)}
        newest = max(meta for _, meta in seen)
        assert int(row["value"]) == want.get(how, max(value for value, meta in seen if meta == newest))
        assert int(row["meta"]) == (sum(meta for _, meta in seen) if how == "avg" else newest)


def test_a_series_keeps_the_newest_intervals_of_all_nodes() -> None:
    def one(epochs: range, node: str) -> Maps:
        rows = [{"epoch": str(epoch), "value": "1", "meta": "1"} for epoch in epochs]
        entry = {"key": [], "intervals": rows}
        return read_maps([{"name": "@", "kind": "tseries", "params": ["1000", "5"], "scalar": True, "entries": [entry]}], node)

    got = merge([one(range(10, 15), "a"), one(range(13, 18), "b")])[0].write()["entries"][0]["intervals"]
    assert [row["epoch"] for row in got] == ["13", "14", "15", "16", "17"]


def last(node: str, value: Json) -> Maps:
    return read_maps([{"name": "@v", "kind": "last", "scalar": True, "entries": [{"key": [], "value": value}]}], node)


def test_a_map_without_a_function_keeps_a_row_a_node() -> None:
    got = merge([last("b", {"int": "5"}), last("a", {"int": "5"}), last("c", {"int": "-1"})])[0].write()["entries"]
    assert [(row["node"], row["value"]["int"]) for row in got] == [("c", "-1"), ("a", "5"), ("b", "5")]


def cgroup_count(node: str, number: int, **more: Any) -> list[Json]:
    key = [{"tuple": [{"cgroup": "42", "node": node} | more, {"str": "x"}]}]
    return [{"name": "@", "kind": "count", "entries": [{"key": key, "count": str(number)}]}]


def test_a_cgroup_is_told_apart_by_its_node_also_inside_a_tuple() -> None:
    got = merge([read_maps(cgroup_count("a", 1), "a"), read_maps(cgroup_count("b", 2), "b")])[0].write()["entries"]
    assert [(row["key"][0]["tuple"][0]["node"], row["count"]) for row in got] == [("a", "1"), ("b", "2")]


def test_what_is_known_of_a_pod_is_no_part_of_the_key() -> None:
    pod = {"pod": {"namespace": "shop", "name": "api-0"}}
    plain, rich = read_maps(cgroup_count("a", 1), "a"), read_maps(cgroup_count("a", 2, **pod), "a")
    for order in ((plain, rich), (rich, plain)):
        (row,) = merge(order)[0].write()["entries"]
        assert row["count"] == "3"
        assert row["key"][0]["tuple"][0]["pod"] == pod["pod"]


def test_sums_pass_64_bits() -> None:
    maps = [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": str(2**64 - 1)}]}]
    got = merge(read_maps(maps, node) for node in "abc")[0].write()["entries"]
    assert got == [{"key": [], "count": str(3 * (2**64 - 1))}]


BAD = {
    "not a list": "x",
    "an unknown kind": [{"name": "@", "kind": "median"}],
    "no name": [{"name": "x", "kind": "count"}],
    "twice": [{"name": "@", "kind": "count"}, {"name": "@", "kind": "count"}],
    "a float": [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": 1.5}]}],
    "a number that is no string": [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": 5}]}],
    "a negative count": [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": "-1"}]}],
    "more than 64 bits": [{"name": "@", "kind": "sum", "scalar": True, "entries": [{"key": [], "sum": str(2**64)}]}],
    "Unicode digits": [{"name": "@", "kind": "sum", "scalar": True, "entries": [{"key": [], "sum": "٣"}]}],
    "the wrong cell": [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "sum": "1"}]}],
    "a key in a scalar map": [{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [{"int": "1"}], "count": "1"}]}],
    "a slot past the end": [{"name": "@", "kind": "hist", "params": ["0"], "entries": [{"slots": [{"slot": 66, "count": "1"}]}]}],
    "a slot twice": [
        {"name": "@", "kind": "hist", "params": ["0"], "entries": [{"slots": [{"slot": 6, "count": "1"}] * 2}]},
    ],
    "hist without bits": [{"name": "@", "kind": "hist"}],
    "an lhist that never ends": [{"name": "@", "kind": "lhist", "params": ["0", "9", "0"], "entries": [{"slots": []}]}],
    "a key twice": [{"name": "@", "kind": "count", "entries": [{"key": [{"int": "1"}], "count": "1"}] * 2}],
    "a cgroup of another node": [
        {"name": "@", "kind": "count", "entries": [{"key": [{"cgroup": "1", "node": "z"}], "count": "1"}]},
    ],
    "a value of no form": [{"name": "@", "kind": "count", "entries": [{"key": [{"float": "1"}], "count": "1"}]}],
    "a pointer that is none": [{"name": "@", "kind": "count", "entries": [{"key": [{"pointer": "zz"}], "count": "1"}]}],
    "nested for ever": [{"name": "@", "kind": "last", "scalar": True, "entries": [{"key": [], "value": None}]}],
}  # fmt: skip


@pytest.mark.parametrize("maps", BAD.values(), ids=BAD.keys())
def test_a_bad_report_is_refused_with_a_reason(maps: object) -> None:
    with pytest.raises(BadValueError, match=r"\w+ "):
        read_maps(maps, "n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["name", "kind", "entries", "key", "count", "slots", "slot", "int", "cgroup", "tuple", "record", "value", "params", "pod"]
    ) | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(JSON | st.fixed_dictionaries({"name": st.just("@"), "kind": st.sampled_from(sorted(KINDS)), "entries": JSON})))
@settings(max_examples=300, deadline=None)
def test_anything_else_is_refused_or_can_be_printed(maps: list[Any]) -> None:
    """No report raises anything but BadValueError, and what is taken can be merged, written, stored and printed."""
    try:
        got = read_maps(maps, "n")
    except BadValueError:
        return
    forms = canonical(got)
    json.dumps(forms, allow_nan=False)
    picture(forms)


VALUES = st.recursive(
    st.integers(-(2**63), 2**64 - 1).map(lambda n: {"int": str(n)})
    | st.text(max_size=8).map(lambda t: {"str": t})
    | st.booleans().map(lambda b: {"bool": b})
    | st.binary(max_size=4).map(lambda b: {"hex": b.hex()})
    | st.integers(0, 2**64 - 1).map(lambda n: {"pointer": hex(n)})
    | st.just({"enum": "ONE", "int": "1"})
    | st.just({"text": "do_nanosleep", "kind": "ksym"}),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: {"tuple": v})
        | st.lists(inner, max_size=3).map(lambda v: {"array": v})
        | st.lists(inner, max_size=3).map(lambda v: {"record": [{"name": f"f{i}", "value": x} for i, x in enumerate(v)]})
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
@settings(max_examples=200, deadline=None)
def test_values_are_kept_and_equal_only_to_themselves(one: Json, other: Json) -> None:
    assert read_value(one, "n") == one
    assert (identity(one) == identity(other)) == (one == other)


def test_a_map_of_another_form_is_named() -> None:
    one = read_maps([{"name": "@h", "kind": "hist", "params": ["0"], "entries": []}], "a")
    other = read_maps([{"name": "@h", "kind": "hist", "params": ["2"], "entries": []}], "b")
    assert disagreement(one, one) is None
    assert disagreement(one, other) == "@h: hist(2) here, hist(0) on other nodes"


def test_the_smallest_keys_are_dropped_and_counted() -> None:
    entries = [{"key": [{"int": str(n)}], "count": str(n)} for n in range(1, 11)]
    maps = read_maps([{"name": "@", "kind": "count", "entries": entries, "dropped": 4}], "a")
    (top,) = keep_top(merge([maps]), 3)
    assert [row.cell for row in top.ordered()] == [8, 9, 10]
    assert top.dropped == 4 + 7


@pytest.mark.parametrize(
    ("kind", "params", "last"), [("hist", (0,), 65), ("hist", (2,), 252), ("lhist", (0, 100, 10), 11), ("lhist", (0, 104, 50), 3)]
)
def test_the_last_slot_is_that_of_the_greatest_number(kind: str, params: tuple[int, ...], last: int) -> None:
    """The numbering of DAggregate, computed for n = 2**64 - 1."""
    assert last_slot(kind, params) == last
    if kind == "hist":
        (k,) = params
        level = 63
        assert 1 + ((level - k + 1) << k) + (((2**64 - 1) >> (level - k)) & (2**k - 1)) == last


def test_equal_stacks_of_nodes_are_one_row() -> None:
    def stacks(node: str, *counts: tuple[str, str]) -> Maps:
        rows = [{"key": [{"text": text, "kind": "ustack"}, {"str": "api"}], "count": count} for text, count in counts]
        return read_maps([{"name": "@", "kind": "count", "entries": rows}], node)

    shared, own = "\n        leaf+4\n        main+9\n", "\n        idle+1\n"
    (merged,) = merge([stacks("a", (shared, "3")), stacks("b", (shared, "4"), (own, "1"))])
    assert picture([merged.write()]) == (
        "@[\n        idle+1\n, api]: 1\n@[\n        leaf+4\n        main+9\n, api]: 7\n"  # smallest first
    )


def test_combining_nothing_gives_nothing() -> None:
    empty: list[Maps] = []
    assert merge(empty) == []
    assert reduce(combine, [last("a", {"int": "1"}), {}])["@v"].rows.keys() == last("a", {"int": "1"})["@v"].rows.keys()
