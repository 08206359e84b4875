"""interval, profile and software: they fire at their rate, where they should."""

from __future__ import annotations

import os
import time

import pytest

from kubebpf.compiler.artifact.cells import Count
from support.programs import result, running

pytestmark = pytest.mark.kernel


def busy(seconds: float) -> None:
    """Keep one CPU at work: a sleeping one may have no ticks."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def total(cells: object) -> int:
    assert isinstance(cells, dict)
    return sum(cell.count for cell in cells.values() if isinstance(cell, Count))


@pytest.mark.parametrize("rate", ["ms:10", "us:10000", "hz:100", "10ms", "10000000"])
def test_intervals(rate: str) -> None:
    with running(f"interval:{rate} {{ @ = count(); @cpu[cpu] = count(); }}") as session:
        time.sleep(0.5)
    ran = result(session)
    assert 35 <= total(ran.maps["@"]) <= 55
    assert len(ran.maps["@cpu"]) == 1


def test_a_profile_ticks_on_every_cpu() -> None:
    before = os.sched_getaffinity(0)
    with running("profile:hz:200 { @[cpu] = count(); }") as session:
        try:
            for cpu in before:
                os.sched_setaffinity(0, {cpu})
                busy(0.3)
        finally:
            os.sched_setaffinity(0, before)
    ran = result(session)
    assert set(ran.maps["@"]) == before
    for cell in ran.maps["@"].values():
        assert isinstance(cell, Count)
        assert 30 <= cell.count <= 200


def test_page_faults_are_counted() -> None:
    pages = 500
    with running(
        f"software:page-faults:1 /pid == {os.getpid()}/ {{ @ = count(); "
        f"}} software:faults:100 /pid == {os.getpid()}/ {{ @hundreds = count(); }}"
    ) as session:
        memory = bytearray(0)
        import mmap

        with mmap.mmap(-1, pages * mmap.PAGESIZE) as area:
            for page in range(pages):
                area[page * mmap.PAGESIZE] = 1
        assert not memory
    ran = result(session)
    assert pages <= total(ran.maps["@"]) <= pages + 400
    assert total(ran.maps["@hundreds"]) >= pages // 100 - 1


def test_context_switches() -> None:
    with running(f"software:cs:1 /pid == {os.getpid()}/ {{ @ = count(); }}") as session:
        for _ in range(50):
            time.sleep(0.001)
    assert 45 <= total(result(session).maps["@"]) <= 120


def test_exit_from_a_timer_reaches_the_session() -> None:
    with running("interval:ms:5 { @ = count(); if ((uint64)@ >= 3) { exit(4); } }") as session:
        deadline = time.monotonic() + 5
        while session.exit is None and time.monotonic() < deadline:
            session.poll(0.05)
    assert session.exit is not None
    assert session.exit.code == 4
    assert total(result(session).maps["@"]) >= 3


def test_a_map_that_programs_of_several_kinds_feed_loses_nothing() -> None:
    calls = 200_000
    text = f"""tracepoint:syscalls:sys_enter_getppid /pid == {os.getpid()}/ {{ @ = count(); @calls = count(); @s = sum(3); }}
        profile:hz:5000 {{ @ = count(); @ticks = count(); @s = sum(3); }}"""
    with running(text) as session:
        for _ in range(calls):
            os.getppid()
    ran = result(session)
    ticks = total(ran.maps["@ticks"])
    assert total(ran.maps["@calls"]) == calls
    assert ticks > 0
    assert total(ran.maps["@"]) == calls + ticks
