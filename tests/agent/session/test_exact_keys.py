"""Counts stay exact where code is fast: keys that two CPUs make at the same moment, and the slot of every power of two."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import pytest

from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.cells import Average, Count, Extreme, Histogram, Sum
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script

pytestmark = pytest.mark.kernel
KEYS = 2000
FIRST = 1_000_000  # above every process id, so that nobody else asks for these
LOWEST = -(1 << 63)


def session_of(text: str, *args: str) -> Session:
    done = compile_script(text, KernelView.running(), CompileOptions())
    assert done.artifact is not None, done.report.errors
    return Session(Artifact.read(done.artifact.elf), Options(args=args))


def ask(cpu: int, together: Barrier) -> None:
    os.sched_setaffinity(0, {cpu})
    for i in range(KEYS):
        if i % 20 == 0:
            together.wait(30)
        with suppress(OSError):
            os.getpgid(FIRST + i)


def test_keys_made_by_several_cpus_at_once() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:4]
    text = f"""config = {{ max_map_keys = 8192 }}
    tracepoint:syscalls:sys_enter_getpgid /args.pid >= {FIRST}/ {{
        @n[args.pid] = count(); @s[args.pid] = sum(args.pid); @a[args.pid] = avg(args.pid);
        @low[args.pid] = min(args.pid); @high[args.pid] = max(args.pid); @h[args.pid] = hist(args.pid); @last[args.pid]++;
    }}"""
    context = get_context("fork")
    together = context.Barrier(len(cpus))
    with session_of(text) as session:
        session.start()
        workers = [context.Process(target=ask, args=(cpu, together)) for cpu in cpus]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        session.finish()
        found = {s.schema.name: {int.from_bytes(k, "little"): c for k, c in s.rows} for s in session.maps(PlainResolver())}
    keys, n = range(FIRST, FIRST + KEYS), len(cpus)
    assert found["@n"] == {k: Count(n) for k in keys}
    assert found["@s"] == {k: Sum(n * k) for k in keys}
    assert found["@a"] == {k: Average(n * k, n) for k in keys}
    assert found["@low"] == {k: Extreme("min", k) for k in keys}
    assert found["@high"] == {k: Extreme("max", k) for k in keys}
    assert found["@h"] == {k: Histogram(((k.bit_length() + 1, n),)) for k in keys}
    assert {k: cell.value for k, cell in found["@last"].items()} == dict.fromkeys(keys, n)  # type: ignore[union-attr]


def test_slots_of_all_powers() -> None:
    text = """tracepoint:syscalls:sys_enter_lseek /pid == $1 && args.fd == 12345/ {
        @u = hist((uint64)args.offset); @s = hist((int64)args.offset); @fine = hist((uint64)args.offset, 3);
    }"""
    values = [0, LOWEST, -1, *(v for k in range(63) for v in ((1 << k) - 1, 1 << k, (1 << k) + 1, (1 << k) * 7 // 4))]
    values = [v for v in values if v < 1 << 63]
    with session_of(text, str(os.getpid())) as session:
        session.start()
        for value in values:
            with suppress(OSError):
                os.lseek(12345, value, os.SEEK_SET)
        session.finish()
        found = {state.schema.name: state.rows[0][1] for state in session.maps(PlainResolver())}
    whole = [v % (1 << 64) for v in values]
    assert found["@u"] == slots(v.bit_length() + 1 for v in whole)
    assert found["@s"] == slots(0 if v < 0 else v.bit_length() + 1 for v in values)
    assert found["@fine"] == slots(fine(v) for v in whole)


def fine(value: int) -> int:
    """The slot with 8 slots a power: the power, and the three bits behind the highest."""
    if value < 8:
        return value + 1
    power = value.bit_length() - 1
    return (power - 2) * 8 + (value >> (power - 3) & 7) + 1


def slots(numbers: object) -> Histogram:
    return Histogram(tuple(sorted(Counter(numbers).items())))  # type: ignore[call-overload]
