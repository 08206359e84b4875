"""In which order the entries of a map are printed: the greatest last, as in bpftrace (types_format.cpp, 713-742).

Numbers and averages go by value, histograms by their total, time series by their last interval, all else by key. Where
bpftrace leaves equal values in the order of its hash table, they go by key here, so that equal maps print alike.
"""

from __future__ import annotations

from typing import Any

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Intervals, Last, Sum
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Text, Tuple, Value


def ordered(state: MapState, top: int = 0) -> list[Entry]:
    """The entries in the order of printing.

    Args:
        state: a map.
        top: only the last so many; 0 takes all. A time series is never cut (as upstream).
    """
    entries = sorted(state.entries, key=entry_rank)
    return entries[-top:] if top and state.kind != "tseries" else entries


def divide(number: int, divisor: int) -> int:
    """Integer division as C does it, towards zero; by 0 or 1 it is the number."""
    if divisor <= 1:
        return number
    return number // divisor if number >= 0 else -(-number // divisor)


def average(cell: Average) -> int:
    """The average as an integer, towards zero; 0 of nothing."""
    return divide(cell.total, cell.count) if cell.count else 0


def entry_rank(entry: Entry) -> tuple[Any, ...]:
    """What entries are sorted by; the first member is the weight of the cell."""
    return weight(entry.cell), tuple(rank(value) for value in entry.key), getattr(entry.cell, "node", "")


def weight(cell: Cell) -> int:
    """What a cell is sorted by."""
    match cell:
        case Count(number) | Sum(number) | Extreme(_, number):
            return number
        case Average():
            return average(cell)
        case Histogram():
            return cell.total
        case Intervals(intervals):
            return intervals[-1].epoch if intervals else 0
        case Last(int() as number) if not isinstance(number, bool):
            return number
        case Last(Enum(_, number)):
            return number
        case Last():
            return 0


def rank(value: Value) -> tuple[Any, ...]:
    """What to sort values of one type by: integers by size, strings by their bytes, tuples member by member."""
    match value:
        case int():
            return (0, value)
        case Enum(_, number) | Pointer(number):
            return (0, number)
        case Cgroup(id, node):
            return (0, id, node)
        case str():
            return (1, value.encode("utf-8", "surrogateescape"))
        case Text(text):
            return (1, text.encode("utf-8", "surrogateescape"))
        case Bytes(data):
            return (1, data)
        case Array(items) | Tuple(items):
            return (2, tuple(rank(item) for item in items))
        case Record(fields):
            return (2, tuple(rank(field) for _, field in fields))
