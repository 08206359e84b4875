"""Which maps have their memory taken at the load."""

from __future__ import annotations

import pytest

from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.agent.session.errors import MemoryLimitError
from kubebpf.agent.session.memory import AFFORDABLE, can_preallocate, map_bytes
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.types import DAggregate, DInt
from support.programs import compiled


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


MANY = """config = { max_map_keys=1000000 }
tracepoint:syscalls:sys_enter_getppid { @last[tid] = 1; @n[tid] = count(); @few = count(); printf("%d", 1); }"""


@pytest.mark.kernel
def test_a_million_keys_are_refused_with_a_reason_or_fit() -> None:
    artifact = compiled(MANY)
    with pytest.raises(MemoryLimitError, match=r"64.0 MiB are left .* the largest is @n with \d+.\d MiB: a smaller max_map_keys"):
        Session(artifact, Options(memory_bytes=64 << 20)).__enter__()
    with Session(artifact, Options(memory_bytes=512 << 20)) as session:
        taken = session.memory()
    with pytest.raises(MemoryLimitError) as refused:
        Session(artifact, Options(memory_bytes=1)).__enter__()
    # What is foretold is what the kernel then tells.
    assert f"the maps take {sum(taken.values()) / (1 << 20):.0f}" in str(refused.value).replace(".", " ")


@pytest.mark.kernel
def test_a_limit_keeps_maps_on_demand_that_would_be_taken_ahead() -> None:
    artifact = compiled("tracepoint:syscalls:sys_enter_getppid { @h[tid] = hist(tid); }")
    with Session(artifact) as session:
        ahead = session.memory()["@h"]
    with Session(artifact, Options(memory_bytes=1 << 20)) as session:
        assert session.memory()["@h"] < 1 << 20 < ahead
