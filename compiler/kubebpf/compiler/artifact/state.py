"""The whole content of a map, at one moment, on one node or merged of many; and its JSON.

MapState("@x", "hist", params=(0,), scalar=True, entries=(Entry((), Histogram(((5, 3),))),))
{"name": "@x", "kind": "hist", "signed": true, "params": ["0"], "how": "", "scalar": true,
 "entries": [{"key": [], "slots": [{"slot": 5, "count": "3"}]}], "dropped": 0}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Interval, Intervals, Last, Sum
from kubebpf.compiler.artifact.decode import Resolver, zero
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.types import DAggregate
from kubebpf.compiler.artifact.values import Tuple, Value
from kubebpf.compiler.artifact.values import from_json as value_from_json
from kubebpf.compiler.artifact.values import to_json as value_to_json

Key = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and what stands under it. The key of a scalar map is empty."""

    key: Key
    cell: Cell


@dataclass(frozen=True, slots=True)
class MapState:
    """A map and its entries, in any order.

    Args:
        name: as the program spells it: `@x`, `@`.
        kind: count, sum, min, max, avg, stats, hist, lhist, tseries; `last` is a map without a map function.
        signed: whether its numbers are.
        params: of the kind, as `types.DAggregate` lists them.
        how: a time series' aggregation: "", avg, max, min, sum.
        scalar: the map has no keys.
        dropped: keys left out for lack of room.
    """

    name: str
    kind: str
    signed: bool = True
    params: tuple[int, ...] = ()
    how: str = ""
    scalar: bool = False
    entries: tuple[Entry, ...] = ()
    dropped: int = 0


def key_of(value: Value) -> Key:
    """The key that a decoded map key is: `@[a, b]` and `@[(a, b)]` have two values."""
    return value.items if isinstance(value, Tuple) else (value,)


def of_schema(schema: MapSchema, entries: Iterable[Entry] = ()) -> MapState:
    """The state of a map of the manifest, from its entries."""
    scalar, value = schema.key is None, schema.value
    if not isinstance(value, DAggregate):
        return MapState(schema.name, "last", scalar=scalar, entries=tuple(entries))
    return MapState(schema.name, value.kind, value.signed, value.params, value.how, scalar, tuple(entries))


def with_default(state: MapState, schema: MapSchema, resolver: Resolver) -> MapState:
    """The state that print() shows: of a scalar map that was never assigned, zero. Histograms and series have no zero."""
    if state.entries or not state.scalar:
        return state
    if not isinstance(schema.value, DAggregate):
        return replace(state, entries=(Entry((), Last(zero(schema.value, resolver))),))
    make = _ZEROS.get(state.kind)
    return replace(state, entries=(Entry((), make()),)) if make else state


_ZEROS: dict[str, Callable[[], Cell]] = {
    "count": lambda: Count(0),
    "sum": lambda: Sum(0),
    "min": lambda: Extreme("min", 0),
    "max": lambda: Extreme("max", 0),
    "avg": lambda: Average(0, 0),
    "stats": lambda: Average(0, 0),
}


def cell_to_json(cell: Cell) -> dict[str, Any]:
    """The members that stand beside `key` in an entry."""
    match cell:
        case Count(count):
            return {"count": str(count)}
        case Sum(total):
            return {"sum": str(total)}
        case Extreme(kind, value):
            return {kind: str(value)}
        case Average(total, count):
            return {"total": str(total), "count": str(count)}
        case Histogram(slots):
            return {"slots": [{"slot": slot, "count": str(count)} for slot, count in slots]}
        case Intervals(intervals):
            return {"intervals": [_interval_json(interval) for interval in intervals]}
        case Last(value, node):
            return {"value": value_to_json(value)} | ({"node": node} if node else {})


def _interval_json(interval: Interval) -> dict[str, str]:
    return {"epoch": str(interval.epoch), "value": str(interval.value), "meta": str(interval.meta)}


def cell_from_json(kind: str, j: dict[str, Any]) -> Cell:
    """The cell of an entry of a map of this kind.

    Raises:
        KeyError, ValueError: members are missing or no numbers; the kind is unknown.
    """
    return _READERS[kind](j)


def _average(j: dict[str, Any]) -> Cell:
    return Average(int(j["total"]), int(j["count"]))


def _histogram(j: dict[str, Any]) -> Cell:
    slots = sorted((int(row["slot"]), int(row["count"])) for row in j["slots"])
    return Histogram(tuple(slot for slot in slots if slot[1]))


def _intervals(j: dict[str, Any]) -> Cell:
    rows = [Interval(int(row["epoch"]), int(row["value"]), int(row["meta"])) for row in j["intervals"]]
    return Intervals(tuple(sorted(rows, key=lambda row: row.epoch)))


_READERS: dict[str, Callable[[dict[str, Any]], Cell]] = {
    "count": lambda j: Count(int(j["count"])),
    "sum": lambda j: Sum(int(j["sum"])),
    "min": lambda j: Extreme("min", int(j["min"])),
    "max": lambda j: Extreme("max", int(j["max"])),
    "avg": _average,
    "stats": _average,
    "hist": _histogram,
    "lhist": _histogram,
    "tseries": _intervals,
    "last": lambda j: Last(value_from_json(j["value"]), j.get("node", "")),
}


def to_json(state: MapState) -> dict[str, Any]:
    """The JSON form of a map's state."""
    return {
        "name": state.name,
        "kind": state.kind,
        "signed": state.signed,
        "params": [str(param) for param in state.params],
        "how": state.how,
        "scalar": state.scalar,
        "entries": [{"key": [value_to_json(v) for v in e.key]} | cell_to_json(e.cell) for e in state.entries],
        "dropped": state.dropped,
    }


def from_json(j: dict[str, Any]) -> MapState:
    """A map's state from its JSON form; the members after `kind` may be missing.

    Raises:
        KeyError, ValueError: it is no state of a map.
    """
    kind = j["kind"]
    return MapState(
        name=j["name"],
        kind=kind,
        signed=j.get("signed", True),
        params=tuple(int(param) for param in j.get("params", ())),
        how=j.get("how", ""),
        scalar=j.get("scalar", False),
        entries=tuple(Entry(tuple(value_from_json(v) for v in e["key"]), cell_from_json(kind, e)) for e in j.get("entries", ())),
        dropped=int(j.get("dropped", 0)),
    )
