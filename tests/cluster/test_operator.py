"""The operator on a real API server, under the chart's rights; reports are written by the tests as a client."""

from __future__ import annotations

import base64
import hashlib
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chart import System
from support.controlplane import ApiError, ControlPlane
from support.operators import OperatorProcess, TestTrace, Versions
from support.processes import eventually
from support.traces import a_map, scalar_count

INTERVAL = 2.0  # seconds between two writes of results
TWO_ERRORS = "begin {\n  @a = coutn();\n  $x = nosuch;\n}\n"


@pytest.fixture(scope="module")
def operator(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(system.operator, system.namespace, log, INTERVAL) as process:
        yield process
    # No traceback in the log: what the API server does in these tests is expected.
    assert "Traceback" not in log.read_text(), log.read_text()


class Fleet:
    """Two nodes of a test's own, and traces for them."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.label = f"fleet-{secrets.token_hex(4)}"
        self.a, self.b = self.node("a"), self.node("b")

    def node(self, letter: str, **labels: str) -> str:
        name = f"{self.label}-{letter}"
        meta = {"name": name, "labels": {"fleet": self.label} | labels}
        self.cluster.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
        return name

    def trace(self, name: str = "t", cluster_wide: bool = False, **spec: Any) -> TestTrace:
        target = {"nodeSelector": {"fleet": self.label}}
        # The text is the test's own, so that no other test's object is the same.
        program = f'begin {{ @ = count(); printf("{self.label}"); }}'
        where = "" if cluster_wide else self.namespace
        name = f"{self.label}-{name}" if cluster_wide else name
        return TestTrace(self.cluster, name, where, **({"target": target, "program": program} | spec))


@pytest.fixture
def fleet(cluster: ControlPlane, namespace: str, operator: OperatorProcess) -> Iterator[Fleet]:
    operator.server.start()
    fleet = Fleet(cluster, namespace)
    yield fleet
    for node in cluster.api("GET", f"/api/v1/nodes?labelSelector=fleet%3D{fleet.label}")["items"]:
        cluster.api("DELETE", f"/api/v1/nodes/{node['metadata']['name']}")
    for trace in cluster.api("GET", "/apis/kubebpf.dev/v1alpha1/clusterbpftraces")["items"]:
        if trace["metadata"]["name"].startswith(fleet.label):
            cluster.api("DELETE", f"/apis/kubebpf.dev/v1alpha1/clusterbpftraces/{trace['metadata']['name']}")


def attach(trace: TestTrace, fleet: Fleet, *counts: int) -> None:
    trace.wait_for("Compiled", "True")
    for node, count in zip((fleet.a, fleet.b), counts, strict=True):
        trace.report(node, maps=[scalar_count(count)])
    trace.wait_for("Ready", "True", "AllNodesAttached")


def text(trace: TestTrace, wanted: str, timeout: float = 30) -> None:
    def shows() -> bool:
        assert trace.status().get("results", {}).get("text") == wanted
        return True

    eventually(shows, timeout=timeout)


@pytest.mark.parametrize("cluster_wide", [False, True])
def test_from_apply_to_ready(fleet: Fleet, system: System, cluster_wide: bool) -> None:
    trace = fleet.trace(cluster_wide=cluster_wide)
    seen = [trace.condition("Ready").get("status")]
    trace.wait_for("Compiled", "True")
    compiled = time.monotonic() - trace.applied
    status = trace.status()
    assert status["observedGeneration"] == 1 and status["nodes"]["summary"] == "0/2"
    stored = fleet.cluster.get("configmap", status["artifact"]["configMap"], system.namespace)
    elf = base64.b64decode(stored["binaryData"]["object.o"])
    assert stored["immutable"] is True
    assert status["artifact"]["digest"] == "sha256:" + hashlib.sha256(elf).hexdigest()
    assert status["artifact"]["size"] == len(elf)
    began = time.monotonic()
    attach(trace, fleet, 3, 4)
    print(f"compiled {compiled:.2f} s after the request; ready {time.monotonic() - began:.2f} s after the reports")
    text(trace, "@: 7\n")
    assert seen[0] in (None, "Unknown")
    eventually(lambda: {"Compiled", "Attached"} <= trace.events().keys())
    event = trace.events()["Attached"]
    assert (event["reportingComponent"], event["count"], event["type"]) == ("kubebpf-operator", 1, "Normal")
    table = fleet.cluster.kubectl(
        "get", "cbt" if cluster_wide else "bt", trace.name, *([] if cluster_wide else ["-n", fleet.namespace])
    )
    assert "True" in table and "2/2" in table


def test_nothing_is_put_on_the_object(fleet: Fleet) -> None:
    """No finalizer, no annotation: a deletion never waits for the operator."""
    trace = fleet.trace()
    attach(trace, fleet, 1, 1)
    meta = trace.read()["metadata"]
    assert "finalizers" not in meta and "annotations" not in meta


def test_reports_are_merged_exactly(fleet: Fleet) -> None:
    trace = fleet.trace()
    trace.wait_for("Compiled", "True")

    def maps(node: str, scale: int) -> list[dict[str, Any]]:
        cgroup = {"cgroup": "42", "node": node, "pod": {"namespace": "shop", "name": f"api-{scale}"}}
        slots = [{"slot": 5, "count": str(scale)}, {"slot": 6, "count": "1"}]
        return [
            a_map("@pods", "count", [{"key": [cgroup], "count": str(10 * scale)}]),
            a_map("@us", "hist", [{"key": [{"str": ""}], "slots": slots}], [0]),
            a_map("@avg", "avg", [{"key": [], "total": str(-7 * scale), "count": "2"}], scalar=True),
            a_map("@max", "max", [{"key": [], "max": str(2**63 + scale)}], scalar=True),
            a_map("@last", "last", [{"key": [], "value": {"str": node}}], scalar=True),
        ]

    lost = {"events": "1", "mapFull": "2", "missed": "0"}
    line = {"time": "2026-11-22T12:00:00Z", "kind": "printf", "text": ""}
    trace.report(fleet.a, maps=maps(fleet.a, 1), lost=lost, recent=[line])
    trace.report(fleet.b, maps=maps(fleet.b, 2), lost=lost, recent=[line | {"text": "later", "time": "2026-11-22T12:00:01Z"}])
    trace.report("some-other-node", maps=maps("some-other-node", 5))
    trace.wait_for("Ready", "True")
    eventually(lambda: trace.status().get("results", {}).get("nodes") == 2)
    status = trace.status()
    found = {item["name"]: item["entries"] for item in status["results"]["maps"]}
    assert [(e["key"][0]["node"], e["key"][0]["pod"]["name"], e["count"]) for e in found["@pods"]] == [
        (fleet.a, "api-1", "10"), (fleet.b, "api-2", "20"),
    ]  # fmt: skip
    assert found["@us"] == [{"key": [{"str": ""}], "slots": [{"slot": 5, "count": "3"}, {"slot": 6, "count": "2"}]}]
    assert found["@avg"] == [{"key": [], "total": "-21", "count": "4"}]
    assert found["@max"] == [{"key": [], "max": str(2**63 + 2)}]
    assert {(e["node"], e["value"]["str"]) for e in found["@last"]} == {(fleet.a, fleet.a), (fleet.b, fleet.b)}
    assert status["lost"] == {"events": "2", "mapFull": "4", "missed": "0", "total": "6"}
    eventually(lambda: "LostEvents" in trace.events())
    assert [(row["node"], row["text"]) for row in status["recent"]] == [(fleet.a, ""), (fleet.b, "later")]


def test_a_failing_node_and_a_bad_report(fleet: Fleet) -> None:
    trace = fleet.trace()
    trace.wait_for("Compiled", "True")
    third = fleet.node("c")
    trace.report(fleet.a, maps=[scalar_count(3)])
    trace.report(fleet.b, "Failed", reason="VerifierRejected", message="R1 is no pointer")
    trace.report(third, maps=[a_map("@", "count", [{"key": [], "count": "many"}], scalar=True)])
    trace.wait_for("Ready", "True", "SomeNodesFailed")
    trace.wait_for("Degraded", "True", "NodesFailed")
    errors = {row["node"]: row for row in trace.status()["nodeErrors"]}
    assert errors[fleet.b] == {"node": fleet.b, "reason": "VerifierRejected", "message": "R1 is no pointer"}
    assert errors[third]["reason"] == "BadReport"
    text(trace, "@: 3\n")
    eventually(lambda: trace.events().get("NodeFailed") is not None)


def test_results_are_written_at_most_once_an_interval(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 0, 0)
    text(trace, "@: 0\n")
    began = time.monotonic()
    with Versions(trace) as versions:
        for number in range(1, 101):
            trace.report(fleet.a, maps=[scalar_count(number)])
        text(trace, "@: 100\n")
    seconds = time.monotonic() - began
    print(f"100 reports in {seconds:.1f} s made {versions.writes} writes")
    assert 1 <= versions.writes <= seconds / INTERVAL + 1


def test_a_quiet_time_makes_no_writes(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 2)
    text(trace, "@: 3\n")
    eventually(lambda: {"Compiled", "Attached"} <= trace.events().keys())
    time.sleep(INTERVAL + 1)
    # Of this test's namespace: those of the tests before are still being deleted.
    ours = f"namespaces/{fleet.namespace}"
    paths = [f"/apis/kubebpf.dev/v1alpha1/{ours}/{plural}" for plural in ("bpftraces", "bpftracereports")]
    paths.append(f"/api/v1/{ours}/events")

    def versions() -> dict[str, str]:
        items = [item["metadata"] for path in paths for item in fleet.cluster.api("GET", path)["items"]]
        return {meta["uid"]: meta["resourceVersion"] for meta in items}

    before = versions()
    assert len(before) == 1 + 2 + 2
    for beat in range(30):  # kubelets' heartbeats go on
        beats = [{"type": "Ready", "status": "True", "lastHeartbeatTime": f"2026-11-22T12:00:{beat:02}Z"}]
        fleet.cluster.api("PATCH", f"/api/v1/nodes/{fleet.a}/status", {"status": {"conditions": beats}})
        time.sleep(2)
    assert versions() == before


def test_a_killed_operator_goes_on_where_it_was(fleet: Fleet, operator: OperatorProcess) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 2)
    text(trace, "@: 3\n")
    eventually(lambda: {"Compiled", "Attached"} <= trace.events().keys())
    before, events = trace.status(), trace.events()
    operator.server.kill()
    trace.report(fleet.a, maps=[scalar_count(40)])
    operator.server.start()
    text(trace, "@: 42\n")
    after = trace.status()
    assert after["artifact"] == before["artifact"] and after["conditions"] == before["conditions"]
    assert after["startedAt"] == before["startedAt"]
    time.sleep(1)
    assert trace.events() == events


def test_an_operator_killed_while_a_trace_starts(fleet: Fleet, operator: OperatorProcess) -> None:
    """Killed again and again at different moments between the request and the stored object."""
    for number in range(5):
        trace = fleet.trace(f"t{number}", program=f"begin {{ @k{number} = count(); }}")
        time.sleep(0.1 * number)
        operator.server.kill()
        operator.server.start()
        attach(trace, fleet, 1, 1)
        name = trace.status()["artifact"]["configMap"]
        assert fleet.cluster.get("configmap", name, "kubebpf-system")
        trace.delete()


@pytest.mark.parametrize(("how", "seconds"), [("kill", 5), ("stop", 30)])
def test_an_outage_of_the_api_server(fleet: Fleet, operator: OperatorProcess, how: str, seconds: float) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 2)
    text(trace, "@: 3\n")
    with fleet.cluster.outage(how):
        time.sleep(seconds)
    began = time.monotonic()
    trace.report(fleet.b, maps=[scalar_count(8)])
    text(trace, "@: 9\n", timeout=60)
    print(f"exact again {time.monotonic() - began:.1f} s after the API server came back")
    assert operator.server.running


def test_a_program_with_two_errors_and_its_repair(fleet: Fleet, operator: OperatorProcess) -> None:
    trace = fleet.trace(program=TWO_ERRORS)
    trace.wait_for("Ready", "False", "CompileFailed")
    trace.wait_for("Stalled", "True", "CompileFailed")
    message = trace.wait_for("Compiled", "False", "CompileFailed")["message"]
    assert "spec.program:2:" in message and "spec.program:3:" in message and "~" in message
    assert "artifact" not in trace.status()
    eventually(lambda: "CompileFailed" in trace.events())
    # After an outage the watch of nodes may begin later than the watch of traces.
    eventually(lambda: trace.status()["nodes"]["desired"] == 2)
    with Versions(trace) as versions:
        operator.server.kill()
        operator.server.start()
        time.sleep(4)
    assert versions.writes == 0, "a restarted operator compiles again, and comes to the same end"
    trace.patch(program="begin { @ = count(); }")
    attach(trace, fleet, 1, 1)
    assert trace.status()["observedGeneration"] == 2


def test_warnings_stand_beside_the_object_also_after_a_restart(fleet: Fleet, operator: OperatorProcess) -> None:
    trace = fleet.trace(program="let @unused = hash(5);\nbegin { @ = count(); exit(); @ = count(); }")
    attach(trace, fleet, 1, 2)
    text(trace, "@: 3\n")
    before = trace.condition("Compiled")
    first, *warnings = before["message"].splitlines()
    assert first.startswith("the object has ") and "WARNING: Unreachable statement." in "\n".join(warnings)
    assert "spec.program:2:30-" in before["message"] and "Unused map: @unused" in before["message"]
    operator.server.kill()
    trace.report(fleet.a, maps=[scalar_count(40)])
    operator.server.start()
    text(trace, "@: 42\n")
    assert trace.condition("Compiled") == before


def test_a_changed_program_starts_afresh(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 5, 5)
    text(trace, "@: 10\n")
    trace.patch(program="begin { @ = count(); @more = count(); }")
    trace.wait_for("Ready", "False", "Attaching")
    assert trace.status()["results"]["generation"] == 1
    attach(trace, fleet, 1, 1)
    text(trace, "@: 2\n")


def test_the_end_of_a_trace_leaves_nothing(fleet: Fleet, system: System) -> None:
    one, other = fleet.trace("one"), fleet.trace("other")
    for trace in (one, other):
        attach(trace, fleet, 1, 1)
    name = one.status()["artifact"]["configMap"]
    assert other.status()["artifact"]["configMap"] == name
    one.delete()
    eventually(lambda: not one.reports())
    time.sleep(8)
    assert fleet.cluster.get("configmap", name, system.namespace), "the other trace still needs it"
    other.report(fleet.a, owned=False, maps=[scalar_count(2)])
    other.delete()

    def gone() -> bool:
        try:
            fleet.cluster.api("GET", f"/api/v1/namespaces/{system.namespace}/configmaps/{name}")
        except ApiError as error:
            return error.code == 404
        return False

    began = time.monotonic()
    eventually(gone, timeout=30)
    print(f"the object was gone {time.monotonic() - began:.1f} s after the last trace")
    eventually(lambda: not other.reports())


def test_a_report_that_comes_too_late_is_removed(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 1)
    uid_path = trace.path
    trace.delete()
    eventually(lambda: not trace.reports())
    path = f"/apis/kubebpf.dev/v1alpha1/namespaces/{fleet.namespace}/bpftracereports"
    body = trace._report("late", fleet.a, owned=False)
    fleet.cluster.api("POST", path, body)
    eventually(lambda: not trace.reports())
    with pytest.raises(ApiError):
        fleet.cluster.api("GET", uid_path)


def test_a_duration(fleet: Fleet) -> None:
    trace = fleet.trace(duration="3s")
    attach(trace, fleet, 1, 1)
    eventually(lambda: "completedAt" in trace.status(), timeout=10)
    trace.wait_for("Succeeded", "Unknown", "Finishing")
    for node in (fleet.a, fleet.b):
        trace.report(node, "Completed", maps=[scalar_count(50)])
    trace.wait_for("Succeeded", "True", "Completed", timeout=5)
    # The write that says so has the last results.
    assert trace.status()["results"]["text"] == "@: 100\n"
    eventually(lambda: "Completed" in trace.events())
    fleet.cluster.kubectl("wait", "--for=condition=Succeeded", "bt", trace.name, "-n", fleet.namespace, "--timeout=5s")
    fleet.cluster.api("DELETE", f"/api/v1/nodes/{fleet.a}")
    time.sleep(INTERVAL + 1)
    assert trace.status()["results"]["text"] == "@: 100\n"


def test_exit_ends_the_whole_trace_when_asked(fleet: Fleet) -> None:
    trace = fleet.trace(exitPolicy="Cluster")
    attach(trace, fleet, 1, 1)
    trace.report(fleet.a, "Completed", exitCode=3, maps=[scalar_count(1)])
    eventually(lambda: "completedAt" in trace.status())
    trace.report(fleet.b, "Completed", maps=[scalar_count(1)])
    trace.wait_for("Succeeded", "False", "NonZeroExit")


def test_suspending(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 4, 5)
    text(trace, "@: 9\n")
    trace.patch(suspend=True)
    trace.wait_for("Ready", "True", "Suspended")
    trace.wait_for("Attached", "False", "Suspended")
    trace.report(fleet.a, "Completed", generation=1, maps=[scalar_count(6)])
    text(trace, "@: 11\n")
    trace.patch(suspend=False)
    attach(trace, fleet, 1, 1)
    text(trace, "@: 2\n")


def test_nodes_come_and_go(fleet: Fleet) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 1)
    third = fleet.node("c")
    trace.wait_for("Ready", "False", "Attaching")
    trace.report(third, maps=[scalar_count(5)])
    trace.wait_for("Ready", "True")
    assert trace.status()["nodes"]["summary"] == "3/3"
    fleet.cluster.api("DELETE", f"/api/v1/nodes/{third}")
    eventually(lambda: trace.status()["nodes"]["summary"] == "2/2")
    text(trace, "@: 2\n")


def test_an_object_that_somebody_removed_is_made_again(
    fleet: Fleet, system: System, operator: OperatorProcess, tmp_path: Path
) -> None:
    trace = fleet.trace()
    attach(trace, fleet, 1, 1)
    artifact = trace.status()["artifact"]
    path = f"/api/v1/namespaces/{system.namespace}/configmaps/{artifact['configMap']}"
    fleet.cluster.api("DELETE", path)
    operator.server.kill()
    operator.server.start()
    eventually(lambda: fleet.cluster.api("GET", path) if _exists(fleet.cluster, path) else None)
    assert trace.status()["artifact"]["digest"] == artifact["digest"]
    assert trace.condition("Ready")["status"] == "True"


def _exists(cluster: ControlPlane, path: str) -> bool:
    try:
        cluster.api("GET", path)
    except ApiError:
        return False
    return True


def test_what_went_during_a_long_outage_is_not_remembered(fleet: Fleet, operator: OperatorProcess) -> None:
    """The operator sleeps while objects go and the API server forgets old versions; its watches then begin with new lists."""
    trace = fleet.trace()
    attach(trace, fleet, 1, 2)
    text(trace, "@: 3\n")
    fleet.cluster.apiserver.kill()
    time.sleep(1)
    operator.server.signal(signal.SIGSTOP)
    try:
        fleet.cluster.start_apiserver()
        fleet.cluster.api("DELETE", f"/api/v1/nodes/{fleet.b}")
        for _ in range(3):  # a restarted server has no older versions to watch from
            fleet.cluster.apiserver.kill()
            fleet.cluster.start_apiserver()
            fleet.node(secrets.token_hex(2), fleet="other")
    finally:
        operator.server.signal(signal.SIGCONT)
    text(trace, "@: 1\n", timeout=60)
    assert trace.status()["nodes"]["summary"] == "1/1"


def test_an_ended_trace_is_deleted_when_its_time_is_over(fleet: Fleet) -> None:
    kept = fleet.trace("kept", duration="1s")
    trace = fleet.trace("ended", duration="1s", ttlSecondsAfterFinished=2)
    for each in (kept, trace):
        attach(each, fleet, 1, 1)
        for node in (fleet.a, fleet.b):
            each.report(node, "Completed", maps=[scalar_count(1)])
        each.wait_for("Succeeded", "True")

    def is_gone() -> bool:
        try:
            trace.read()
        except ApiError as error:
            return error.code == 404
        return False

    eventually(is_gone, timeout=20, what="the deletion")
    assert kept.status()["results"]["text"] == "@: 2\n"


def test_a_schedule_makes_a_trace_of_every_turn(fleet: Fleet) -> None:
    parent = fleet.trace("hourly", duration="1s", schedule="* * * * *", historyLimit=1)
    parent.wait_for("Ready", "True", "Scheduled")
    assert parent.status()["nodes"]["desired"] == 0 and parent.status()["schedule"]["active"] == []
    path = f"/apis/kubebpf.dev/v1alpha1/namespaces/{fleet.namespace}/bpftraces"

    def turns() -> list[str]:
        items = fleet.cluster.api("GET", path)["items"]
        return sorted(item["metadata"]["name"] for item in items if item["metadata"]["name"].startswith("hourly-"))

    # The next turn of its own must not come while the first one is looked at.
    left = 60 - time.time() % 60
    time.sleep(left + 1 if left < 25 else 0)
    # As if nobody had looked for two minutes: the latest turn is made up for, at once and only once.
    ago = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 120))
    fleet.cluster.api("PATCH", f"{parent.path}/status", {"status": {"schedule": {"lastTime": ago}}})
    (first,) = eventually(turns, what="the first turn")
    eventually(lambda: parent.status()["schedule"].get("active") == [first], what="its name in the status")
    body = fleet.cluster.api("GET", f"{path}/{first}")
    assert "schedule" not in body["spec"] and body["spec"]["duration"] == "1s"
    assert body["metadata"]["ownerReferences"][0]["uid"] == parent.uid
    parent.delete()
    # The garbage collector may be busy with what other tests have left.
    eventually(lambda: not turns(), timeout=90, what="turns go with their schedule")
