"""JSON lines against what bpftrace 0.27.1 printed with -f json, byte for byte, but for its two faults."""

import json

import pytest

from kubebpf.compiler.artifact import jsonl
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Last
from kubebpf.compiler.artifact.manifest import Place
from kubebpf.compiler.artifact.state import Entry, Key, MapState
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Text, Tuple, Value

VALUES: list[tuple[Value, str]] = [
    (5, "5"),
    (True, "true"),
    (2**53, "9007199254740992"),
    (2**53 + 1, '"9007199254740993"'),
    (2**64 - 1, '"18446744073709551615"'),
    (-(2**53) - 1, '"-9007199254740993"'),
    ("a b \n d e", '"a b \\n d e"'),
    ('q"\\\t\x01/é', '"q\\"\\\\\\t\\u0001/é"'),
    ("\udcff", '"\\\\xff"'),
    (Tuple((1, 2, Tuple((4, 5)))), "[1,2,[4,5]]"),
    (Array((1, 2)), "[1,2]"),
    (Record((("a", 1), ("b", Tuple((2, "x"))))), '{"a": 1, "b": [2,"x"]}'),
    (Enum("TWO", 2), "2"),
    (Pointer(255), "255"),
    (Bytes(b"ab\xff"), "[97,98,-1]"),
    (Text("\n        f+1\n", "kstack"), '"\\n        f+1\\n"'),
    (Text("17", "strftime"), '"17"'),
    (Cgroup(7), "7"),
    (Cgroup(7, path="/a", as_path=True), '"unified:/a"'),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=[text[:30] for _, text in VALUES])
def test_values(value: Value, text: str) -> None:
    line = jsonl.value_record(value)
    assert line == f'{{"type": "value", "data": {text}}}'
    json.loads(line)


def keyed(kind: str, *rows: tuple[Key, Cell], params: tuple[int, ...] = ()) -> MapState:
    return MapState("@x", kind, params=params, entries=tuple(Entry(key, cell) for key, cell in rows))


def scalar(kind: str, cell: Cell, params: tuple[int, ...] = ()) -> MapState:
    return MapState("@x", kind, params=params, scalar=True, entries=(Entry((), cell),))


MAPS: list[tuple[MapState, str]] = [
    (scalar("last", Last(5)), '{"type": "map", "data": {"@x": 5}}'),
    (scalar("avg", Average(6, 2)), '{"type": "stats", "data": {"@x": 3}}'),
    (scalar("stats", Average(3, 1)), '{"type": "stats", "data": {"@x": {"count": 1, "average": 3, "total": 3}}}'),
    (keyed("count", (("b",), Count(1)), (("a",), Count(2))), '{"type": "map", "data": {"@x": {"b": 1, "a": 2}}}'),
    (keyed("last", (("a b", 1), Last(1))), '{"type": "map", "data": {"@x": {"ab,1": 1}}}'),
    (keyed("last", ((1, Tuple((2, 3))), Last(4))), '{"type": "map", "data": {"@x": {"1,(2,3)": 4}}}'),
    (keyed("last", ((Pointer(5),), Last(1))), '{"type": "map", "data": {"@x": {"0x5": 1}}}'),
    (keyed("max", ((3,), Extreme("max", -4))), '{"type": "map", "data": {"@x": {"3": -4}}}'),
    (keyed("last", ((Text("\n        f+1\n", "kstack"),), Last(1))), '{"type": "map", "data": {"@x": {"\\nf+1\\n": 1}}}'),
    (
        scalar("hist", Histogram(((0, 1), (1, 1), (3, 20))), (0,)),
        '{"type": "hist", "data": {"@x": [{"max": -1, "count": 1},{"min": 0, "max": 0, "count": 1},'
        '{"min": 1, "max": 1, "count": 0},{"min": 2, "max": 3, "count": 20}]}}',
    ),
    (
        keyed("lhist", (("c",), Histogram(((0, 1), (3, 1)))), params=(0, 10, 5)),
        '{"type": "hist", "data": {"@x": {"c": [{"max": -1, "count": 1},{"min": 0, "max": 4, "count": 0},'
        '{"min": 5, "max": 9, "count": 0},{"min": 10, "count": 1}]}}}',
    ),
    (scalar("hist", Histogram(()), (0,)), '{"type": "hist", "data": {"@x": []}}'),
    (keyed("hist", ((1,), Histogram(())), params=(0,)), '{"type": "hist", "data": {"@x": {"1": []}}}'),
    (
        scalar("tseries", Intervals((Interval(5, 9, 1), Interval(7, 8, 1))), (10**8, 5)),
        '{"type": "tseries", "data": {"@x": [{"interval_start":"1970-01-01 00:00:00.500000000","value":9},'
        '{"interval_start":"1970-01-01 00:00:00.700000000","value":8}]}}',
    ),
    (scalar("tseries", Intervals(()), (10**8, 5)), '{"type": "tseries", "data": {"@x": []}}'),
    (keyed("count"), ""),
]


@pytest.mark.parametrize(("shown", "line"), MAPS)
def test_maps(shown: MapState, line: str) -> None:
    assert jsonl.map_record(shown) == line
    if line:
        json.loads(line)


def test_top_and_div() -> None:
    shown = keyed("last", ((1,), Last(5)), ((2,), Last(8)))
    assert jsonl.map_record(shown, 1, 3) == '{"type": "map", "data": {"@x": {"2": 2}}}'


def test_records_of_events() -> None:
    place = Place("stdin", 1, 9, 1, 30)
    assert jsonl.text_record("printf", "test 5\n") == '{"type": "printf", "data": "test 5\\n"}'
    attached = '{"type": "attached_probes", "count": 2, "data": {"probes": 2}}'
    assert jsonl.counted_record("attached_probes", "probes", 2) == attached
    assert jsonl.counted_record("lost_events", "events", 5) == '{"type": "lost_events", "count": 5, "data": {"events": 5}}'
    assert jsonl.placed_record("errorf", "e 5\n", place) == (
        '{"type": "errorf", "msg": "e 5\\n", "filename": "stdin", "line": 1, "col": 9}'
    )
    assert jsonl.placed_record("helper_error", "Bad address", place, helper='"probe_read_user"', retcode="-14") == (
        '{"type": "helper_error", "msg": "Bad address", "helper": "probe_read_user", "retcode": -14, '
        '"filename": "stdin", "line": 1, "col": 9}'
    )
