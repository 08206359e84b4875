"""Reduction over CPUs, against loops that do what the kernel's arithmetic does."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.agent.session.reduce import cells
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Sum
from kubebpf.compiler.artifact.extremes import mask
from kubebpf.compiler.artifact.types import DAggregate

WORD = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]))
WRAP = 2**64


def as_signed(number: int) -> int:
    return number - WRAP if number >> 63 else number


def tables(words: int) -> st.SearchStrategy[list[list[list[int]]]]:
    """Rows of CPUs of words."""
    value = st.lists(WORD, min_size=words, max_size=words)
    return st.integers(1, 4).flatmap(lambda cpus: st.lists(st.lists(value, min_size=cpus, max_size=cpus), min_size=1, max_size=5))


def reduced(layout: DAggregate, table: list[list[list[int]]], padding: int = 8) -> list[Cell | None]:
    raw = [[struct.pack(f"<{len(cpu)}Q", *cpu) + b"\xff" * padding for cpu in row] for row in table]
    values = np.frombuffer(b"".join(b"".join(row) for row in raw), np.uint8)
    return cells(layout, values.reshape(len(table), len(table[0]), -1))


@given(tables(1))
def test_count_and_sum_add_and_wrap(table: list[list[list[int]]]) -> None:
    totals = [sum(cpu[0] for cpu in row) % WRAP for row in table]
    assert reduced(DAggregate("count", False, 8), table) == [Count(total) for total in totals]
    assert reduced(DAggregate("sum", False, 8), table) == [Sum(total) for total in totals]
    assert reduced(DAggregate("sum", True, 8), table) == [Sum(as_signed(total)) for total in totals]


@given(tables(2), st.booleans(), st.sampled_from(["min", "max"]))
def test_extremes_of_the_cpus_that_are_set(table: list[list[list[int]]], signed: bool, kind: str) -> None:
    expected: list[Cell | None] = []
    for row in table:
        # Only what was set is kept; the rest of the cells is zeros.
        row[:] = [cpu if cpu[1] else [0, 0] for cpu in row]
        values = [value ^ mask(kind, signed) for value, used in row if used]
        numbers = [as_signed(value) if signed else value for value in values]
        expected.append(Extreme(kind, (min if kind == "min" else max)(numbers)) if numbers else None)
    assert reduced(DAggregate(kind, signed, 16), table) == expected


@given(tables(2), st.booleans(), st.sampled_from(["avg", "stats"]))
def test_averages_keep_total_and_count(table: list[list[list[int]]], signed: bool, kind: str) -> None:
    expected = []
    for row in table:
        total = sum(cpu[0] for cpu in row) % WRAP
        expected.append(Average(as_signed(total) if signed else total, sum(cpu[1] for cpu in row) % WRAP))
    assert reduced(DAggregate(kind, signed, 16), table) == expected


@given(tables(5), st.sampled_from(["hist", "lhist"]))
def test_histograms_add_slot_by_slot(table: list[list[list[int]]], kind: str) -> None:
    expected = []
    for row in table:
        slots = [(slot, sum(cpu[slot] for cpu in row) % WRAP) for slot in range(5)]
        expected.append(Histogram(tuple((slot, n) for slot, n in slots if n)))
    assert reduced(DAggregate(kind, False, 40, slots=5), table) == expected


def series(how: str, *cpus: list[int]) -> tuple[Interval, ...]:
    (cell,) = reduced(DAggregate("tseries", True, 48, params=(1000, 2), how=how), [list(cpus)])
    assert isinstance(cell, Intervals)
    return cell.intervals


def test_series_join_by_epoch() -> None:
    one, two = [5, 1, 11, 7, 1, 12], [2**64 - 3, 1, 12, 0, 0, 0]
    assert series("sum", one, two) == (Interval(10, 5, 1), Interval(11, 4, 2))
    assert series("avg", one, two) == (Interval(10, 5, 1), Interval(11, 4, 2))
    for how, last in (("min", -3), ("max", 7)):
        both = [
            [word ^ mask(how, signed=True) if i % 3 == 0 and cpu[i + 1] else word for i, word in enumerate(cpu)]
            for cpu in (one, two)
        ]
        assert series(how, *both) == (Interval(10, 5, 1), Interval(11, last, 1))


def test_series_without_a_function_keeps_the_latest() -> None:
    assert series("", [5, 100, 11, 7, 200, 12], [6, 150, 11, 8, 199, 12]) == (Interval(10, 6, 150), Interval(11, 7, 200))


def test_series_drop_what_a_quiet_cpu_still_holds() -> None:
    assert series("sum", [5, 1, 11, 7, 1, 12], [1, 1, 4, 2, 1, 5]) == (Interval(10, 5, 1), Interval(11, 7, 1))


@given(st.lists(WORD, min_size=1), st.booleans(), st.sampled_from(["min", "max"]))
def test_the_greatest_kept_word_is_the_extreme(words: list[int], signed: bool, kind: str) -> None:
    numbers = [as_signed(word) if signed else word for word in words]
    best = max(word ^ mask(kind, signed) for word in words) ^ mask(kind, signed)
    assert (as_signed(best) if signed else best) == (min if kind == "min" else max)(numbers)
