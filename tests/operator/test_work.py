"""The queue and the buckets: nothing is forgotten, nothing runs twice at a time, errors wait longer and longer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from kubebpf.operator import work
from kubebpf.operator.work import Bucket, Queue

Look = Callable[[str], Awaitable[float | None]]


def test_a_bucket_gives_a_burst_and_then_one_a_period() -> None:
    now = 100.0
    bucket = Bucket(3, 10.0, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    assert bucket.wait() == pytest.approx(10.0)
    now = 105.0
    assert bucket.wait() == pytest.approx(5.0) and not bucket.take()
    now = 110.0
    assert bucket.take() and not bucket.take()
    now = 1000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def run(look: Look, drive: Callable[[Queue], Awaitable[None]]) -> None:
    async def main() -> None:
        queue = Queue(look)
        task = asyncio.create_task(queue.run())
        try:
            await drive(queue)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_burst_of_marks_is_few_looks_and_the_last_mark_is_seen() -> None:
    looks: list[int] = []
    state = 0

    async def look(key: str) -> None:
        looks.append(state)

    async def drive(queue: Queue) -> None:
        nonlocal state
        for _ in range(200):
            state += 1
            queue.mark("a")
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.3)

    run(look, drive)
    assert looks[-1] == 200
    assert len(looks) < 20


def test_one_key_never_runs_twice_at_a_time_and_others_do_not_wait() -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: list[str] = []

    async def look(key: str) -> None:
        running[key] += 1
        most[key] = max(most[key], running[key])
        await asyncio.sleep(0.3 if key == "slow" else 0)
        running[key] -= 1
        done.append(key)

    async def drive(queue: Queue) -> None:
        queue.mark("slow")
        await asyncio.sleep(0.05)
        queue.mark("slow")
        queue.mark("quick")
        await asyncio.sleep(0.1)
        assert done == ["quick"]
        await asyncio.sleep(2.0)

    run(look, drive)
    assert most == Counter({"slow": 1, "quick": 1})
    assert done.count("slow") == 2, "marked while it ran: looked at again"


def test_the_earliest_mark_counts_and_a_look_can_ask_for_another() -> None:
    times: list[float] = []

    async def look(key: str) -> float | None:
        times.append(time.monotonic())
        return 0.2 if len(times) == 1 else None

    async def drive(queue: Queue) -> None:
        queue.mark("a", 5)
        queue.mark("a", 0.1)
        queue.mark("a", 9)
        await asyncio.sleep(0.7)

    began = time.monotonic()
    run(look, drive)
    assert len(times) == 2
    assert 0.1 <= times[0] - began < 0.2
    assert 0.2 <= times[1] - times[0] < 0.4


def test_errors_are_tried_again_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BACKOFF", (0.05, 0.4))
    times: list[float] = []

    async def look(key: str) -> None:
        times.append(time.monotonic())
        raise RuntimeError("no answer")

    async def drive(queue: Queue) -> None:
        queue.mark("a")
        await asyncio.sleep(2.5)

    run(look, drive)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] < 0.2 < max(gaps) < 0.8
    assert 5 <= len(times) <= 20
