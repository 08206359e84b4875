"""Reading and writing a kernel map: bytes in, bytes out.

    map.lookup(key)            -> the value; of a per-CPU map, all CPUs' values, each `stride` bytes
    for chunk in map.chunks(): -> everything, as (count, keys, values)

Only a descriptor is needed, so a pinned map is read in the same way as one of an open object.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import MapInfo, map_info
from kubebpf.agent.libbpf.library import check, lib, possible_cpus
from kubebpf.agent.libbpf.pins import opened


class MapType(IntEnum):
    """enum bpf_map_type, those that are used here."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    RINGBUF = 27


class Update(IntEnum):
    """Flags of an update: whichever, only new keys, only keys that are there."""

    ANY = 0
    NEW = 1
    EXISTING = 2


_PER_CPU = {MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH}
_CHUNK_BYTES = 1 << 19  # of a batch: what is made of it in Python is ten times as large
_NO_BATCH = {errno.EINVAL, errno.ENOTSUP, 524}  # 524: the kernel's ENOTSUPP, for map types without batches
_NO_TAKING = _NO_BATCH
_RESTARTS = 1000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some entries of a map: `count` keys of key_size bytes one after the other, and as many values of `BpfMap.value_bytes`."""

    count: int
    keys: bytes
    values: bytes


class BpfMap:
    """A map of the kernel. Whoever made it closes the descriptor: the object it came from, or `close` of an opened pin."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd, self.name = fd, name
        self.info: MapInfo = map_info(fd)
        self.per_cpu = self.info.type in _PER_CPU
        # copy_map_value_long and its kin (kernel/bpf/hashtab.c, arraymap.c) give each possible CPU's value rounded up to 8 bytes.
        self.stride = (self.info.value_size + 7) // 8 * 8 if self.per_cpu else self.info.value_size
        self.cpus = possible_cpus() if self.per_cpu else 1

    @classmethod
    def open(cls, path: Path, name: str = "") -> BpfMap:
        """Take up a pinned map; close it with `close`.

        Raises:
            LibbpfError: there is no pin of a map.
        """
        fd = opened(path)
        try:
            return cls(fd, name or path.name)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Close the descriptor of an opened pin."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def value_bytes(self) -> int:
        """The bytes of one entry's value as user space sees it: all CPUs."""
        return self.stride * self.cpus

    def lookup(self, key: bytes) -> bytes | None:
        """The value under a key, or None.

        Raises:
            LibbpfError: for any reason but a missing key.
        """
        value = ffi.new("char[]", self.value_bytes)
        result = lib().bpf_map_lookup_elem(self.fd, self._key(key), value)
        if result == -errno.ENOENT:
            return None
        check(result, "bpf_map_lookup_elem", subject=self.name)
        return bytes(ffi.buffer(value))

    def update(self, key: bytes, value: bytes, flags: Update = Update.ANY) -> None:
        """Set the value under a key.

        Args:
            key: key_size bytes.
            value: value_bytes bytes.
            flags: whether the key must or must not be there.

        Raises:
            LibbpfError: EEXIST, ENOENT by the flags; E2BIG when the map is full.
        """
        if len(value) != self.value_bytes:
            raise ValueError(f"a value of {self.name} has {self.value_bytes} bytes, not {len(value)}")
        check(lib().bpf_map_update_elem(self.fd, self._key(key), value, flags), "bpf_map_update_elem", subject=self.name)

    def delete(self, key: bytes) -> bool:
        """Remove a key. Returns whether it was there.

        Raises:
            LibbpfError: for any reason but a missing key.
        """
        result = lib().bpf_map_delete_elem(self.fd, self._key(key))
        if result == -errno.ENOENT:
            return False
        check(result, "bpf_map_delete_elem", subject=self.name)
        return True

    def take(self, key: bytes) -> bytes | None:
        """Remove a key and give its last value, or None.

        In one step where the kernel can (BPF_MAP_LOOKUP_AND_DELETE_ELEM of hash maps, Linux 5.14), in two elsewhere.

        Raises:
            LibbpfError: for any reason but a missing key.
        """
        value = ffi.new("char[]", self.value_bytes)
        result = lib().bpf_map_lookup_and_delete_elem(self.fd, self._key(key), value)
        if -result in _NO_TAKING:
            found = self.lookup(key)
            self.delete(key)
            return found
        if result == -errno.ENOENT:
            return None
        check(result, "bpf_map_lookup_and_delete_elem", subject=self.name)
        return bytes(ffi.buffer(value))

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after `key` (the first after None), or None at the end.

        The kernel's promise is weak (BPF_MAP_GET_NEXT_KEY in bpf(2)): when `key` has left the map, the first key is given again.
        """
        following = ffi.new("char[]", self.info.key_size)
        result = lib().bpf_map_get_next_key(self.fd, ffi.NULL if key is None else self._key(key), following)
        if result == -errno.ENOENT:
            return None
        check(result, "bpf_map_get_next_key", subject=self.name)
        return bytes(ffi.buffer(following))

    def keys(self) -> Iterator[bytes]:
        """Every key, by way of chunks."""
        size = self.info.key_size
        for chunk in self.chunks():
            yield from (chunk.keys[i * size : (i + 1) * size] for i in range(chunk.count))

    def chunks(self) -> Iterator[Chunk]:
        """All entries, whatever the programs do meanwhile.

        In batches (BPF_MAP_LOOKUP_BATCH, Linux 5.6; per-CPU arrays 5.13) the kernel walks the buckets of a hash map in order,
        each under its lock (__htab_map_lookup_and_delete_batch): a key that is there during the whole walk comes exactly once;
        one that is added or removed meanwhile comes once or not at all. Where the kernel has no batches, the keys are walked
        one by one: see `one_by_one`.

        Raises:
            LibbpfError: the map cannot be read.
        """
        first = self._batch(ffi.NULL, self._chunk_entries())
        if first is None:
            yield from self.one_by_one()
            return
        while True:
            chunk, position, end = first
            if chunk.count:
                yield chunk
            if end:
                return
            again = self._batch(position, self._chunk_entries())
            assert again is not None, "a walk that began in batches goes on in batches"
            first = again

    def one_by_one(self) -> Iterator[Chunk]:
        """All entries by get_next_key, each key once.

        When a program deletes the key at which the walk stands, the kernel starts again at the first key; keys already seen are
        passed over then, so nothing that stays in the map is missed. A map that changes faster than it is read is given up
        after a thousand restarts.

        Raises:
            LibbpfError: EAGAIN after too many restarts, or the map cannot be read.
        """
        seen: set[bytes] = set()
        restarts, key = 0, self.next_key(None)
        while key is not None:
            if key not in seen:
                seen.add(key)
                if (value := self.lookup(key)) is not None:
                    yield Chunk(1, key, value)
            elif (restarts := restarts + 1) > _RESTARTS * self.info.max_entries:
                raise LibbpfError(errno.EAGAIN, "bpf_map_get_next_key", subject=self.name)
            key = self.next_key(key)

    def _chunk_entries(self) -> int:
        return max(1, min(self.info.max_entries, _CHUNK_BYTES // (self.value_bytes + self.info.key_size)))

    def _batch(self, position: Any, room: int) -> tuple[Chunk, Any, bool] | None:
        """One batch from `position`: its entries, the next position, whether it was the last. None: no batches here."""
        while True:
            # Hash maps keep a u32 bucket number in the position, others a key.
            after = ffi.new("char[]", max(self.info.key_size, 4))
            keys, values = ffi.new("char[]", room * self.info.key_size), ffi.new("char[]", room * self.value_bytes)
            count = ffi.new("__u32 *", room)
            result = lib().bpf_map_lookup_batch(self.fd, position, after, keys, values, count, ffi.NULL)
            if result == -errno.ENOSPC:  # One bucket has more entries than there is room: nothing was passed over.
                room *= 2
                continue
            if position == ffi.NULL and -result in _NO_BATCH:
                return None
            if result != -errno.ENOENT:
                check(result, "bpf_map_lookup_batch", subject=self.name)
            chunk = Chunk(
                count[0],
                bytes(ffi.buffer(keys, count[0] * self.info.key_size)),
                bytes(ffi.buffer(values, count[0] * self.value_bytes)),
            )
            return chunk, after, result == -errno.ENOENT

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.info.key_size:
            raise ValueError(f"a key of {self.name} has {self.info.key_size} bytes, not {len(key)}")
        return key
