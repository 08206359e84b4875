"""What of a status becomes an Event, and how often."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubebpf.operator.api import ApiError
from kubebpf.operator.events import Happening, Recorder, happenings
from kubebpf.operator.model import parse_node, parse_report, parse_time, parse_trace
from kubebpf.operator.outcome import Artifact, Outcome, Refused
from kubebpf.operator.status import Facts, desired_status
from kubebpf.operator.tally import take
from support.traces import DIGEST, node, report, trace

Json = dict[str, Any]
OBJECT = Artifact(DIGEST, "kubebpf-x", 1234, 80)


def told(body: Json, reports: list[Json], outcome: Outcome = OBJECT, minutes: int = 0) -> list[Happening]:
    parsed = parse_trace(body)
    found = [r for item in reports if (r := parse_report(item))]
    now = parse_time("2026-11-22T12:00:00Z")
    assert now
    tally = take(parsed, DIGEST, [parse_node(node(n)) for n in "ab"], found)
    body["status"] = desired_status(Facts(parsed, tally, outcome, now + timedelta(minutes=minutes)))
    return list(happenings(parse_trace(body), body["status"]))


BAD: Json = {"reason": "VerifierRejected", "message": "R1"}
CASES: dict[str, tuple[list[Json], Outcome, set[tuple[str, str, str]]]] = {
    "compiling": ([], None, set()),
    "compiled": ([], OBJECT, {("Normal", "Compiled", "")}),
    "refused": ([], Refused("CompileFailed", "1:1"), {("Warning", "CompileFailed", "")}),
    "invalid": ([], Refused("InvalidSpec", "x"), {("Warning", "InvalidSpec", "")}),
    "attached": ([report("a"), report("b")], OBJECT, {("Normal", "Compiled", ""), ("Normal", "Attached", "")}),
    "one failed": (
        [report("a"), report("b", "Failed", **BAD)],
        OBJECT,
        {("Normal", "Compiled", ""), ("Normal", "Attached", ""), ("Warning", "NodeFailed", "b")},
    ),
    "lost": (
        [report("a", lost={"events": "3"}), report("b")],
        OBJECT,
        {("Normal", "Compiled", ""), ("Normal", "Attached", ""), ("Warning", "LostEvents", "")},
    ),
    "ended": ([report(n, "Completed") for n in "ab"], OBJECT, {("Normal", "Compiled", ""), ("Normal", "Completed", "")}),
    "ended badly": (
        [report("a", "Completed", exitCode=2), report("b", "Completed")],
        OBJECT,
        {("Normal", "Compiled", ""), ("Warning", "Completed", "")},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_told(name: str) -> None:
    reports, outcome, wanted = CASES[name]
    assert {(h.kind, h.reason, h.node) for h in told(trace(), reports, outcome)} == wanted


def test_the_same_state_later_tells_nothing_new() -> None:
    body = trace()
    reports = [report("a"), report("b", "Failed", **BAD)]
    assert told(body, reports) == told(body, reports, minutes=30)


def test_the_same_thing_again_has_another_time() -> None:
    body = trace()
    both = [report("a"), report("b")]
    first = {h.reason: h.since for h in told(body, both)}
    told(body, both[:1], minutes=1)
    again = {h.reason: h.since for h in told(body, both, minutes=2)}
    assert again["Attached"] != first["Attached"] and again["Compiled"] == first["Compiled"]


def test_a_status_of_an_older_generation_tells_nothing() -> None:
    body = trace()
    told(body, [])
    body["metadata"]["generation"] = 2
    assert list(happenings(parse_trace(body), body["status"])) == []


class Api:
    """Writes no Event at first."""

    def __init__(self, failures: int) -> None:
        self.failures, self.written = failures, list[str]()

    async def create_event(self, namespace: str, body: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise ApiError("503: away")
        self.written.append(body["reason"])


def test_what_could_not_be_told_is_told_later() -> None:
    api = Api(failures=1)
    recorder = Recorder(api)  # type: ignore[arg-type]
    parsed = parse_trace(trace())
    status = {"observedGeneration": parsed.generation, "lost": {"total": "1", "events": "1"}}
    for _ in range(3):
        asyncio.run(recorder.tell(parsed, status, datetime.now(UTC)))
    assert api.written == ["LostEvents"]
