"""kopf is run again when a watch of it fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import kopf
import pytest

from kubebpf.operator import framework


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
