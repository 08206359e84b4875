"""Every form of a value and of a cell, to JSON and back; and what may go into YAML."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.artifact import jsonl, state, values
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Last, Sum
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pod, Pointer, Record, Text, Tuple

FORMS = [
    (-5, {"int": "-5"}),
    (2**64 - 1, {"int": "18446744073709551615"}),
    (True, {"bool": True}),
    ("bash", {"str": "bash"}),
    ("häuser", {"str": "häuser"}),
    (Enum("ONE", 1), {"enum": "ONE", "int": "1"}),
    (Pointer(0xFFFF88810123), {"pointer": "0xffff88810123"}),
    (Bytes(b"\x00\xffA"), {"hex": "00ff41"}),
    (Array((1, 2)), {"array": [{"int": "1"}, {"int": "2"}]}),
    (Tuple((1, Tuple(("a",)))), {"tuple": [{"int": "1"}, {"tuple": [{"str": "a"}]}]}),
    (
        Record((("m", 2), ("n", False))),
        {"record": [{"name": "m", "value": {"int": "2"}}, {"name": "n", "value": {"bool": False}}]},
    ),
    (Text("do_nanosleep", "ksym"), {"text": "do_nanosleep", "kind": "ksym"}),
    (Cgroup(4242), {"cgroup": "4242"}),
    (
        Cgroup(4242, "a", "/kubepods.slice", Pod("shop", "api-0", "u", "api"), as_path=True),
        {
            "cgroup": "4242",
            "node": "a",
            "path": "/kubepods.slice",
            "pod": {"namespace": "shop", "name": "api-0", "uid": "u", "container": "api"},
            "as": "path",
        },
    ),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[str(form)[:40] for _, form in FORMS])
def test_values_have_one_json_form(value: values.Value, form: dict[str, object]) -> None:
    assert values.to_json(value) == form
    assert values.from_json(form) == value


def test_an_enum_without_a_name_is_its_number() -> None:
    assert values.to_json(Enum("", 7)) == {"int": "7"}


def test_bytes_that_are_no_utf8_are_spelled_out() -> None:
    assert values.to_json(b"a\xffb".decode("utf-8", "surrogateescape")) == {"str": "a\\xffb"}


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="not a value"):
        values.from_json({"number": 5})


CELLS = [
    ("count", Count(3), {"count": "3"}),
    ("sum", Sum(-3), {"sum": "-3"}),
    ("min", Extreme("min", 3), {"min": "3"}),
    ("max", Extreme("max", 3), {"max": "3"}),
    ("avg", Average(14, 7), {"total": "14", "count": "7"}),
    ("stats", Average(14, 7), {"total": "14", "count": "7"}),
    ("hist", Histogram(((5, 3),)), {"slots": [{"slot": 5, "count": "3"}]}),
    ("lhist", Histogram(()), {"slots": []}),
    ("tseries", Intervals((Interval(9, -1, 2),)), {"intervals": [{"epoch": "9", "value": "-1", "meta": "2"}]}),
    ("last", Last("a"), {"value": {"str": "a"}}),
    ("last", Last(5, "node-a"), {"value": {"int": "5"}, "node": "node-a"}),
]


@pytest.mark.parametrize(("kind", "cell", "members"), CELLS)
def test_cells_stand_beside_their_key(kind: str, cell: Cell, members: dict[str, object]) -> None:
    shown = MapState("@x", kind, False, (1, 2), "", False, (Entry((1, "a"), cell),), 4)
    form = state.to_json(shown)
    assert form["entries"] == [{"key": [{"int": "1"}, {"str": "a"}]} | members]
    assert form["params"] == ["1", "2"]
    assert form["dropped"] == 4
    assert state.from_json(form) == shown


def test_slots_come_in_any_order_and_zeros_are_left_out() -> None:
    rows = [{"slot": 7, "count": "1"}, {"slot": 2, "count": "4"}, {"slot": 3, "count": "0"}]
    assert state.cell_from_json("hist", {"slots": rows}) == Histogram(((2, 4), (7, 1)))


SCALARS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.builds(Enum, st.text("ABC", min_size=1), st.integers(-(2**63), 2**64 - 1))
    | st.builds(Pointer, st.integers(0, 2**64 - 1))
    | st.builds(Bytes, st.binary())
    | st.builds(Cgroup, st.integers(0, 2**64 - 1), st.text("ab"), st.text("/x"), as_path=st.booleans())
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(Array, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Tuple, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Record, st.lists(st.tuples(st.text("mn", min_size=1), inner), max_size=3).map(tuple))
    ),
)


@given(TREES)
def test_json_keeps_every_value(value: values.Value) -> None:
    form = json.loads(json.dumps(values.to_json(value)))
    assert values.from_json(form) == value
    assert json.loads(jsonl.value_record(value))["type"] == "value"
