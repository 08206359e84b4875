"""Which maps have their memory taken at the load."""

from __future__ import annotations

import pytest

from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.agent.session.memory import AFFORDABLE, can_preallocate, map_bytes
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.types import DAggregate, DInt


def histogram(storage: str = "percpu_hash", entries: int = 4096, value: int = 528, key: int = 4) -> MapSchema:
    hist = DAggregate("hist", True, value, (0,), "", value // 8)
    return MapSchema("@h", "AT_h", storage, DInt(32, False), hist, key, value, None, entries)


def test_a_per_cpu_value_counts_once_for_each_cpu() -> None:
    assert map_bytes(histogram(entries=10, value=12)) == 10 * (8 + 16 * possible_cpus())
    assert map_bytes(histogram("hash", entries=10, value=12)) == 10 * (8 + 16)
    assert map_bytes(histogram("hash", entries=10, value=8, key=1032)) == 10 * (1032 + 8)


@pytest.mark.parametrize("storage", ["array", "percpu_array", "lru_hash", "lru_percpu_hash"])
def test_only_hashes_have_the_choice(storage: str) -> None:
    assert not can_preallocate(histogram(storage, entries=1))


def test_what_is_too_much_is_taken_on_demand() -> None:
    most = AFFORDABLE // (8 + 528 * possible_cpus())
    assert can_preallocate(histogram(entries=most))
    assert not can_preallocate(histogram(entries=most + 1))
