"""What a map holds under a key, one record a kind: how it is read from a report, combined with another node's, and written.

    COUNT.combine(3, 4) == 7        HIST.combine({5: 3}, {5: 1, 6: 2}) == {5: 4, 6: 2}

Combining is associative and commutative for every kind, so the order of reports never shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubebpf.compiler.artifact.histogram import slot_count
from kubebpf.operator.values import BadValueError, Json, read_count, read_number, read_value

Params = tuple[int, ...]
SLOTS_LIMIT = 4096
INTERVALS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Kind:
    """A map function (or `last`, a map without one).

    Args:
        read: (the entry as in the report, the map's parameters, the node) -> the cell. Raises BadValueError.
        combine: (cell, cell, how) -> cell.
        write: (cell, the map's parameters) -> the members of the entry in JSON.
        weight: what "smallest first" compares when keys are dropped or ordered: as print() orders them.
        params: how many parameters the kind has.
    """

    name: str
    read: Callable[[Mapping[str, Any], Params, str], Any]
    combine: Callable[[Any, Any, str], Any]
    write: Callable[[Any, Params], Json]
    weight: Callable[[Any], float]
    params: int = 0


def _average(cell: tuple[int, int]) -> float:
    # Towards zero, as C and print() divide.
    return abs(cell[0]) // cell[1] * (1 if cell[0] >= 0 else -1) if cell[1] else 0


def _read_average(entry: Mapping[str, Any], params: Params, node: str) -> tuple[int, int]:
    return read_number(entry.get("total")), read_count(entry.get("count"))


def _add_pairs(one: tuple[int, int], other: tuple[int, int], how: str) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _write_average(cell: tuple[int, int], params: Params) -> Json:
    return {"total": str(cell[0]), "count": str(cell[1])}


def last_slot(kind: str, params: Params) -> int:
    """The number of a histogram's last slot.

    Raises:
        BadValueError: parameters that no program can have.
    """
    try:
        slots = slot_count(kind, params)
    except ValueError as error:
        raise BadValueError(str(error)) from error
    # The picture of a histogram has a line a slot between the first and the last that count.
    if slots > SLOTS_LIMIT:
        raise BadValueError(f"a {kind} with {slots} slots")
    return slots - 1


def _read_slots(kind: str) -> Callable[[Mapping[str, Any], Params, str], dict[int, int]]:
    def read(entry: Mapping[str, Any], params: Params, node: str) -> dict[int, int]:
        rows, last, slots = _rows(entry.get("slots"), SLOTS_LIMIT), last_slot(kind, params), {}
        for row in rows:
            slot = row.get("slot")
            if isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot <= last or slot in slots:
                raise BadValueError(f"slot {slot!r} of a {kind} with slots 0 to {last}")
            slots[slot] = read_count(row.get("count"))
        return {slot: count for slot, count in slots.items() if count}

    return read


def _add_slots(one: dict[int, int], other: dict[int, int], how: str) -> dict[int, int]:
    return {slot: one.get(slot, 0) + other.get(slot, 0) for slot in one.keys() | other.keys()}


def _write_slots(cell: dict[int, int], params: Params) -> Json:
    return {"slots": [{"slot": slot, "count": str(cell[slot])} for slot in sorted(cell)]}


def _read_intervals(entry: Mapping[str, Any], params: Params, node: str) -> dict[int, tuple[int, int]]:
    intervals: dict[int, tuple[int, int]] = {}
    for row in _rows(entry.get("intervals"), INTERVALS_LIMIT):
        epoch = read_count(row.get("epoch"))
        if epoch in intervals:
            raise BadValueError(f"interval {epoch} stands twice in a series")
        intervals[epoch] = read_number(row.get("value")), read_count(row.get("meta", "0"))
    return intervals


def _join_intervals(one: dict[int, tuple[int, int]], other: dict[int, tuple[int, int]], how: str) -> dict[int, tuple[int, int]]:
    both = one.keys() & other.keys()
    return one | other | {epoch: _POINTS.get(how, _newest)(one[epoch], other[epoch]) for epoch in both}


def _newest(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    # Without an aggregation the later value stands; meta is its time. Equal times: the greater value, in either order.
    return max(one, other, key=lambda point: (point[1], point[0]))


_POINTS: dict[str, Callable[[tuple[int, int], tuple[int, int]], tuple[int, int]]] = {
    "avg": lambda one, other: (one[0] + other[0], one[1] + other[1]),  # value is the total, meta the number
    "sum": lambda one, other: (one[0] + other[0], max(one[1], other[1])),
    "min": lambda one, other: (min(one[0], other[0]), max(one[1], other[1])),
    "max": lambda one, other: (max(one[0], other[0]), max(one[1], other[1])),
}


def _write_intervals(cell: dict[int, tuple[int, int]], params: Params) -> Json:
    # Nodes of one cluster agree on the time to within an interval or so; the graph has the newest `n` of all.
    newest = sorted(cell)[-1] if cell else 0
    kept = sorted(epoch for epoch in cell if epoch > newest - params[1])
    return {"intervals": [{"epoch": str(e), "value": str(cell[e][0]), "meta": str(cell[e][1])} for e in kept]}


def _read_last(entry: Mapping[str, Any], params: Params, node: str) -> Json:
    return read_value(entry.get("value"), node)


def _one_row(one: Json, other: Json, how: str) -> Json:
    raise AssertionError("rows of a map without a function are told apart by their node")


def _rows(raw: object, limit: int) -> list[Mapping[str, Any]]:
    if not isinstance(raw, list) or len(raw) > limit or not all(isinstance(row, Mapping) for row in raw):
        raise BadValueError(f"a cell is no list of at most {limit} rows")
    return raw


def _number(name: str, read: Callable[[object], int], combine: Callable[[int, int], int]) -> Kind:
    return Kind(
        name,
        read=lambda entry, params, node: read(entry.get(name)),
        combine=lambda one, other, how: combine(one, other),
        write=lambda cell, params: {name: str(cell)},
        weight=lambda cell: cell,
    )


def _histogram(name: str, params: int) -> Kind:
    return Kind(name, _read_slots(name), _add_slots, _write_slots, lambda cell: sum(cell.values()), params)


def _weigh_last(cell: Json) -> float:
    return int(cell["int"]) if "int" in cell else 0


COUNT = _number("count", read_count, lambda one, other: one + other)
SUM = _number("sum", read_number, lambda one, other: one + other)
MIN = _number("min", read_number, min)
MAX = _number("max", read_number, max)
AVG = Kind("avg", _read_average, _add_pairs, _write_average, _average)
STATS = Kind("stats", _read_average, _add_pairs, _write_average, _average)
HIST = _histogram("hist", 1)
LHIST = _histogram("lhist", 3)
TSERIES = Kind("tseries", _read_intervals, _join_intervals, _write_intervals, lambda cell: max(cell, default=0), 2)
LAST = Kind("last", _read_last, _one_row, lambda cell, params: {"value": cell}, _weigh_last)

KINDS = {kind.name: kind for kind in (COUNT, SUM, MIN, MAX, AVG, STATS, HIST, LHIST, TSERIES, LAST)}
HOW = ("", "none", "avg", "sum", "min", "max")
