"""A trace's life with a real operator and real agents: no event is lost at a change, and kstatus is never told too early."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.agents import GROUP
from support.audit import entries
from support.controlplane import ApiError, Object
from support.kstatus import kstatus
from support.processes import eventually
from support.workload import make_calls
from support.world import Trace, World, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @all = count(); }"
TELLING = 'tracepoint:syscalls:sys_enter_getppid { @all = count(); printf("%s\\n"); }'
OPTION = """tracepoint:syscalls:sys_enter_getppid {
  @all = count(); @option[getopt("level", "low")] = count(); @first[str($1)] = count();
}"""


class Verdicts:
    """Collects what kstatus says of an object while the block runs, each with its generation; a run of equal ones once."""

    def __init__(self, trace: Trace) -> None:
        self._trace, self._stop = trace, threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.seen: list[tuple[int, str]] = []

    def _poll(self) -> None:
        while not self._stop.wait(0.005):
            try:
                body = self._trace.read()
            except ApiError:
                continue
            if body.get("status"):
                said = (body["metadata"]["generation"], kstatus(body))
                if not self.seen or self.seen[-1] != said:
                    self.seen.append(said)

    def of(self, generation: int) -> list[str]:
        return [verdict for number, verdict in self.seen if number == generation]

    def __enter__(self) -> Verdicts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def reports(world: World, trace: Trace) -> list[Object]:
    items = world.cluster.api("GET", f"{GROUP}/namespaces/{world.namespace}/bpftracereports")["items"]
    return [item for item in items if item["spec"]["trace"]["name"] == trace.name]


def results(trace: Trace, generation: int, check: Callable[[dict[str, Object]], bool]) -> Object:
    """The status, once it has results of that generation as they should be."""

    def right() -> Object:
        status = trace.status()
        found = status.get("results", {})
        assert found.get("generation") == generation, found
        assert check({m["name"]: m for m in found["maps"]}), found
        return status

    return eventually(right, timeout=30)


def test_at_a_change_the_new_object_counts_before_the_old_one_stops(world: World) -> None:
    """Calls go on all the time; every one is printed by the old object or by the new one, or by both."""
    trace = world.trace("changing", TELLING % "old")
    trace.condition("Ready", "True")
    stop, made = threading.Event(), [0]

    def call() -> None:
        while not stop.is_set():
            world.calls(10, 10)
            made[0] += 20

    with Verdicts(trace) as verdicts:
        before = {report["spec"]["node"]: report["status"] for report in reports(world, trace)}
        caller = threading.Thread(target=call)
        caller.start()
        try:
            trace.apply(TELLING % "new", target=world.target)
            trace.condition("Ready", "True")
        finally:
            stop.set()
            caller.join()
        world.calls(7, 8)
        made[0] += 15

        def at_rest() -> Object:
            one = trace.status()
            time.sleep(2.5)
            assert trace.status()["results"] == one["results"] and one["results"]["generation"] == 2, one.get("results")
            return one

        status = eventually(at_rest, timeout=30)
    seen = {m["name"]: m for m in status["results"]["maps"]}
    assert 15 <= scalar(seen, "@all") <= made[0]
    assert verdicts.of(1) in (["Current"], []) and verdicts.of(2)[0] == "InProgress" and verdicts.of(2)[-1] == "Current"
    after = {report["spec"]["node"]: report["status"] for report in reports(world, trace)}
    assert {status["session"] for status in before.values()}.isdisjoint(status["session"] for status in after.values())
    for agent, last in zip(world.agents, (7, 8), strict=True):
        lines = [line["text"].strip() for line in agent.lines() if line["trace"]["name"] == "changing"]
        assert {"old", "new"} == set(lines)
        assert len(lines) >= (made[0] - 15) // 2 + last, "a call that neither has seen"


def test_params_and_args_start_afresh_without_another_object(world: World) -> None:
    spec: dict[str, Any] = {"target": world.target}
    trace = world.trace("options", OPTION, params={"level": "high"}, args=["one"])
    trace.condition("Ready", "True")
    artifact = trace.status()["artifact"]
    world.calls(3, 4)
    results(trace, 1, lambda m: scalar(m, "@all") == 7 and m["@option"]["entries"][0]["key"] == [{"str": "high"}])
    trace.apply(OPTION, params={"level": "higher"}, args=["two"], **spec)
    trace.condition("Ready", "True")
    world.calls(1, 1)
    status = results(
        trace,
        2,
        lambda m: (
            scalar(m, "@all") == 2
            and m["@option"]["entries"][0]["key"] == [{"str": "higher"}]
            and m["@first"]["entries"][0]["key"] == [{"str": "two"}]
        ),
    )
    kept = ("digest", "configMap", "compileMillis")
    assert {name: status["artifact"][name] for name in kept} == {name: artifact[name] for name in kept}
    assert status["artifact"]["signature"] != artifact["signature"], "a right is given for one generation"


def test_a_trace_of_the_same_name_is_another_one(world: World) -> None:
    trace = world.trace("again", COUNT)
    trace.condition("Ready", "True")
    world.calls(30, 40)
    trace.results(lambda m: scalar(m, "@all") == 70)
    first = trace.read()["metadata"]["uid"]
    trace.delete()
    second = world.trace("again", COUNT)
    with Verdicts(second) as verdicts:
        second.condition("Ready", "True")
        world.calls(1, 2)
        second.results(lambda m: scalar(m, "@all") == 3)
    assert verdicts.of(1)[0] == "InProgress" and verdicts.of(1)[-1] == "Current"
    # The first one's reports go with it, even though they have its name.
    uid = second.read()["metadata"]["uid"]
    assert first != uid
    eventually(lambda: {report["spec"]["trace"]["uid"] for report in reports(world, second)} == {uid}, timeout=90)
    assert second.status()["results"]["text"] == "@all: 3\n"


def test_exit_ends_a_node_or_the_cluster(world: World) -> None:
    """The same program under both policies: the node where it exits, or every node."""
    program = "tracepoint:syscalls:sys_enter_getppid { @all = count(); exit(); }"
    node, whole = (world.trace(policy.lower(), program, exitPolicy=policy) for policy in ("Node", "Cluster"))
    for trace in (node, whole):
        trace.condition("Ready", "True")
    make_calls(1, world.pod_a)
    whole.condition("Succeeded", "True", timeout=60)
    assert whole.status()["completedAt"] and kstatus(whole.read()) == "Current"
    assert {report["status"]["phase"] for report in reports(world, whole)} == {"Completed"}
    phases = {report["spec"]["node"]: report["status"]["phase"] for report in reports(world, node)}
    assert phases == {world.a: "Completed", world.b: "Attached"}
    assert "completedAt" not in node.status()
    make_calls(1, world.pod_b)
    node.condition("Succeeded", "True", timeout=60)
    assert node.status()["nodes"]["completed"] == 2


def test_while_nothing_changes_nothing_is_written(world: World) -> None:
    """Every write that operator and agents make stands in the audit log; leases are how replicas know of each other."""
    quiet = [world.trace(f"quiet-{n}", COUNT) for n in range(3)]
    for trace in quiet:
        trace.condition("Ready", "True")
    world.calls(1, 2)
    for trace in quiet:
        trace.results(lambda m: scalar(m, "@all") == 3)

    def only_ours() -> bool:
        path = "/api/v1/namespaces/kubebpf-system/configmaps?labelSelector=kubebpf.dev%2Fdigest"
        stored = {item["metadata"]["name"] for item in world.cluster.api("GET", path)["items"]}
        return stored == {trace.status()["artifact"]["configMap"] for trace in quiet}

    eventually(only_ours, timeout=90, what="objects of the tests before are collected")
    time.sleep(3)

    def writes() -> list[tuple[str, str]]:
        verbs = ("create", "update", "patch", "delete")
        found = [entry for entry in entries(world.cluster.audit_log) if entry["verb"] in verbs]
        return [(e["verb"], e["requestURI"]) for e in found if e["objectRef"]["resource"] != "leases"]

    before = writes()
    time.sleep(60)
    assert writes()[len(before) :] == []
