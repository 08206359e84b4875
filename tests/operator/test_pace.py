"""The pace of statuses, and the memory of reports."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kubernetes import client

from kubebpf.operator import api as operator_api
from kubebpf.operator.model import Report, Uid, parse_report
from kubebpf.operator.pace import ALL_BURST, URGENT_BURST, Paces
from kubebpf.operator.readings import Readings
from kubebpf.operator.values import BadValueError
from support.traces import report


class Clock:
    """A time that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_results_of_a_small_cluster_are_written_every_fifteen_seconds() -> None:
    clock = Clock()
    paces = Paces(15.0, clock)
    paces.count(Uid("t"), 200)
    assert paces.due(Uid("t")) == 0 == paces.results(Uid("t"))
    clock.now += 5
    assert paces.results(Uid("t")) == pytest.approx(10.0) == paces.due(Uid("t"))
    assert paces.news(Uid("t")) == 0  # it does not count
    clock.now += 10
    assert paces.results(Uid("t")) == 0


def test_what_watches_carry_has_an_upper_bound() -> None:
    """Every status goes to every node: nodes x traces x statuses a second stay the same from some size on."""
    for nodes, traces in ((1000, 10), (1000, 50), (5000, 20)):
        paces = Paces(15.0, Clock())
        for number in range(traces):
            paces.count(Uid(f"t{number}"), nodes)
        assert nodes * traces / paces.interval <= 200
    paces = Paces(15.0, Clock())
    for number in range(1000):
        paces.count(Uid(f"t{number}"), 1)
    assert 1000 / paces.interval <= 10
    for number in range(1000):
        paces.count(Uid(f"t{number}"), 0)  # they have ended
    assert paces.interval == 15 and paces.round == 0


def test_news_go_at_once_while_there_are_few() -> None:
    clock = Clock()
    paces = Paces(15.0, clock)
    assert [paces.news(Uid("flapping")) for _ in range(URGENT_BURST)] == [0] * URGENT_BURST
    assert paces.news(Uid("flapping")) == pytest.approx(5.0)
    for number in range(ALL_BURST - URGENT_BURST):
        assert paces.news(Uid(f"t{number}")) == 0
    # A thousand traces applied together: twenty a second.
    assert paces.news(Uid("t100")) == pytest.approx(0.05)
    clock.now += 0.051
    assert paces.news(Uid("t100")) == 0


def reports(count: int, phase: str = "Attached") -> list[Report]:
    bodies = [report(f"n{number}", phase) for number in range(count)]
    found = [parse_report(body | {"metadata": body["metadata"] | {"uid": f"u{n}"}}) for n, body in enumerate(bodies)]
    return [item for item in found if item]


def test_a_report_is_read_once_until_it_changes() -> None:
    readings = Readings()
    one, two = reports(2)
    first = readings.read(one)
    assert readings.read(one) is first and readings.read(two) is not first
    (newer,) = reports(1, phase="Completed")
    assert newer.uid == one.uid
    assert readings.read(newer).phase == "Completed"
    assert readings.read(one) == first and readings.read(one) is not first
    (bad,) = reports(1, phase="Elsewhere")
    for _ in range(2):
        with pytest.raises(BadValueError, match="the unknown phase"):
            readings.read(bad)


def test_the_memory_of_reports_has_a_limit() -> None:
    found = reports(10)
    readings = Readings(limit=3 * found[0].size)
    assert [readings.read(item) is readings.read(item) for item in found] == [True] * 3 + [False] * 7
    readings.keep_only(found[0].trace_uid, found[1:])
    assert [readings.read(item) is readings.read(item) for item in found[1:]] == [True] * 3 + [False] * 6
    readings.forget(found[0].trace_uid)
    assert readings.read(found[9]) is readings.read(found[9])


class Busy(BaseHTTPRequestHandler):
    """Answers as priority and fairness do."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = json.dumps({"kind": "Status", "message": "too many requests, please try again later"}).encode()
        self.send_response(429)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_what_a_busy_server_asks_for_comes_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(client.Configuration, "get_default_copy", lambda: settings)
        with pytest.raises(operator_api.ApiError, match="429: too many requests") as error:
            asyncio.run(operator_api.Api().get_config_map("a", "b"))
        assert error.value.retry_after == 7 and Busy.asked == 1
        server.shutdown()
