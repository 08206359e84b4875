"""kopf is run again when a watch of it fails."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable
from typing import Any

import kopf
import pytest
from kopf._cogs.aiokits import aiotoggles

from kubebpf.operator import framework, handlers


def test_a_failed_watch_starts_everything_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    runs: list[Any] = []

    async def operator(stop_flag: asyncio.Event, memo: kopf.Memo, **_: Any) -> None:
        runs.append(memo)
        if len(runs) == 3:
            return
        memo.left_over = True
        try:
            raise RuntimeError("404 page not found")
        except RuntimeError:
            logging.getLogger(framework.ORCHESTRATION).exception("Watcher for x has failed: 404 page not found")
        await asyncio.wait_for(stop_flag.wait(), 5)

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(framework, "PAUSES", (0.0, 0.01))
    asyncio.run(framework.run(memo=kopf.Memo(config="ours"), clusterwide=True))
    assert len(runs) == 3
    assert [memo.config for memo in runs] == ["ours"] * 3
    assert "left_over" not in runs[2]
    assert "Traceback" not in caplog.text


def test_other_records_pass() -> None:
    told: list[str] = []
    record = logging.LogRecord("kopf", logging.ERROR, "", 0, "something", None, None)
    assert framework.GaveUp(told.append).filter(record) and not told


def test_objects_that_wait_for_an_index_are_woken_once() -> None:
    """Each of kopf's objects waits until all are indexed; a thousand of them are no million of wake-ups."""
    framework.wake_less()
    asked = 0

    def every(states: Iterable[bool]) -> bool:
        nonlocal asked
        asked += 1
        return all(states)

    async def index(toggles: aiotoggles.ToggleSet, toggle: aiotoggles.Toggle) -> None:
        await toggles.drop_toggle(toggle)
        await toggles.wait_for(True)

    async def main() -> None:
        toggles = aiotoggles.ToggleSet(every)
        listing = await toggles.make_toggle()
        tasks = []
        for _ in range(1000):
            tasks.append(asyncio.create_task(index(toggles, await toggles.make_toggle())))
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        await toggles.drop_toggle(listing)
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert toggles.is_on()

    asyncio.run(main())
    assert asked < 20_000


def test_no_handler_runs_in_a_thread_of_its_own() -> None:
    """kopf calls plain functions in threads; a queue that is changed while a task goes through it ends the operator."""
    made = {name: made for name, made in vars(handlers).items() if name.startswith("index_") or name.endswith("_changed")}
    assert len(made) >= 8
    assert [name for name, function in made.items() if not inspect.iscoroutinefunction(function)] == []
