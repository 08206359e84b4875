"""A report's keys of a large map: the same as of the whole map, in little memory."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.output.dispatch import Dispatcher, map_state
from kubebpf.agent.output.joined import join_equal
from kubebpf.agent.output.largest import _of_words, largest
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.order import ordered
from kubebpf.compiler.artifact.state import Entry, Key, MapState, of_schema
from kubebpf.compiler.artifact.types import DAggregate, DResolved
from support.programs import compiled

KINDS: dict[str, tuple[DAggregate, Callable[[random.Random], Cell]]] = {
    "count": (DAggregate("count", False, 8), lambda r: Count(r.randrange(1, 9))),
    "avg": (DAggregate("avg", True, 16), lambda r: Average(r.randrange(-99, 99), r.randrange(1, 9))),
    "min": (DAggregate("min", True, 16), lambda r: Extreme("min", r.randrange(-99, 99))),
    "max": (DAggregate("max", False, 16), lambda r: Extreme("max", r.randrange(99))),
    "hist": (DAggregate("hist", True, 528, (0,), "", 66), lambda r: Histogram(((r.randrange(60), r.randrange(1, 9)),))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_readings_find_what_one_would(kind: str) -> None:
    """More keys in words than there is room for, each of several rows."""
    value, make = KINDS[kind]
    schema = MapSchema("@", "AT_", "hash", DResolved("ksym", 8), value, 8, value.size, None, 10000)
    for seed in range(2):
        chance = random.Random(seed)
        rows: list[tuple[Key, Cell]] = [((f"f{chance.randrange(3000)}",), make(chance)) for _ in range(9000)]
        # Those that are to be found stand out, but in none of their rows.
        rows += [((f"large{n}",), cell) for n in range(10) for cell in _large(kind, n)]
        chance.shuffle(rows)
        whole = join_equal(of_schema(schema, [Entry(key, cell) for key, cell in rows]))
        wanted = ordered(whole)[::-1][:10]
        found = _of_words(schema, lambda rows=rows: iter(rows), 10, room=500)  # type: ignore[misc]
        assert list(found.entries) == wanted
        assert found.dropped == len(whole.entries) - 10
        assert _of_words(schema, lambda rows=rows: iter(rows), 10, room=10**6) == found  # type: ignore[misc]


def _large(kind: str, n: int) -> list[Cell]:
    match kind:
        case "count":
            return [Count(8) for _ in range(100 + n)]
        case "avg":
            return [Average(1000 + n, 1) for _ in range(5)]
        case "hist":
            return [Histogram(((m % 60, 5),)) for m in range(100 + n)]
        case _:
            return [Extreme(kind, 1000 + n)]


MAPS = """config = { max_map_keys = 500000 }
tracepoint:syscalls:sys_enter_getppid { @n[1] = count(); @s["x"] = sum(1); @h[1] = hist(1); @one = count();
    @last[tid, pid] = 1; }"""


@pytest.mark.kernel
def test_the_largest_of_a_real_map() -> None:
    with Session(compiled(MAPS)) as session:
        fill(session, "@n", 20000)
        fill(session, "@last", 3000)
        for name in ("@n", "@s", "@h", "@one", "@last"):
            for most in (0, 1, 20, 100_000):
                whole = map_state(session, name, PlainResolver())
                found = largest(session, name, PlainResolver(), most)
                assert by_rank(found) == by_rank(whole)[: most if not whole.scalar else None], name
                assert found.dropped == len(whole.entries) - len(found.entries)


@pytest.mark.kernel
def test_a_node_prints_so_many_keys_of_a_large_map_and_says_so() -> None:
    said: list[tuple[str, str]] = []
    program = "config = { max_map_keys = 500000 } begin { @n[(uint64)pid] = count(); @few = count(); print(@n); print(@few); }"
    with Session(compiled(program)) as session:
        session.start()
        fill(session, "@n", 3000)
        dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, line: said.append((kind, line))), most=1000)
        for record in session.poll(0.1):
            if record.event.kind == "print_map":
                dispatch(record)
    (warning,) = [line for kind, line in said if kind == "warnf"]
    assert "2001 more keys of @n are not printed, the smallest" in warning
    printed = "".join(line for kind, line in said if kind == "print")
    assert printed.count("@n[") == 1000 and "@few: 1" in printed
    numbers = [int(line.rpartition(" ")[2]) for line in printed.splitlines() if line.startswith("@n")]
    assert numbers == sorted(numbers) and numbers[0] > numbers[-1] / 2 > 0, "the largest third"


@pytest.mark.kernel
def test_a_map_that_is_emptied_gives_the_same() -> None:
    with Session(compiled(MAPS)) as session:
        for name, most in (("@n", 20), ("@last", 100_000), ("@one", 1)):
            if name != "@one":
                fill(session, name, 10_000)
            wanted = largest(session, name, PlainResolver(), most)
            found = largest(session, name, PlainResolver(), most, empty=True)
            assert (by_rank(found), found.dropped) == (by_rank(wanted), wanted.dropped)
            assert not map_state(session, name, PlainResolver()).entries


def by_rank(state: MapState) -> list[Entry]:
    return ordered(state)[::-1]


def fill(session: Session, name: str, count: int) -> None:
    """Write keys as the programs would: many equal values, so that the keys decide."""
    source = session.loaded.maps[session.schema(name).symbol]
    for n in range(count):
        key = (n * 7919 % 1_000_003).to_bytes(4, "little").ljust(source.info.key_size, b"\0")
        value = (n % 50).to_bytes(8, "little").ljust(source.stride, b"\0") * source.cpus
        while not _updated(source, key, value):
            time.sleep(0.001)


def _updated(source: BpfMap, key: bytes, value: bytes) -> bool:
    """False when the kernel's reserve for new keys has run dry; it refills it."""
    try:
        source.update(key, value)
    except LibbpfError as error:
        if error.errno != errno.ENOMEM:
            raise
        return False
    return True


MEASURE = """
import resource, sys, time
import numpy
from agent.output.test_largest import fill
from kubebpf.agent.output.largest import largest
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.decode import PlainResolver
from support.programs import compiled
text, count = sys.argv[1], int(sys.argv[2])
with Session(compiled("config = { max_map_keys = 500000 } tracepoint:syscalls:sys_enter_getppid { " + text + " }")) as session:
    fill(session, "@", 1000)
    largest(session, "@", PlainResolver(), 20)
    fill(session, "@", count)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    state = largest(session, "@", PlainResolver(), 20)
    took = time.monotonic() - began
    print(len(state.entries) + state.dropped, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024, took)
"""


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("text", "count", "most_mib"),
    [("@[tid, pid] = count();", 400_000, 8), ("@[tid, pid] = hist(tid);", 30_000, 8), ("@[ksym(tid)] = count();", 400_000, 48)],
    ids=["numbers", "histograms", "symbols"],
)
def test_memory_does_not_grow_with_the_map(text: str, count: int, most_mib: int) -> None:
    """Symbols take 24 bytes a key, and some for sorting; 400,000 keys as objects would be 200 MiB and more."""
    here = Path(__file__).parents[2]
    command = [sys.executable, "-c", MEASURE, text, str(count)]
    environment = os.environ | {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{here}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here, env=environment)
    found, mib, seconds = done.stdout.split()
    print(f"{found} keys of {text}: {mib} MiB, {float(seconds):.1f} s")
    assert int(found) == count and int(mib) <= most_mib
