"""Keys that were different bytes and are equal in words: the same stack in two processes, one symbol by two addresses.

    @[("\\n        main+4\\n", …)]: 3 of process 7, 2 of process 8      -> one key with 5

A report has each key once, and the cluster adds equal keys of its nodes up; so a node adds its own up first. On a terminal they
stay apart, as bpftrace prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Last, Sum
from kubebpf.compiler.artifact.state import Entry, Key, MapState


def join_equal(state: MapState) -> MapState:
    """The state with every key once."""
    cells: dict[Key, Cell] = {}
    for entry in state.entries:
        known = cells.get(entry.key)
        cells[entry.key] = entry.cell if known is None else join(known, entry.cell, state)
    if len(cells) == len(state.entries):
        return state
    return replace(state, entries=tuple(Entry(key, cell) for key, cell in cells.items()))


def join(one: Cell, other: Cell, state: MapState) -> Cell:
    """Two cells of one map as one that counted what both did. Of two last values the second stays."""
    return _JOINS[type(one)](one, other, state)


def _number(value: int, signed: bool) -> int:
    """64 bits of a sum, as the kernel keeps them."""
    value &= 2**64 - 1
    return value - 2**64 if signed and value >> 63 else value


def _extreme(one: Extreme, other: Extreme, state: MapState) -> Cell:
    return Extreme(one.kind, (min if one.kind == "min" else max)(one.value, other.value))


def _average(one: Average, other: Average, state: MapState) -> Cell:
    return Average(_number(one.total + other.total, state.signed), one.count + other.count)


def _histogram(one: Histogram, other: Histogram, state: MapState) -> Cell:
    slots = dict(one.slots)
    for slot, count in other.slots:
        slots[slot] = slots.get(slot, 0) + count
    return Histogram(tuple(sorted(slots.items())))


def _intervals(one: Intervals, other: Intervals, state: MapState) -> Cell:
    merged = {interval.epoch: interval for interval in one.intervals}
    for interval in other.intervals:
        mine = merged.get(interval.epoch)
        merged[interval.epoch] = interval if mine is None else _interval(mine, interval, state)
    return Intervals(tuple(merged[epoch] for epoch in sorted(merged)))


def _interval(one: Interval, other: Interval, state: MapState) -> Interval:
    if state.how in ("min", "max"):
        return (min if state.how == "min" else max)(one, other, key=lambda interval: interval.value)
    if state.how in ("avg", "sum"):
        return Interval(one.epoch, _number(one.value + other.value, state.signed), one.meta + other.meta)
    return max(one, other, key=lambda interval: interval.meta)


_JOINS: dict[type, Callable[[Any, Any, MapState], Cell]] = {
    Count: lambda one, other, state: Count(one.count + other.count),
    Sum: lambda one, other, state: Sum(_number(one.total + other.total, state.signed)),
    Extreme: _extreme,
    Average: _average,
    Histogram: _histogram,
    Intervals: _intervals,
    Last: lambda one, other, state: other,
}
