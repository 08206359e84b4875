"""One agent as a process, on a real API server and in this kernel; the test plays the operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from support.agents import (
    SYSTEM,
    AgentProcess,
    Agents,
    change,
    counts,
    delete,
    publish,
    report_of,
    report_path,
    set_status,
)
from support.bpfstate import everything, held_by
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.counting import EXIT, PRINT, REFUSED, counting
from support.pods import Pods
from support.processes import eventually
from support.workload import Workload, make_calls, noise

pytestmark = pytest.mark.kernel

NODE = "node-a"
FAST: dict[str, Any] = {"report": {"interval": "200ms"}}


@pytest.fixture
def agents(cluster: ControlPlane, system: System) -> Iterator[Agents]:
    with Agents(cluster, system.agent) as agents:
        yield agents
    # The next test's agent must not find them: the deletion of their namespaces takes its time.
    for trace in cluster.get("bpftraces"):
        delete(cluster, trace)


@pytest.fixture
def agent(agents: Agents, pods: Pods) -> AgentProcess:
    pods.node(NODE, {"zone": "1"})
    return agents.start(NODE)


def reported(
    cluster: ControlPlane, trace: Object, check: Callable[[Object], Any], node: str = NODE, timeout: float = 15.0
) -> Object:
    """The report, once it is as `check` wants it."""
    last: list[Object | None] = [None]

    def look() -> Object | None:
        last[0] = report_of(cluster, trace, node)
        return last[0] if last[0] and check(last[0]) else None

    try:
        found = eventually(look, timeout=timeout)
    except AssertionError as error:
        raise AssertionError(f"the report is {last[0]}") from error
    assert found is not None
    return found


def attached(status: Object) -> bool:
    return bool(status["phase"] == "Attached")


def test_exact_counts_by_pod_and_container(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    api = pods.create("api-0", namespace=namespace, node=NODE, containers=["app", "proxy"], labels={"app": "api"})
    other = pods.create("other", namespace=f"{namespace}-x", node=NODE)
    elsewhere = pods.create("elsewhere", namespace=namespace, node="node-z")
    trace = publish(cluster, namespace, "exact", counting(), **FAST)
    reported(cluster, trace, attached)
    with noise():
        make_calls(1234, api, "app")
        make_calls(56, api, "proxy")
        work = Workload.start("--getppid", 7, pod=api, cgroup=api.nested("inner", "app"))
        work.go()
        make_calls(99, other)
        make_calls(98, elsewhere)
        make_calls(97)
    status = reported(cluster, trace, lambda s: sum(counts(s).values()) >= 1297)
    # The nested cgroup is another key of the map: its id differs, its pod and container do not.
    entries = next(m for m in status["maps"] if m["name"] == "@")["entries"]
    told = sorted((e["key"][0]["pod"]["name"], e["key"][0]["pod"]["container"], int(e["count"])) for e in entries)
    assert told == [("api-0", "app", 7), ("api-0", "app", 1234), ("api-0", "proxy", 56)]
    assert all(e["key"][0]["node"] == NODE and e["key"][0]["pod"]["uid"] == api.uid for e in entries)
    assert sorted(e["key"][0]["cgroup"] for e in entries if e["count"] == "56") == [str(api.container("proxy").cgroup_id)]
    assert counts(status, "@all") == {("", "", ""): 1297}
    assert status["generation"] == trace["metadata"]["generation"] and status["probes"] == 1 and status["session"]


def test_a_pod_that_comes_later_counts_from_its_first_call(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str
) -> None:
    trace = publish(cluster, namespace, "later", counting(), **FAST)
    reported(cluster, trace, attached)
    started = time.monotonic()
    late = pods.create("late", namespace=namespace, node=NODE, qos="guaranteed", driver="cgroupfs", runtime="cri-o")
    # A kubelet needs longer from the cgroup to the first process; this much is the agent's.
    time.sleep(0.2)
    make_calls(321, late)
    status = reported(cluster, trace, lambda s: counts(s, "@all"))
    print(f"pod made, called and in the report after {time.monotonic() - started:.2f} s")
    status = reported(cluster, trace, lambda s: sum(counts(s).values()) == 321)
    assert counts(status) == {(namespace, "late", "app"): 321}


def test_identity_stays_after_the_pod_is_gone(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "gone", counting(), report={"interval": "1s"})
    short = pods.create("short", namespace=namespace, node=NODE)
    reported(cluster, trace, attached)
    time.sleep(0.3)
    make_calls(11, short)
    short.delete()
    status = reported(cluster, trace, lambda s: counts(s))
    assert counts(status) == {(namespace, "short", "app"): 11}
    stays = pods.create("stays", namespace=namespace, node=NODE)
    time.sleep(0.3)
    make_calls(5, stays)
    status = reported(cluster, trace, lambda s: len(counts(s)) == 2)
    assert counts(status) == {(namespace, "short", "app"): 11, (namespace, "stays", "app"): 5}


def test_selectors_of_pods_and_containers(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    api = pods.create("api-0", namespace=namespace, node=NODE, containers=["app", "proxy"], labels={"app": "api"})
    web = pods.create("web-0", namespace=namespace, node=NODE, containers=["app", "proxy"], labels={"app": "web"})
    target = {"podSelector": {"matchLabels": {"app": "api"}}, "containers": ["proxy"]}
    trace = publish(cluster, namespace, "narrow", counting(), target=target, **FAST)
    reported(cluster, trace, attached)
    time.sleep(0.3)
    for pod in (api, web):
        make_calls(10, pod, "app")
        make_calls(20, pod, "proxy")
    # Relabelled at run time: in scope from then on.
    cluster.api("PATCH", web.path, {"metadata": {"labels": {"app": "api"}}})
    time.sleep(0.3)
    make_calls(3, web, "proxy")
    status = reported(cluster, trace, lambda s: sum(counts(s).values()) == 23)
    assert counts(status) == {(namespace, "api-0", "proxy"): 20, (namespace, "web-0", "proxy"): 3}


def test_a_cluster_trace_sees_all_namespaces_and_processes_outside_pods(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str
) -> None:
    one = pods.create("one", namespace=namespace, node=NODE)
    two = pods.create("two", namespace=f"{namespace}-x", node=NODE)
    name = f"all-{namespace}"
    trace = publish(cluster, "", name, counting(scoped=False), kind="ClusterBpfTrace", report={"interval": "200ms", "top": 1000})
    try:
        reported(cluster, trace, attached)
        make_calls(400, one)
        make_calls(500, two)
        make_calls(60)
        wanted = {(namespace, "one", "app"): 400, (f"{namespace}-x", "two", "app"): 500}
        status = reported(cluster, trace, lambda s: wanted.items() <= counts(s).items())
        assert counts(status)[("", "", "")] >= 60
        assert SYSTEM in report_path(trace, NODE)
    finally:
        delete(cluster, trace)


def test_node_selector_and_relabelling(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "zoned", counting(), target={"nodeSelector": {"zone": "2"}}, **FAST)
    time.sleep(1)
    assert report_of(cluster, trace, NODE) is None
    cluster.api("PATCH", f"/api/v1/nodes/{NODE}", {"metadata": {"labels": {"zone": "2"}}})
    reported(cluster, trace, attached)
    cluster.api("PATCH", f"/api/v1/nodes/{NODE}", {"metadata": {"labels": {"zone": "3"}}})
    eventually(lambda: report_of(cluster, trace, NODE) is None, timeout=10, what="the report goes with the label")
    eventually(lambda: not held_by(agent.pid).prog, timeout=10)


def test_deletion_leaves_nothing(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "brief", counting(), **FAST)
    reported(cluster, trace, attached)
    mine = held_by(agent.pid)
    assert mine.prog and mine.map and mine.link
    delete(cluster, trace)
    eventually(lambda: not mine & everything(), timeout=10, what="programs, maps and links are gone")
    # The garbage collector takes its time when another test's API server was away before.
    eventually(lambda: report_of(cluster, trace, NODE) is None, timeout=90, what="the report is collected")
    time.sleep(1)
    assert report_of(cluster, trace, NODE) is None


def test_failures_are_told_and_other_traces_run_on(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str
) -> None:
    good = publish(cluster, namespace, "good", counting(), **FAST)
    refused = publish(cluster, namespace, "refused", counting(body=REFUSED))
    missing = publish(cluster, namespace, "missing", counting(event="sys_enter_nothing"))
    open_one = publish(cluster, namespace, "unscoped", counting(scoped=False))
    forged = publish(cluster, namespace, "forged", counting(then=PRINT), digest="sha256:" + "0" * 64)
    wanted = {
        "refused": (refused, "VerifierRejected", "invalid mem access"),
        "missing": (missing, "ProbeMissing", "sys_enter_nothing"),
        "unscoped": (open_one, "ScopeMissing", "no scope"),
        "forged": (forged, "DigestMismatch", "sha256:"),
    }
    for trace, reason, part in wanted.values():
        status = reported(cluster, trace, lambda s: s["phase"] == "Failed")
        assert status["reason"] == reason
        assert part in status["message"]
        assert status["generation"] == 1
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    time.sleep(0.3)
    make_calls(77, pod)
    reported(cluster, good, lambda s: counts(s) == {(namespace, "api-0", "app"): 77})


def test_a_failed_program_recovers_with_the_next_generation(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "mended", counting(body=REFUSED), **FAST)
    reported(cluster, trace, lambda s: s["phase"] == "Failed")
    changed = change(cluster, trace, counting(), program="begin { /* 2 */ }")
    status = reported(cluster, changed, attached)
    assert status["generation"] == 2
    assert status["reason"] == "NoMatchingPods" and "reject" not in status["message"]


def test_a_change_starts_afresh_and_has_no_gap(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "changing", counting(), **FAST)
    first = reported(cluster, trace, attached)
    make_calls(10, pod)
    reported(cluster, trace, lambda s: sum(counts(s).values()) == 10)
    # Not compiled yet: the old session goes on.
    changed = change(cluster, trace, program="begin { /* 2 */ }")
    make_calls(5, pod)
    old = reported(cluster, trace, lambda s: sum(counts(s).values()) == 15)
    assert old["generation"] == 1 and old["session"] == first["session"]
    change(cluster, changed, counting(then=PRINT), program="begin { /* 2 */ }")
    new = reported(cluster, trace, lambda s: s["generation"] == 2 and attached(s))
    assert new["session"] != first["session"]
    make_calls(3, pod)
    reported(cluster, trace, lambda s: sum(counts(s).values()) == 3)


def test_suspend_keeps_the_last_results_and_resume_starts_afresh(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str
) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "paused", counting(), report={"interval": "1h"})
    reported(cluster, trace, attached)
    make_calls(10, pod)
    change(cluster, trace, suspend=True)
    status = reported(cluster, trace, lambda s: s["phase"] == "Completed")
    assert status["generation"] == 1 and counts(status) == {(namespace, "api-0", "app"): 10}
    eventually(lambda: not held_by(agent.pid).prog, timeout=10)
    change(cluster, trace, counting(), suspend=False)
    status = reported(cluster, trace, lambda s: s["generation"] == 3 and attached(s))
    assert sum(counts(status).values()) == 0


def test_printed_lines_have_pod_and_time(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    report = {"interval": "200ms", "recentLines": 3}
    trace = publish(cluster, namespace, "talking", counting(then=PRINT), report=report)
    reported(cluster, trace, attached)
    make_calls(5, pod)
    status = reported(cluster, trace, lambda s: len(s["recent"]) == 3 and sum(counts(s).values()) == 5)
    line = status["recent"][-1]
    assert line | {"time": ""} == {
        "time": "",
        "kind": "printf",
        "text": "call 7\n",
        "namespace": namespace,
        "pod": "api-0",
        "container": "app",
    }
    assert abs(time.time() - _seconds(line["time"])) < 10
    eventually(lambda: len(agent.lines()) == 5, timeout=5)
    said = agent.lines()[0]
    assert said["trace"]["name"] == "talking" and said["node"] == NODE and said["pod"] == "api-0"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_exit_completes_the_nodes_part_for_good(
    cluster: ControlPlane, pods: Pods, agents: Agents, agent: AgentProcess, namespace: str
) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "ending", counting(then=EXIT), report={"interval": "1h"})
    reported(cluster, trace, attached)
    make_calls(1, pod)
    status = reported(cluster, trace, lambda s: s["phase"] == "Completed")
    assert status["exitCode"] == 3 and counts(status) == {(namespace, "api-0", "app"): 1}
    eventually(lambda: not held_by(agent.pid).prog, timeout=10)
    # An agent that starts again does not run again what has ended.
    agent.stop()
    agent.start()
    time.sleep(2)
    make_calls(1, pod)
    again = report_of(cluster, trace, NODE)
    assert again and (again["phase"], again["session"]) == ("Completed", status["session"])
    assert not held_by(agent.pid).prog


def test_the_duration_ends_it_without_an_operator(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "timed", counting(), duration="2s")
    reported(cluster, trace, attached)
    started = time.monotonic()
    status = reported(cluster, trace, lambda s: s["phase"] == "Completed")
    assert 1.0 < time.monotonic() - started < 3.5
    assert "exitCode" not in status


def test_the_operators_word_ends_it(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "ended", counting(), exitPolicy="Cluster")
    reported(cluster, trace, attached)
    set_status(cluster, trace, completedAt="2026-11-22T12:00:00Z")
    reported(cluster, trace, lambda s: s["phase"] == "Completed")
    eventually(lambda: not held_by(agent.pid).prog, timeout=10)


def test_a_deleted_report_comes_back(cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "stubborn", counting(), **FAST)
    reported(cluster, trace, attached)
    make_calls(10, pod)
    before = reported(cluster, trace, lambda s: sum(counts(s).values()) == 10)
    time.sleep(0.5)
    cluster.api("DELETE", report_path(trace, NODE))
    after = reported(cluster, trace, lambda s: s)
    assert after["maps"] == before["maps"] and after["session"] == before["session"]


def test_nothing_is_written_when_nothing_changes(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    trace = publish(cluster, namespace, "quiet", counting(), **FAST)
    reported(cluster, trace, attached)
    time.sleep(1)
    version = cluster.api("GET", report_path(trace, NODE))["metadata"]["resourceVersion"]
    time.sleep(2)
    assert cluster.api("GET", report_path(trace, NODE))["metadata"]["resourceVersion"] == version


def test_counting_goes_on_while_the_api_server_is_away(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str
) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "outage", counting(), **FAST)
    first = reported(cluster, trace, attached)
    make_calls(10, pod)
    with cluster.outage():
        make_calls(1000, pod)
        time.sleep(5)
        make_calls(234, pod)
    back = time.monotonic()
    status = reported(cluster, trace, lambda s: sum(counts(s).values()) == 1244, timeout=40)
    print(f"the report is exact {time.monotonic() - back:.1f} s after the API server came back")
    assert status["session"] == first["session"]
    # What changed meanwhile is seen as well.
    delete(cluster, trace)
    eventually(lambda: not held_by(agent.pid).prog, timeout=30)


def test_sigterm_without_pins_writes_the_last_state_and_leaves_nothing(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    pods.node(NODE)
    agents.pins = None
    agent = agents.start(NODE)
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    trace = publish(cluster, namespace, "farewell", counting(), report={"interval": "1h"})
    reported(cluster, trace, attached)
    make_calls(10, pod)
    mine = held_by(agent.pid)
    assert agent.stop() == 0
    eventually(lambda: not mine & everything())
    status = report_of(cluster, trace, NODE)
    assert status and counts(status) == {(namespace, "api-0", "app"): 10}
    assert (status["phase"], status["reason"]) == ("Pending", "AgentStopped")


def test_a_trace_before_its_namespace_is_gone_and_agents_without_traces(cluster: ControlPlane, agent: AgentProcess) -> None:
    name = cluster.namespace("short-lived")
    trace = publish(cluster, name, "t", counting(), **FAST)
    reported(cluster, trace, attached)
    cluster.api("DELETE", f"/api/v1/namespaces/{name}")
    # So does the namespace controller.
    eventually(lambda: not held_by(agent.pid).prog, timeout=90)
    eventually(lambda: report_of(cluster, trace, NODE) is None, timeout=90)
    agent.check()


def test_fifty_traces_cost_an_idle_node_little(cluster: ControlPlane, agent: AgentProcess, namespace: str) -> None:
    elf = counting(then=PRINT)
    eventually(lambda: "started" in agent.tail())
    time.sleep(2)
    empty = agent.resident_mib()
    started = time.monotonic()
    traces = [publish(cluster, namespace, f"t-{i}", elf) for i in range(50)]
    for trace in traces:
        reported(cluster, trace, attached, timeout=60)
    print(f"50 traces published and attached in {time.monotonic() - started:.1f} s")
    time.sleep(1)
    cpu, began = agent.cpu_seconds(), time.monotonic()
    time.sleep(20)
    share = (agent.cpu_seconds() - cpu) / (time.monotonic() - began)
    print(f"idle with 50 traces: {100 * share:.2f} % of a core, {agent.resident_mib():.0f} MiB (without traces {empty:.0f} MiB)")
    assert share < 0.01
    assert agent.resident_mib() < empty + 200
    mine = held_by(agent.pid)
    for trace in traces:
        delete(cluster, trace)
    eventually(lambda: not mine & everything(), timeout=30)
