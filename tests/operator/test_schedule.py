"""When turns of a schedule come, what they are called and which of them are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cronsim import CronSimError

from kubebpf.operator.model import Trace, TraceKey, Uid, parse_spec
from kubebpf.operator.schedule import schedule_problem, surplus, turn, turn_name, turn_object

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_next_turn_and_the_one_that_has_come() -> None:
    quarter = "*/15 * * * *"
    before = turn(quarter, NOON - 10 * MINUTE, NOON - MINUTE)
    assert before.due is None and before.next == NOON
    assert turn(quarter, NOON - 10 * MINUTE, NOON).due == NOON
    after = turn(quarter, NOON, NOON + MINUTE)
    assert after.due is None and after.next == NOON + 15 * MINUTE


def test_only_the_latest_of_missed_turns_and_none_that_is_too_late() -> None:
    assert turn("* * * * *", NOON - timedelta(days=3), NOON).due == NOON
    hourly = turn("0 * * * *", NOON - timedelta(days=3), NOON + 4 * MINUTE)
    assert hourly.due == NOON
    late = turn("0 * * * *", NOON - timedelta(days=3), NOON + 6 * MINUTE)
    assert late.due is None and late.next == NOON + 60 * MINUTE


@pytest.mark.parametrize("text", ["", "every hour", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_what_is_no_schedule(text: str) -> None:
    assert "five cron fields" in schedule_problem(text)
    with pytest.raises(CronSimError):
        turn(text, NOON, NOON)


def test_a_schedule_needs_a_duration() -> None:
    spec, problems = parse_spec({"program": "begin { exit(); }", "schedule": "* * * * *"})
    assert spec is None and problems == ("spec.schedule: a trace with a schedule needs a duration",)


def a_trace(name: str, minutes: int, over: bool) -> Trace:
    key = TraceKey("BpfTrace", "shop", name, Uid(f"uid-{name}"))
    status = {"conditions": [{"type": "Succeeded", "status": "True" if over else "Unknown", "reason": "x"}]}
    return Trace(key, 1, NOON + minutes * MINUTE, False, None, status=status)


def test_the_newest_ended_turns_are_kept() -> None:
    turns = [a_trace(f"t-{i}", i, over=i != 2) for i in (4, 1, 2, 3)]
    assert [trace.key.name for trace in surplus(turns, 2)] == ["t-1"]
    assert [trace.key.name for trace in surplus(turns, 0)] == ["t-1", "t-3", "t-4"]
    assert not surplus(turns, 3)


def test_a_turn_is_the_trace_without_its_schedule() -> None:
    key = replace(a_trace("t", 0, over=False).key, name="a" * 250)
    spec = {"program": "begin { exit(); }", "duration": "5s", "schedule": "* * * * *", "historyLimit": 1, "suspend": False}
    made = turn_object({"metadata": {"labels": {"team": "x"}}, "spec": spec}, key, NOON, {})
    assert made["spec"] == {"program": "begin { exit(); }", "duration": "5s"}
    assert made["metadata"]["name"] == turn_name("a" * 250, NOON) and len(made["metadata"]["name"]) <= 253
    assert made["metadata"]["labels"] == {"team": "x", "kubebpf.dev/schedule": "a" * 63}
    assert made["metadata"]["ownerReferences"][0]["controller"] is True
    assert turn_name("t", NOON) != turn_name("t", NOON + MINUTE)
