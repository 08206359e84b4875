"""How much memory a map takes on this node, and whether it is taken at the load.

A hash map that is not preallocated takes memory for a key when a program makes it, from a small reserve of each CPU that the
kernel refills behind the program's back (kernel/bpf/memalloc.c). Many new keys in a burst find that reserve empty: the
update fails with ENOMEM, which is counted, but the event is lost. Histograms under a key are large, and a node with many
CPUs cannot take 4096 of them for each; stacks are large keys, of which a program may ask a million. So the object leaves them on
demand, and the node, which knows its CPUs, takes the memory where it can afford it.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.agent.libbpf.map import MapType
from kubebpf.agent.libbpf.object import BpfObject, MapShape
from kubebpf.agent.session.errors import MemoryLimitError
from kubebpf.compiler.artifact.manifest import Manifest, MapSchema

AFFORDABLE = 32 << 20  # bytes for one map
_ALIGN = 8  # of per-CPU values (htab_elem, kernel/bpf/hashtab.c)


def map_bytes(schema: MapSchema) -> int:
    """The bytes of all keys and values of a full map, over all CPUs that the node may have."""
    key = (schema.key_size + _ALIGN - 1) // _ALIGN * _ALIGN
    value = (schema.value_size + _ALIGN - 1) // _ALIGN * _ALIGN
    copies = possible_cpus() if schema.storage.startswith(("percpu", "lru_percpu")) else 1
    return (key + value * copies) * schema.max_entries


def can_preallocate(schema: MapSchema) -> bool:
    """Whether it is a hash map whose memory can be taken at the load."""
    return schema.storage in ("hash", "percpu_hash") and map_bytes(schema) <= AFFORDABLE


_ELEMENT = 48  # struct htab_elem without key and value (kernel/bpf/hashtab.c)
_BUCKET, _POINTER = 16, 8
_PER_CPU_HASHES = (MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)
_HASHES = (MapType.HASH, MapType.LRU_HASH, *_PER_CPU_HASHES)


def loaded_bytes(shape: MapShape) -> int:
    """About what a map takes as soon as it is loaded."""
    cpus, entries = possible_cpus(), shape.max_entries
    key, value = (-(-size // _ALIGN) * _ALIGN for size in (shape.key_size, shape.value_size))
    if shape.type == MapType.RINGBUF:
        return entries
    if shape.type == MapType.ARRAY:
        return entries * value
    if shape.type == MapType.PERCPU_ARRAY:
        return entries * (value * cpus + _POINTER)
    if shape.type not in _HASHES:
        return entries * _POINTER
    buckets = (1 << (max(entries, 1) - 1).bit_length()) * _BUCKET
    if not shape.preallocated:
        return buckets
    each = value * cpus + _POINTER if shape.type in _PER_CPU_HASHES else value
    return buckets + entries * (_ELEMENT + key + each)


def allot(opened: BpfObject, manifest: Manifest, limit: int | None) -> None:
    """Before the load: take memory for hash maps ahead where it can be afforded, and see that all stays within the limit.

    Args:
        opened: its maps have their sizes.
        limit: bytes; None for none.

    Raises:
        MemoryLimitError: the maps take more as soon as they are loaded.
    """
    names = {schema.symbol: schema.name for schema in manifest.maps}
    taken = {name: loaded_bytes(shape) for name, shape in opened.shapes().items()}
    check_memory({names.get(name, name): count for name, count in taken.items()}, limit)
    left = None if limit is None else limit - sum(taken.values())
    for schema in manifest.maps:
        if not can_preallocate(schema):
            continue
        more = 0 if opened.shapes()[schema.symbol].preallocated else map_bytes(schema)
        if left is None or more <= left:
            opened.preallocate(schema.symbol)
            left = None if left is None else left - more


def check_memory(taken: Mapping[str, int], limit: int | None) -> None:
    """See that maps stay within a limit.

    Args:
        taken: bytes by name.
        limit: for all of them; None for none.

    Raises:
        MemoryLimitError: they do not.
    """
    if limit is not None and sum(taken.values()) > limit:
        largest = max(taken, key=lambda name: taken[name])
        raise MemoryLimitError(sum(taken.values()), limit, largest, taken[largest])
