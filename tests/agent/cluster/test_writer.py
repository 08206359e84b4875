"""The writer of reports against a server that is too busy, as priority and fairness make one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client

from kubebpf.agent.cluster.api import Api
from kubebpf.agent.cluster.trace import TraceName, Uid
from kubebpf.agent.cluster.writer import ReportWriter, Target, Urgency


class Busy(BaseHTTPRequestHandler):
    """Refuses the first requests, and notes all."""

    refuse = 0
    seen: list[tuple[float, str, str]]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        path = self.path.partition("/bpftracereports")[2]
        type(self).seen.append((time.monotonic(), self.command, path))
        busy = len(type(self).seen) <= type(self).refuse
        body = json.dumps({"message": "too many requests"} if busy else {}).encode()
        self.send_response(429 if busy else 200)
        if busy:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Busy.seen, Busy.refuse = [], 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def writer(server: ThreadingHTTPServer) -> ReportWriter:
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    settings.retries = False
    return ReportWriter(Api(client.ApiClient(settings)))


def target(name: str) -> Target:
    return Target(TraceName("BpfTrace", "shop", name, Uid(f"uid-{name}")), "node-a", "shop")


def test_a_new_report_is_two_requests_and_a_known_one_is_one(server: ThreadingHTTPServer) -> None:
    reports = writer(server)
    reports.start()
    reports.put(target("t"), {"phase": "Attached"}, Urgency(3, urgent=True, new=True))
    time.sleep(0.3)
    reports.put(target("t"), {"phase": "Completed"}, Urgency(3, urgent=True))
    assert reports.close(5)
    assert [(verb, path.rpartition("/")[2]) for _, verb, path in Busy.seen] == [
        ("POST", ""),
        ("PATCH", "status"),
        ("PATCH", "status"),
    ]


def test_a_busy_server_is_left_alone_as_long_as_it_asks(server: ThreadingHTTPServer) -> None:
    Busy.refuse = 1
    reports = writer(server)
    reports.start()
    for name in ("a", "b"):
        reports.put(target(name), {"phase": "Attached"}, Urgency(3, urgent=True))
    deadline = time.monotonic() + 10
    while len(Busy.seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    times = [moment for moment, _, _ in Busy.seen]
    # One refusal is enough for both reports; nobody is asked twice within the second.
    assert 1.0 <= times[1] - times[0] < 2.5 and len(times) == 3
    assert reports.close(5)


def test_what_began_goes_before_newer_numbers_and_few_before_many(server: ThreadingHTTPServer) -> None:
    reports = writer(server)
    reports.put(target("numbers"), {"phase": "Attached"}, Urgency(3))
    reports.put(target("many"), {"phase": "Attached"}, Urgency(40, urgent=True))
    reports.put(target("few"), {"phase": "Attached"}, Urgency(3, urgent=True))
    # Newer numbers of a report whose beginning is not told yet do not make it less urgent.
    reports.put(target("many"), {"phase": "Attached", "probes": 1}, Urgency(40))
    reports.start()
    deadline = time.monotonic() + 10
    while len(Busy.seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [path.split("-")[0].strip("/") for _, _, path in Busy.seen] == ["few", "many", "numbers"]
    assert reports.close(5)
