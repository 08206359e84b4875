"""Equal keys of a node become one, as one key would have counted; the operator takes no key twice."""

from __future__ import annotations

from typing import Any

from kubebpf.agent.cluster.report import top_keys
from kubebpf.agent.output.joined import join_equal
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Last, Sum
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Text

STACK = Text("\n        leaf+4\n        main+9\n", "ustack")


def joined(kind: str, one: Cell, other: Cell, **fields: Any) -> Cell:
    entries = (Entry((STACK,), one), Entry((Text("\n", "ustack"),), one), Entry((STACK,), other))
    (first, second) = join_equal(MapState("@", kind, entries=entries, **fields)).entries
    assert (first.key, second.cell) == ((STACK,), one)
    return first.cell


def test_every_kind_of_cell() -> None:
    assert joined("count", Count(3), Count(4)) == Count(7)
    assert joined("sum", Sum(2**63 - 1), Sum(1)) == Sum(-(2**63))
    assert joined("sum", Sum(2**63 - 1), Sum(1), signed=False) == Sum(2**63)
    assert joined("min", Extreme("min", 3), Extreme("min", -4)) == Extreme("min", -4)
    assert joined("max", Extreme("max", 3), Extreme("max", -4)) == Extreme("max", 3)
    assert joined("avg", Average(10, 3), Average(-4, 1)) == Average(6, 4)
    assert joined("hist", Histogram(((1, 2), (4, 1))), Histogram(((4, 5), (2, 1)))) == Histogram(((1, 2), (2, 1), (4, 6)))
    assert joined("last", Last(1), Last(2)) == Last(2)


def test_time_series() -> None:
    one = Intervals((Interval(5, 10, 100), Interval(6, 1, 50)))
    other = Intervals((Interval(6, 7, 40), Interval(7, 2, 9)))
    ends = {how: joined("tseries", one, other, how=how) for how in ("", "min", "max", "sum", "avg")}
    middle = {
        how: next(i for i in found.intervals if i.epoch == 6) for how, found in ends.items() if isinstance(found, Intervals)
    }
    assert middle == {
        "": Interval(6, 1, 50),
        "min": Interval(6, 1, 50),
        "max": Interval(6, 7, 40),
        "sum": Interval(6, 8, 90),
        "avg": Interval(6, 8, 90),
    }


def test_a_state_without_equal_keys_stays_itself() -> None:
    state = MapState("@", "count", entries=(Entry((1,), Count(1)), Entry((2,), Count(1))))
    assert join_equal(state) is state


def test_a_report_has_the_stack_once() -> None:
    state = MapState("@", "count", entries=tuple(Entry((STACK,), Count(n)) for n in (1, 2, 3)))
    (entry,) = top_keys(join_equal(state), 10)["entries"]
    assert entry == {"key": [{"text": STACK.text, "kind": "ustack"}], "count": "6"}
