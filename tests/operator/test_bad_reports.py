"""One bad report among good ones: left out, named, and nothing else changes. And merging against computations of its own.

Each bad report comes from node b; a and c count 3 and 4.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebpf.operator.conditions import read_condition
from kubebpf.operator.merge import merge, read_maps
from kubebpf.operator.model import parse_node, parse_report, parse_trace
from kubebpf.operator.outcome import Artifact
from kubebpf.operator.results import size_of
from kubebpf.operator.state import REPORT_LIMIT
from kubebpf.operator.status import Facts, desired_status
from kubebpf.operator.tally import AHEAD, take
from support.traces import DIGEST, a_map, node, report, scalar_count, trace

Json = dict[str, Any]

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OBJECT = Artifact(DIGEST, "kubebpf-" + "ab" * 20, 1234, 80)


def status(reports: list[Json], nodes: str = "abc", now: datetime = NOW, **spec: Any) -> Json:
    parsed = parse_trace(trace(**spec))
    found = [r for item in reports if (r := parse_report(item))]
    tally = take(parsed, DIGEST, [parse_node(node(name)) for name in nodes], found, now=now)
    return desired_status(Facts(parsed, tally, OBJECT, now))


def line(time: str, text: str = "x") -> Json:
    return {"time": time, "kind": "printf", "text": text}


def maps(**entry: Any) -> Json:
    return {"maps": [a_map("@", "count", [{"key": []} | entry], scalar=True)]}


def keyed(kind: str, entries: list[Json], params: tuple[int, ...] = ()) -> Json:
    return {"maps": [a_map("@k", kind, entries, params)]}


BAD: dict[str, Json] = {
    "a number for a string": maps(count=3),
    "a negative count": maps(count="-3"),
    "a fraction": maps(count="3.5"),
    "more than 64 bits": maps(count=str(2**64)),
    "a missing cell": maps(),
    "no list of maps": {"maps": {"@": 1}},
    "a map twice": {"maps": [scalar_count(1), scalar_count(2)]},
    "an unknown kind": {"maps": [a_map("@", "median", [])]},
    "a key twice": keyed("count", [{"key": [{"int": "1"}], "count": "1"}] * 2),
    "a scalar with a key": {"maps": [a_map("@", "count", [{"key": [{"int": "1"}], "count": "1"}], scalar=True)]},
    "a key of no known form": keyed("count", [{"key": [{"colour": "red"}], "count": "1"}]),
    "a key that is nested without end": keyed("count", [{"key": [json.loads('{"tuple":[' * 40 + "]}" * 40)], "count": "1"}]),
    "a cgroup of another node": keyed("count", [{"key": [{"cgroup": "1", "node": "a"}], "count": "1"}]),
    "a slot that is not there": keyed("hist", [{"key": [], "slots": [{"slot": 9999, "count": "1"}]}], (0,)),
    "a slot twice": keyed("hist", [{"key": [], "slots": [{"slot": 5, "count": "1"}] * 2}], (0,)),
    "steps without end": keyed("lhist", [{"key": [], "slots": []}], (0, 10**18, 1)),
    "an average without a count": keyed("avg", [{"key": [], "total": "3"}]),
    "no hexadecimal text": keyed("last", [{"key": [], "value": {"hex": "zz"}}]),
    "negative losses": {"lost": {"events": "-1"}},
    "losses that are no object": {"lost": ["1"]},
    "a negative number of dropped keys": {"maps": [scalar_count(1) | {"dropped": -1}]},
    "lines without a time": {"recent": [line("yesterday")]},
    "lines that are no objects": {"recent": ["x"]},
    "a line of a megabyte": {"recent": [line("2026-11-22T11:00:00Z", "x" * 10_000)]},
    "an exit code that is a text": {"exitCode": "0"},
    "an exit code beyond 32 bits": {"exitCode": 2**40},
    "an unknown phase": {"phase": "Sleeping"},
    "more keys than a report may have": keyed("count", [{"key": [{"int": str(n)}], "count": "1"} for n in range(5000)]),
    "half a megabyte": {"message": "", "recent": [line("2026-11-22T11:00:00Z", "x" * 8000)] * 100},
    "observed in the future": maps(count="1000") | {"observedAt": "2999-01-01T00:00:00Z"},
    "lines from the future": maps(count="1000") | {"recent": [line("2026-11-22T12:06:00Z")]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_report_is_left_out_and_named(name: str) -> None:
    good = [
        report("a", maps=[scalar_count(3)], recent=[line("2026-11-22T11:59:00Z", "a")], observedAt="2026-11-22T11:59:30Z"),
        report("c", maps=[scalar_count(4)], recent=[line("2026-11-22T11:58:00Z", "c")], observedAt="2026-11-22T11:59:40Z"),
    ]
    told: Json = {"maps": [scalar_count(1000)]} | BAD[name]
    bad = report("b", **told)
    found = status([*good, bad])
    without = status(good, nodes="ac")
    assert found["results"] == without["results"] and found["results"]["text"] == "@: 7\n"
    assert [row["text"] for row in found["recent"]] == ["c", "a"]
    assert found["lost"] == without["lost"]
    (error,) = found["nodeErrors"]
    assert (error["node"], error["reason"]) == ("b", "BadReport") and len(error["message"]) <= 400
    assert "completedAt" not in found
    assert read_condition(found, "Ready")["status"] == "True" and read_condition(found, "Degraded")["status"] == "True"
    assert size_of(found) < 8 * 1024


def test_clocks_may_differ_a_little() -> None:
    soon = (NOW + AHEAD - timedelta(seconds=1)).isoformat()
    found = status([report("a", maps=[scalar_count(3)], observedAt=soon, recent=[line(soon)])], nodes="a")
    assert "nodeErrors" not in found and found["results"]["text"] == "@: 3\n"


def test_bytes_and_control_characters_in_strings_go_through() -> None:
    strange = ["\x00\x01\x7f", "\u2028\ud7ff\U0001f600", "\x1b[31mred", "line\nline", "\\xff\\xfe", "]]>", "a" * 8000, ""]
    entries = [{"key": [{"str": text}], "count": str(n + 1)} for n, text in enumerate(strange)]
    found = status([report("a", **keyed("count", entries))], nodes="a")
    assert "nodeErrors" not in found
    (counted,) = found["results"]["maps"]
    assert {e["key"][0]["str"]: e["count"] for e in counted["entries"]} == {t: str(n + 1) for n, t in enumerate(strange)}


def test_two_hundred_nodes_within_all_budgets() -> None:
    """A status has at most 32 KiB; the largest keys of the sum stay, the others are counted; lines are the newest, in order."""
    names = [f"n{number:03}" for number in range(200)]
    moment = [NOW - timedelta(seconds=number) for number in range(200)]
    reports = [
        report(
            name,
            maps=[
                a_map("@k", "count", [{"key": [{"str": f"key{key:03}"}], "count": str(key + number)} for key in range(100)]),
                a_map("@us", "hist", [{"key": [{"int": "1"}], "slots": [{"slot": number % 60, "count": "2"}]}], [0]),
            ],
            recent=[line(moment[number].isoformat(), f"{name} says so\n")],
            lost={"events": "1", "mapFull": str(number), "missed": "0"},
        )
        for number, name in enumerate(names)
    ]
    parsed = [parse_report(item) for item in reports]
    assert all(item and item.size < 32 * 1024 < REPORT_LIMIT for item in parsed)
    body = trace(report={"top": 20, "recentLines": 10})
    tally = take(parse_trace(body), DIGEST, [parse_node(node(name)) for name in names], [p for p in parsed if p], now=NOW)
    found = desired_status(Facts(parse_trace(body), tally, OBJECT, NOW))
    assert size_of(found) <= 32 * 1024
    keys, hist = found["results"]["maps"]
    assert [(e["key"][0]["str"], int(e["count"])) for e in keys["entries"]] == [
        (f"key{key:03}", 200 * key + sum(range(200))) for key in range(80, 100)
    ]
    assert keys["dropped"] == 80
    assert {s["slot"]: int(s["count"]) for s in hist["entries"][0]["slots"]} == Counter(
        {slot: 2 * sum(n % 60 == slot for n in range(200)) for slot in range(60)}
    )
    assert [row["node"] for row in found["recent"]] == names[9::-1]
    assert found["lost"] == {"events": "200", "mapFull": str(sum(range(200))), "missed": "0", "total": str(200 + sum(range(200)))}
    assert "@k[key099]: " in found["results"]["text"]


# -- merging, against what Python's own arithmetic says of all observations together

numbers = st.integers(-(2**40), 2**40)
observations = st.lists(
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.lists(numbers, min_size=1, max_size=5)), min_size=1, max_size=6
)


def hist_slot(value: int) -> int:
    """hist() with k = 0: 0 for negative numbers, 1 for zero, 2 + l from 2**l on."""
    return 0 if value < 0 else 1 if value == 0 else 1 + value.bit_length()


def lhist_slot(value: int, low: int = -100, high: int = 100, step: int = 10) -> int:
    return 0 if value < low else 1 + (high - low) // step if value >= high else 1 + (value - low) // step


def slots(of: Callable[[int], int]) -> Callable[[list[int]], Json]:
    return lambda values: {"slots": [{"slot": s, "count": str(n)} for s, n in sorted(Counter(map(of, values)).items())]}


CELLS: dict[str, tuple[tuple[int, ...], Callable[[list[int]], Json]]] = {
    "count": ((), lambda v: {"count": str(len(v))}),
    "sum": ((), lambda v: {"sum": str(sum(v))}),
    "min": ((), lambda v: {"min": str(min(v))}),
    "max": ((), lambda v: {"max": str(max(v))}),
    "avg": ((), lambda v: {"total": str(sum(v)), "count": str(len(v))}),
    "stats": ((), lambda v: {"total": str(sum(v)), "count": str(len(v))}),
    "hist": ((0,), slots(hist_slot)),
    "lhist": ((-100, 100, 10), slots(lhist_slot)),
}


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=40, deadline=None)
@given(nodes=observations)
def test_the_merge_is_what_one_machine_would_have_counted(kind: str, nodes: list[dict[str, list[int]]]) -> None:
    params, cell = CELLS[kind]

    def entries(seen: dict[str, list[int]]) -> dict[str, Json]:
        return {key: {"key": [{"str": key}]} | cell(values) for key, values in seen.items()}

    each = [read_maps([a_map("@", kind, entries(seen).values(), params)], f"n{n}") for n, seen in enumerate(nodes)]
    merged = {e["key"][0]["str"]: e for m in merge(each) for e in m.write()["entries"]}
    together = {key: [v for seen in nodes for v in seen.get(key, [])] for key in {k for seen in nodes for k in seen}}
    assert merged == entries(together)


COMBINED: dict[str, Callable[[list[int]], int]] = {"sum": sum, "min": min, "max": max}
series = st.lists(st.dictionaries(st.integers(1000, 1010), st.lists(numbers, min_size=1, max_size=4)), min_size=1, max_size=5)


@pytest.mark.parametrize("how", ["avg", "sum", "min", "max"])
@settings(max_examples=40, deadline=None)
@given(nodes=series)
def test_time_series_merge_by_their_epoch(how: str, nodes: list[dict[int, list[int]]]) -> None:
    """Intervals are numbered since the TAI epoch, so that equal numbers are the same second on every node."""
    kept = 5

    def interval(epoch: int, values: list[int]) -> Json:
        if how == "avg":
            return {"epoch": str(epoch), "value": str(sum(values)), "meta": str(len(values))}
        functions: dict[str, Callable[[list[int]], int]] = {"sum": sum, "min": min, "max": max}
        combined = functions[how](values)
        return {"epoch": str(epoch), "value": str(combined), "meta": "0"}

    def whole(seen: dict[int, list[int]]) -> Json:
        intervals = [interval(epoch, values) for epoch, values in sorted(seen.items())]
        return a_map("@", "tseries", [{"key": [], "intervals": intervals}], (10**9, kept), how, scalar=True)

    (merged,) = merge([read_maps([whole(seen)], f"n{n}") for n, seen in enumerate(nodes)])
    found = {int(i["epoch"]): (i["value"], i["meta"]) for i in merged.write()["entries"][0]["intervals"]}
    together = {epoch: [v for seen in nodes for v in seen.get(epoch, [])] for epoch in {e for seen in nodes for e in seen}}
    newest = max(together, default=0)
    wanted = {e: interval(e, v) for e, v in together.items() if e > newest - kept}
    assert found == {epoch: (i["value"], i["meta"]) for epoch, i in wanted.items()}


def test_equal_stacks_and_symbols_of_two_nodes_are_one_key() -> None:
    """They are text when they leave their node: addresses would differ from boot to boot."""
    stack = {"text": "\n        do_nanosleep+105\n        hrtimer_nanosleep+150\n", "kind": "kstack"}
    keys = [[stack], [{"text": "do_nanosleep", "kind": "ksym"}], [{"int": "1"}, stack]]
    one, other = ([{"key": key, "count": str(count)} for key in keys] for count in (3, 4))
    (merged,) = merge([read_maps([a_map("@", "count", e)], n) for n, e in (("a", one), ("b", other))])
    assert [row["count"] for row in merged.write()["entries"]] == ["7"] * 3
