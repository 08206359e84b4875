"""From the values of all CPUs to one cell, exactly as one CPU would have counted: pure functions on arrays.

    cells(DAggregate("sum", True, 8), values)     values: uint8 array of shape (rows, CPUs, bytes)
    -> [Sum(-3), Sum(7)]

Sums wrap around at 64 bits, as they do in the kernel. A row whose cell was never set (min and max on no CPU) gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Sum
from kubebpf.compiler.artifact.extremes import mask
from kubebpf.compiler.artifact.types import DAggregate

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[Any]  # of int64 or uint64
Reducer = Callable[[DAggregate, Words], Iterator[Cell | None]]


def cells(layout: DAggregate, values: Bytes) -> list[Cell | None]:
    """The cell of each row.

    Args:
        layout: how one CPU's value lies; it starts at byte 0 of the last axis.
        values: of shape (rows, CPUs, bytes of one CPU's value, padding counted).
    """
    words = np.ascontiguousarray(values[:, :, : layout.size]).view("<u8")
    return list(_REDUCERS[layout.kind](layout, words))


def _number(layout: DAggregate) -> str:
    return "<i8" if layout.signed else "<u8"


def _count(layout: DAggregate, words: Words) -> Iterator[Cell]:
    return (Count(n) for n in words[:, :, 0].sum(axis=1, dtype=np.uint64).tolist())


def _sum(layout: DAggregate, words: Words) -> Iterator[Cell]:
    return (Sum(n) for n in _added(words[:, :, 0], layout))


def _extreme(layout: DAggregate, words: Words) -> Iterator[Cell | None]:
    # A CPU that never set its value has a 0, which cannot win; rows without any CPU are told apart by `set`.
    best = _plain(layout.kind, layout.signed, words[:, :, 0].max(axis=1))
    used: list[int] = words[:, :, 1].max(axis=1).tolist()
    return (Extreme(layout.kind, n) if any_set else None for n, any_set in zip(best.tolist(), used, strict=True))


def _plain(kind: str, signed: bool, kept: Words) -> Words:
    """The values behind kept words of min and max."""
    return (kept ^ np.uint64(mask(kind, signed))).view("<i8" if signed else "<u8")


def _average(layout: DAggregate, words: Words) -> Iterator[Cell]:
    totals = _added(words[:, :, 0], layout)
    counts = words[:, :, 1].sum(axis=1, dtype=np.uint64).tolist()
    return (Average(total, count) for total, count in zip(totals, counts, strict=True))


def _histogram(layout: DAggregate, words: Words) -> Iterator[Cell]:
    for row in words.sum(axis=1, dtype=np.uint64):
        slots = np.flatnonzero(row)
        yield Histogram(tuple(zip(slots.tolist(), row[slots].tolist(), strict=True)))


def _added(column: Words, layout: DAggregate) -> list[int]:
    numbers: list[int] = column.sum(axis=1, dtype=np.uint64).view(_number(layout)).tolist()
    return numbers


def _series(layout: DAggregate, words: Words) -> Iterator[Cell]:
    for row in words.reshape(words.shape[0], -1, 3):
        yield Intervals(_intervals(layout, row))


def _intervals(layout: DAggregate, row: Words) -> tuple[Interval, ...]:
    """The CPUs' intervals joined by epoch; those that a CPU without newer events still holds from long ago are left out."""
    merged: dict[int, Interval] = {}
    join = _JOINS.get(layout.how, _later)
    values = _plain(layout.how, layout.signed, row[:, 0]) if layout.how in ("min", "max") else row[:, 0].view(_number(layout))
    for value, meta, mark in zip(values.tolist(), row[:, 1].tolist(), row[:, 2].tolist(), strict=True):
        if mark:
            epoch = mark - 1
            mine = Interval(epoch, value, meta)
            merged[epoch] = join(merged[epoch], mine, layout.signed) if epoch in merged else mine
    oldest = max(merged, default=0) - layout.params[1]
    return tuple(merged[epoch] for epoch in sorted(merged) if epoch > oldest)


def _wrapped(number: int, signed: bool) -> int:
    number &= 2**64 - 1
    return number - 2**64 if signed and number >> 63 else number


def _plus(a: Interval, b: Interval, signed: bool) -> Interval:
    return Interval(a.epoch, _wrapped(a.value + b.value, signed), _wrapped(a.meta + b.meta, signed=False))


def _later(a: Interval, b: Interval, signed: bool) -> Interval:
    return max(a, b, key=lambda interval: interval.meta)


_JOINS: dict[str, Callable[[Interval, Interval, bool], Interval]] = {
    "avg": _plus,
    "sum": _plus,
    "min": lambda a, b, signed: min(a, b, key=lambda interval: interval.value),
    "max": lambda a, b, signed: max(a, b, key=lambda interval: interval.value),
}

_REDUCERS: dict[str, Reducer] = {
    "count": _count,
    "sum": _sum,
    "min": _extreme,
    "max": _extreme,
    "avg": _average,
    "stats": _average,
    "hist": _histogram,
    "lhist": _histogram,
    "tseries": _series,
}
