"""The largest keys of a map, read piece by piece: a report's share of a map of a million keys, in the memory of a few thousand.

    largest(session, "@", resolver, 20)     -> MapState with 20 entries, and dropped=999980

Which are the largest, and in which order, is what `order.ordered` says, to the last key. Keys that are different bytes and
equal in words (stacks, symbols, pods) are added up first. As long as there are a few thousand of those they are kept; a map
with more is read twice: once for what each adds up to, with three numbers a row, and again for those that turned out largest.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace

from kubebpf.agent.output.joined import join
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Average, Cell, Histogram
from kubebpf.compiler.artifact.decode import Resolver, decode
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.order import entry_rank, weight
from kubebpf.compiler.artifact.state import Entry, Key, MapState, key_of, of_schema
from kubebpf.compiler.artifact.types import DArray, DBool, DBuffer, DEnum, Desc, DInt, DPointer, DRecord, DTuple

ROOM = 8192  # keys in words that are kept at a time; a stack has some kilobytes of them

Rows = Callable[[], Iterator[tuple[bytes, Cell]]]
NamedRows = Callable[[], Iterator[tuple[Key, Cell]]]


def largest(session: Session, name: str, resolver: Resolver, most: int, empty: bool = False) -> MapState:
    """The `most` largest keys of a map; `dropped` says how many there are beside them. `empty`: and leave it empty.

    Raises:
        KeyError: the program has no such map.
        LibbpfError: it cannot be read.
    """
    schema = session.schema(name)
    layout = schema.key
    if layout is None:
        return of_schema(schema, [Entry((), cell) for _, cell in session.rows(name, resolver, empty)])
    if _distinct(layout):
        return _of_bytes(schema, layout, session.rows(name, resolver, empty), resolver, most)

    def named() -> Iterator[tuple[Key, Cell]]:
        return ((key_of(decode(layout, key, resolver)), cell) for key, cell in session.rows(name, resolver, empty))

    # What is taken out of the map cannot be read again.
    return _of_words(schema, named, most, session.schema(name).max_entries if empty else ROOM)


def _distinct(layout: Desc) -> bool:
    """Whether keys of different bytes are different in words."""
    match layout:
        case DInt() | DBool() | DEnum() | DPointer() | DBuffer():
            return True
        case DArray(element):
            return _distinct(element)
        case DTuple(items):
            return all(_distinct(item) for _, item in items)
        case DRecord(fields):
            return all(_distinct(field.type) for field in fields)
        case _:
            # A cgroup's number stays in it, but its pod has to be asked for as long as there is one.
            return False


def _of_bytes(schema: MapSchema, layout: Desc, rows: Iterator[tuple[bytes, Cell]], resolver: Resolver, most: int) -> MapState:
    kept = list[tuple[tuple[object, ...], int, Entry]]()
    count = 0
    for key, cell in rows:
        count += 1
        # Most keys of a large map are too small, and need no words.
        if len(kept) >= most and (not most or weight(cell) < kept[0][0][0]):  # type: ignore[operator]
            continue
        entry = Entry(key_of(decode(layout, key, resolver)), cell)
        item = (entry_rank(entry), count, entry)
        if len(kept) < most:
            heapq.heappush(kept, item)
        else:
            heapq.heappushpop(kept, item)
    return replace(of_schema(schema, [entry for _, _, entry in kept]), dropped=count - len(kept))


def _of_words(schema: MapSchema, rows: NamedRows, most: int, room: int = ROOM) -> MapState:
    empty = of_schema(schema)
    cells = _joined(rows(), empty, room)
    distinct = len(cells)
    if distinct > room:
        distinct, chosen = _chosen(rows(), empty, most)
        cells = _joined(rows(), empty, max(room, 2 * most), chosen)
    found = heapq.nlargest(most, (Entry(key, cell) for key, cell in cells.items()), entry_rank)
    return replace(empty, entries=tuple(found), dropped=max(0, distinct - len(found)))


def _joined(
    rows: Iterator[tuple[Key, Cell]], empty: MapState, room: int, chosen: Container[int] | None = None
) -> Mapping[Key, Cell]:
    """The cells by key, or one more than there is room for; only keys with a chosen hash."""
    cells = dict[Key, Cell]()
    for key, cell in rows:
        if chosen is None or hash(key) in chosen:
            known = cells.get(key)
            cells[key] = cell if known is None else join(known, cell, empty)
            if len(cells) > room:
                break
    return cells


def _chosen(rows: Iterator[tuple[Key, Cell]], empty: MapState, most: int) -> tuple[int, set[int]]:
    """How many keys there are, and the hashes of the largest once their rows are added up."""
    import numpy as np

    hashes, values, counts = array("q"), array("d"), array("d")
    for key, cell in rows:
        value, count = _measure(cell)
        hashes.append(hash(key))
        values.append(value)
        counts.append(count)
    if not hashes:
        return 0, set()
    by_hash = np.frombuffer(hashes, np.int64)
    order = np.argsort(by_hash, kind="stable")
    names, starts = np.unique(by_hash[order], return_index=True)
    join_all = {"min": np.minimum, "max": np.maximum, "tseries": np.maximum, "last": np.maximum}.get(empty.kind, np.add)
    sums = join_all.reduceat(np.frombuffer(values)[order], starts)
    if empty.kind in ("avg", "stats"):
        sums = sums / np.maximum(np.add.reduceat(np.frombuffer(counts)[order], starts), 1)
    # Among equal ones, those with the larger hash: the same ones at every reading.
    best = np.lexsort((names, sums))[len(names) - min(most, len(names)) :]
    return len(names), set(names[best].tolist())


def _measure(cell: Cell) -> tuple[float, float]:
    match cell:
        case Average(total, count):
            return float(total), float(count)
        case Histogram():
            return float(cell.total), 0.0
        case _:
            return float(weight(cell)), 0.0
