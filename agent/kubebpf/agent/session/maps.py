"""The maps of a program text: read, cleared, zeroed.

    read(schema, map, resolver) -> MapState(schema, [(b"\\x07\\0\\0\\0", Count(3))])

A row's key is the kernel's bytes; `decode(schema.key, key, resolver)` makes a value of it. A scalar map's row has the key b"".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOENT

import numpy as np

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.map import BpfMap, Chunk, Update
from kubebpf.agent.session.reduce import Bytes, cells
from kubebpf.compiler.artifact.cells import Cell, Extreme, Last
from kubebpf.compiler.artifact.decode import Resolver, decode
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.types import DAggregate

_FIRST = bytes(4)  # the key of an array's only entry
_TAKEN = 4096  # keys that are emptied before their rows are made
_FLAG = 8  # bytes of the flag at `set_offset`


@dataclass(frozen=True, slots=True)
class MapState:
    """A map's contents at one moment.

    Args:
        schema: of the map.
        rows: key bytes and cell, in the kernel's order; a key comes once.
    """

    schema: MapSchema
    rows: list[tuple[bytes, Cell]]


def read(schema: MapSchema, source: BpfMap, resolver: Resolver, unset: bool = False) -> MapState:
    """Read a map and add up its CPUs.

    Every key that stays in the map while it is read is in the result once, with a value that it had in that time
    (`BpfMap.chunks`). Values of different keys, and of different CPUs, may be of slightly different moments.

    Args:
        schema: of the map.
        source: the kernel's map.
        resolver: for plain values that bytes alone do not tell.
        unset: with a min or max that no CPU has set (after zero()) as 0, as print() shows it; else there is no row for it.

    Raises:
        LibbpfError: the map cannot be read.
    """
    return MapState(schema, list(rows(schema, source, resolver, unset)))


def rows(schema: MapSchema, source: BpfMap, resolver: Resolver, unset: bool = False) -> Iterator[tuple[bytes, Cell]]:
    """As `read`, row by row: only a piece of the map is in memory at a time."""
    for chunk in source.chunks():
        yield from _rows(schema, source, chunk, resolver, unset)


def drain(schema: MapSchema, source: BpfMap, resolver: Resolver, unset: bool = False) -> MapState:
    """Read a map and empty it: print(@m) and clear(@m) in one.

    Each key is removed together with its last value, so that what a program counts meanwhile is either in the result or, under
    a new key, in the map; only an update that a CPU is in the middle of at that instant goes into what was removed, and is lost.
    Scalar maps are arrays, which have no such step: they are read, and then set to zero.

    Args, raises: as `read`.
    """
    return MapState(schema, list(drained(schema, source, resolver, unset)))


def drained(schema: MapSchema, source: BpfMap, resolver: Resolver, unset: bool = False) -> Iterator[tuple[bytes, Cell]]:
    """As `drain`, row by row: of the whole map only the keys are in memory."""
    if schema.set_offset is not None:
        state = read(schema, source, resolver, unset)
        clear(schema, source)
        yield from state.rows
        return
    size = source.info.key_size
    keys = b"".join(chunk.keys for chunk in source.chunks())
    for start in range(0, len(keys), size * _TAKEN):
        some = (keys[at : at + size] for at in range(start, min(start + size * _TAKEN, len(keys)), size))
        taken = [(key, value) for key in some if (value := source.take(key)) is not None]
        if taken:
            chunk = Chunk(len(taken), b"".join(key for key, _ in taken), b"".join(value for _, value in taken))
            yield from _rows(schema, source, chunk, resolver, unset)


def clear(schema: MapSchema, target: BpfMap) -> None:
    """Empty a map. Keys that come while it runs may stay.

    Raises:
        LibbpfError: the map cannot be changed.
    """
    if schema.set_offset is not None:
        target.update(_FIRST, bytes(target.value_bytes))
        return
    for key in list(target.keys()):
        target.delete(key)


def zero(schema: MapSchema, target: BpfMap) -> None:
    """Set all values to 0 bytes; keys stay, and a scalar map stays set.

    Counts that come while it runs may be lost with the old ones.

    Raises:
        LibbpfError: the map cannot be changed.
    """
    if schema.set_offset is not None:
        target.update(_FIRST, _zeroed(schema.set_offset, target))
        return
    nothing = bytes(target.value_bytes)
    for key in list(target.keys()):
        _overwrite(target, key, nothing)


def _overwrite(target: BpfMap, key: bytes, value: bytes) -> None:
    try:
        target.update(key, value, Update.EXISTING)
    except LibbpfError as error:
        if error.errno != ENOENT:  # The program deleted the key meanwhile.
            raise


def _zeroed(set_offset: int, target: BpfMap) -> bytes:
    value = np.frombuffer(target.lookup(_FIRST) or bytes(target.value_bytes), np.uint8).reshape(target.cpus, target.stride)
    kept = np.zeros_like(value)
    kept[:, set_offset : set_offset + _FLAG] = value[:, set_offset : set_offset + _FLAG]
    return kept.tobytes()


def _rows(schema: MapSchema, source: BpfMap, chunk: Chunk, resolver: Resolver, unset: bool) -> Iterator[tuple[bytes, Cell]]:
    values = np.frombuffer(chunk.values, np.uint8).reshape(chunk.count, source.cpus, source.stride)
    for key, cell in zip(_keys(schema, chunk), _cells(schema, values, resolver, unset), strict=True):
        if cell is not None:
            yield key, cell


def _keys(schema: MapSchema, chunk: Chunk) -> list[bytes]:
    if schema.key is None:
        return [b""] * chunk.count
    size = len(chunk.keys) // chunk.count
    return [chunk.keys[i * size : (i + 1) * size] for i in range(chunk.count)]


def _cells(schema: MapSchema, values: Bytes, resolver: Resolver, unset: bool) -> list[Cell | None]:
    found: list[Cell | None]
    if isinstance(schema.value, DAggregate):
        found = cells(schema.value, values)
        if unset:
            # Only min and max have cells that are not set.
            found = [Extreme(schema.value.kind, 0) if cell is None else cell for cell in found]
    else:
        # A plain value is in a map that all CPUs share.
        layout = schema.value
        found = [Last(decode(layout, row[0].tobytes(), resolver)) for row in values]
    if schema.set_offset is None:
        return found
    start = schema.set_offset
    return [cell if row[:, start : start + _FLAG].any() else None for cell, row in zip(found, values, strict=True)]
