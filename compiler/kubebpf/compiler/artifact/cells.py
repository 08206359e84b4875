"""The cells of a map: what stands under one key, by the kind of the map, after the CPUs of a node were added up.

count       Count(3)
sum         Sum(-3)
min, max    Extreme("min", 3); a cell that was never set is no cell
avg, stats  Average(total=14, count=7)
hist, lhist Histogram(((5, 3), (6, 1)))    slot 5 has 3; numbered as `types.DAggregate` says, none that is zero
tseries     Intervals((Interval(epoch=17, value=3, meta=1), ...))
no function Last(5)
"""

from __future__ import annotations

from dataclasses import dataclass

from kubebpf.compiler.artifact.values import Value


@dataclass(frozen=True, slots=True)
class Count:
    """How often."""

    count: int


@dataclass(frozen=True, slots=True)
class Sum:
    """All values added."""

    total: int


@dataclass(frozen=True, slots=True)
class Extreme:
    """The smallest or largest value; `kind` is min or max."""

    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Average:
    """All values added, and how many they were: for avg and for stats."""

    total: int
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Pairs of slot number and count, ascending, without zero counts."""

    slots: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(count for _, count in self.slots)


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of a time series.

    Args:
        epoch: the number of the interval: its start in nanoseconds, divided by the length of an interval.
        value: the last value, the sum, the extreme, or the total for avg.
        meta: for avg the number of values; else what the kernel side needed to find `value` (not 0: the interval was used).
    """

    epoch: int
    value: int
    meta: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """A time series: the intervals that saw a value, ascending."""

    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Last:
    """The value of a map without a map function. `node` tells whose value it is in a merged status; empty elsewhere."""

    value: Value
    node: str = ""


Cell = Count | Sum | Extreme | Average | Histogram | Intervals | Last
