"""Time series as text: a graph that runs downwards, one line an interval, the value a `*` between the smallest and the greatest.

         5                                                  20
hh:mm:ss |___________________________________________________|
17:44:08 *                                                   | 5
17:44:09 |                                                   | -
17:44:10 |                                                   * 20
         v___________________________________________________v
         5                                                  20
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kubebpf.compiler.artifact.cells import Intervals
from kubebpf.compiler.artifact.order import divide
from kubebpf.compiler.artifact.strftime import format_time
from kubebpf.compiler.artifact.text_hist import single

WIDTH = 53
_UNITS = (("", 1_000_000_000, 0), ("ms", 1_000_000, 3), ("us", 1_000, 6), ("ns", 1, 9))

Point = tuple[int, int | None]


def points(params: tuple[int, ...], how: str, cell: Intervals) -> list[Point]:
    """The starts in nanoseconds since 1970 and the values of the intervals; None for an interval without a value.

    Args:
        params: length of an interval in nanoseconds, number of intervals.
        how: the aggregation.
        cell: the series.
    """
    length, limit = params
    newest = max((interval.epoch for interval in cell.intervals), default=0)
    kept = [interval for interval in cell.intervals if interval.epoch > newest - limit]
    values = {i.epoch: divide(i.value, i.meta) if how == "avg" else i.value for i in kept}
    if not values:
        return []
    return [(epoch * length, values.get(epoch)) for epoch in range(min(values), newest + 1)]


def series_text(params: tuple[int, ...], how: str, cell: Intervals, *, signed: bool = True, utc: bool = False) -> str:
    """The graph of a series; `<no data>` without a newline when it has no interval. Times are local unless `utc`."""
    rows = points(params, how, cell)
    if not rows:
        return "<no data>"
    low, high = _bounds([value for _, value in rows if value is not None], signed)
    unit, digits = _unit(rows)
    head = f"hh:mm:ss.{unit}" if unit else "hh:mm:ss"
    margin = len("hh:mm:ss") + (digits + 1 if digits else 0)
    scale = f"{'':{margin}} {low:<21}{high:>32}\n"
    lines = [_line(row, low, high, digits, utc) for row in rows]
    return f"{scale}{head:<{margin}} |{'_' * (WIDTH - 2)}|\n" + "".join(lines) + f"{'':{margin}} v{'_' * (WIDTH - 2)}v\n" + scale


def _bounds(values: Sequence[int], signed: bool) -> tuple[int, int]:
    """The ends of the scale; of equal values their neighbours, as far as the type has some."""
    low, high = min(values), max(values)
    least, most = (-(1 << 63), (1 << 63) - 1) if signed else (0, (1 << 64) - 1)
    return (max(low - 1, least), min(high + 1, most)) if low == high else (low, high)


def _unit(rows: Sequence[Point]) -> tuple[str, int]:
    # The coarsest unit that divides the interval; of a single interval nothing is known, and 0 ns is printed to the nanosecond.
    length = next((after[0] - before[0] for before, after in pairwise(rows)), 1)
    return next((name, digits) for name, scale, digits in _UNITS if length % scale == 0)


def _line(row: Point, low: int, high: int, digits: int, utc: bool) -> str:
    start, value = row
    line = ["|", *" " * (WIDTH - 2), "|"]
    if low < 0 < high:
        line[int(single(single(WIDTH * single(-low)) / single(high - low)))] = "."
    if value is not None:
        place = int(single(single((WIDTH - 1) * single(value - low)) / single(high - low)))
        line[max(0, min(WIDTH - 1, place))] = "*"
    fraction = f".{start % 1_000_000_000:09}"[: digits + 1] if digits else ""
    time = format_time(start, "%H:%M:%S", utc=utc) + fraction
    return f"{time} {''.join(line)} {'-' if value is None else value}\n"
