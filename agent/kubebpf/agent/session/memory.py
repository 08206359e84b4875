"""How much memory a map takes on this node, and whether it is taken at the load.

A hash map that is not preallocated takes memory for a key when a program makes it, from a small reserve of each CPU that the
kernel refills behind the program's back (kernel/bpf/memalloc.c). Many new keys in a burst find that reserve empty: the
update fails with ENOMEM, which is counted, but the event is lost. Histograms under a key are large, and a node with many
CPUs cannot take 4096 of them for each; stacks are large keys, of which a program may ask a million. So the object leaves them on
demand, and the node, which knows its CPUs, takes the memory where it can afford it.
"""

from __future__ import annotations

from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.compiler.artifact.manifest import MapSchema

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
