"""Two hundred nodes at once, with the agents' own writers and reports larger than they may be: every budget holds, one bad report
spoils nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from kubebpf.agent.cluster.api import Api
from kubebpf.agent.cluster.report import REPORT_BYTES, Line, Lost, State, report_status, size
from kubebpf.agent.cluster.trace import TraceName, Uid, format_time
from kubebpf.agent.cluster.writer import ReportWriter, Target, Urgency
from kubebpf.compiler.artifact.cells import Count, Histogram
from kubebpf.compiler.artifact.state import Entry, MapState
from support.audit import entries
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.operators import OperatorProcess, TestTrace, Versions
from support.processes import eventually

NODES, KEYS, TOP, BAD = 200, 300, 20, 77
STATUS_BYTES = 32 * 1024
AGENTS = "system:serviceaccount:kubebpf-system:kubebpf-agent"


@pytest.fixture
def nodes(cluster: ControlPlane, namespace: str) -> Iterator[list[str]]:
    """Names of nodes that exist as objects only."""
    names = [f"{namespace}-{number:03}" for number in range(NODES)]
    for name in names:
        meta = {"name": name, "labels": {"budgets": namespace}}
        cluster.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    yield names
    for name in names:
        cluster.api("DELETE", f"/api/v1/nodes/{name}")


def state(trace: Object, number: int) -> State:
    """Of one node: more keys than a report keeps, more bytes than it may have, a line, a loss."""
    slots = tuple((slot, 2) for slot in range(60))
    return State(
        trace["metadata"]["generation"],
        trace["status"]["artifact"]["digest"],
        f"session-{number}",
        "Attached",
        probes=1,
        started_at=datetime.now(UTC),
        maps=[
            MapState("@all", "count", entries=(Entry((), Count(number + 1)),), scalar=True),
            MapState("@by", "count", entries=tuple(Entry((f"{key:03}" * 40,), Count(1000 * key + 1)) for key in range(KEYS))),
            MapState("@us", "hist", params=(0,), entries=tuple(Entry((f"key{key}",), Histogram(slots)) for key in range(20))),
        ],
        recent=[Line(datetime.now(UTC), "printf", f"node {number}\n" + "x" * 500)] * 50,
        lost=Lost(events=1),
    )


def writes_of_reports(cluster: ControlPlane, namespace: str) -> list[float]:
    """When the API server was asked to write reports of a namespace, in seconds."""
    return [
        datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
        for entry in entries(cluster.audit_log)
        if entry["user"]["username"] == AGENTS
        and entry["verb"] in ("create", "patch")
        and entry.get("objectRef", {}).get("resource") == "bpftracereports"
        and entry["objectRef"].get("namespace") == namespace
    ]


def test_two_hundred_nodes_at_once(
    cluster: ControlPlane, system: System, operator: OperatorProcess, namespace: str, nodes: list[str]
) -> None:
    report = {"top": TOP, "recentLines": 50}
    trace = TestTrace(cluster, "t", namespace, target={"nodeSelector": {"budgets": namespace}}, report=report)
    trace.wait_for("Compiled", "True")
    body = trace.read()
    name = TraceName(trace.kind, namespace, trace.name, Uid(trace.uid))
    api = Api.connect(system.agent)
    writers = [ReportWriter(api) for _ in nodes]
    with Versions(trace) as versions:
        began = time.monotonic()
        for number, (node, writer) in enumerate(zip(nodes, writers, strict=True)):
            status = report_status(state(body, number), TOP, 50) | {"observedAt": format_time(datetime.now(UTC))}
            assert 20 * 1024 < size(status) <= REPORT_BYTES
            if number == BAD:
                status["maps"][0]["entries"][0]["count"] = "-1"
            writer.start()
            writer.put(Target(name, node, namespace), status, Urgency(NODES, urgent=True, new=True))

        def all_told() -> Object:
            status = trace.status()
            assert (status["nodes"]["attached"], status["nodes"]["failed"]) == (NODES - 1, 1), status["nodes"]
            assert status["results"]["nodes"] == NODES - 1
            return status

        status = eventually(all_told, timeout=90)
        took = time.monotonic() - began
    assert all(writer.close(5) for writer in writers)
    _check_status(status, nodes)
    times = sorted(writes_of_reports(cluster, namespace))
    by_second = Counter(int(moment - times[0]) for moment in times)
    print(f"{len(times)} writes of reports in {times[-1] - times[0]:.1f} s, {dict(by_second)}; {versions.writes} of the status")
    # Two for each node, at fifty a second; the lot makes some seconds fuller than others.
    assert len(times) == 2 * NODES and times[-1] - times[0] > 6
    assert max(by_second.values()) < 120
    # The operator here writes results every second, and news eight at once.
    assert versions.writes <= 8 + took + 1


def _check_status(status: Object, nodes: list[str]) -> None:
    assert size(status) <= STATUS_BYTES
    (error,) = status["nodeErrors"]
    assert (error["node"], error["reason"]) == (nodes[BAD], "BadReport") and "@all" in error["message"]
    maps = {m["name"]: m for m in status["results"]["maps"]}
    good = NODES - 1
    assert int(maps["@all"]["entries"][0]["count"]) == sum(range(1, NODES + 1)) - (BAD + 1)
    kept = {entry["key"][0]["str"][:3]: int(entry["count"]) for entry in maps["@by"]["entries"]}
    # The largest of the sum, exactly; each node has dropped all but its twenty largest, and the status what does not fit.
    assert kept == {f"{key:03}": good * (1000 * key + 1) for key in range(KEYS - len(kept), KEYS)} and 0 < len(kept) <= TOP
    assert maps["@by"]["dropped"] >= good * (KEYS - TOP)
    assert all(int(slot["count"]) == 2 * good for entry in maps["@us"]["entries"] for slot in entry["slots"])
    assert status["lost"]["events"] == str(good)
    assert status["recent"] and nodes[BAD] not in {row["node"] for row in status["recent"]}
