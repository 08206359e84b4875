"""Agents die and come back: what they counted stays exact, and what they left behind goes when its trace does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubebpf.agent.libbpf.pins import read_note, replace_note
from kubebpf.agent.session.pins import packed, unpacked
from support.agents import SYSTEM, AgentProcess, Agents, change, counts, delete, digest_of, publish, report_of, set_status
from support.agents import compiled as published
from support.bpfstate import everything, held_by, pinned_below, pins
from support.chain import build, started
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.counting import counting
from support.pods import Pods
from support.processes import eventually
from support.programs import compiled
from support.workload import Workload, make_calls

pytestmark = pytest.mark.kernel

NODE = "node.of-dots"
FAST: dict[str, Any] = {"report": {"interval": "200ms"}}
PROGRAM = """begin { @begun = count(); printf("begun\\n"); }
tracepoint:syscalls:sys_enter_getppid /comm == "survivor"/ { @ = count(); @h = hist(42); @last[pid] = pid; printf("%d\\n", pid); }
interval:ms:100 { @ticks = count(); }"""


@pytest.fixture
def agents(cluster: ControlPlane, system: System) -> Iterator[Agents]:
    with Agents(cluster, system.agent) as agents:
        yield agents
    for kind in ("bpftraces", "clusterbpftraces"):
        for trace in cluster.get(kind):
            delete(cluster, trace | {"kind": {"bpftraces": "BpfTrace", "clusterbpftraces": "ClusterBpfTrace"}[kind]})


def reported(cluster: ControlPlane, trace: Object, check: Callable[[Object], Any], timeout: float = 20) -> Object:
    def look() -> Object:
        status = report_of(cluster, trace, NODE)
        assert status and check(status), status
        return status

    return eventually(look, timeout=timeout)


def total(status: Object, name: str = "@all") -> int:
    return sum(counts(status, name).values())


@pytest.mark.parametrize("how", ["kill", "term"])
def test_counts_stay_exact_while_there_is_no_agent(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str, how: str
) -> None:
    pods.node(NODE, {})
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    agent = agents.start(NODE)
    trace = publish(cluster, namespace, "exact", counting(), **FAST)
    first = reported(cluster, trace, lambda s: s["phase"] == "Attached")
    make_calls(100, pod)
    reported(cluster, trace, lambda s: total(s) == 100)
    # It makes its calls through the death and the return of the agent.
    load = Workload.start("--getppid", 20_000, pod=pod)
    mine = held_by(agent.pid)
    if how == "kill":
        agent.kill()
    else:
        assert agent.stop() == 0
        status = report_of(cluster, trace, NODE)
        assert status and (status["phase"], status["reason"]) == ("Attached", "AgentStopped")
    assert agents.pins and pinned_below(agents.pins).link == mine.link
    make_calls(1000, pod)
    late = pods.create("late", namespace=namespace, node=NODE)
    agent.start()
    load.go()
    make_calls(10, pod)
    status = reported(cluster, trace, lambda s: total(s) == 21_110, timeout=30)
    assert (status["session"], status["startedAt"]) == (first["session"], first["startedAt"])
    assert status["phase"] == "Attached" and status.get("reason") is None
    # The pod that came meanwhile counts from now on; the one that goes does no longer.
    make_calls(5, late)
    reported(cluster, trace, lambda s: counts(s).get((namespace, "late", "app")) == 5)
    delete(cluster, trace)
    eventually(lambda: agents.pins and pins(agents.pins) == [] and not mine & everything(), timeout=20)
    agent.check()


def test_programs_of_the_compiler_are_taken_up_with_all_they_have(cluster: ControlPlane, pods: Pods, agents: Agents) -> None:
    pods.node(NODE, {})
    agent = agents.start(NODE)
    elf = compiled(PROGRAM, header="context").elf
    trace = publish(cluster, "", "all", elf, kind="ClusterBpfTrace", report={"interval": "200ms", "recentLines": 200})
    first = reported(cluster, trace, lambda s: s["phase"] == "Attached" and s["recent"])
    agent.kill()
    assert agents.pins and pins(agents.pins)
    work = Workload.start("--comm", "survivor", "--getppid", 100)
    work.go()
    time.sleep(0.5)
    agent.start()

    def cells(status: Object) -> dict[str, Any]:
        return {m["name"]: m["entries"] for m in status["maps"]}

    def ticked(status: Object) -> int:
        return int(cells(status)["@ticks"][0]["count"])

    status = reported(cluster, trace, lambda s: ticked(s) > ticked(first) + 5 and len(s["recent"]) > 1)
    assert cells(status)["@begun"][0]["count"] == "1"
    assert status["session"] == first["session"]
    assert cells(status)["@"][0]["count"] == "100"
    assert cells(status)["@h"][0]["slots"][0]["count"] == "100"
    assert cells(status)["@last"][0]["value"] == {"int": str(work.pid)}
    # What was printed before is remembered, and what nobody read meanwhile is read now: none lost, none twice.
    printed = [line["text"] for line in status["recent"]]
    assert printed == ["begun\n", *[f"{work.pid}\n"] * 100]
    delete(cluster, trace)
    eventually(lambda: agents.pins and pins(agents.pins) == [], timeout=20)
    agent.check()


def test_what_no_trace_needs_any_more_is_removed_at_the_start(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    pods.node(NODE, {})
    agent = agents.start(NODE)
    names = ["deleted", "suspended", "changed", "ended", "stays"]
    traces = {name: publish(cluster, namespace, name, counting(), **FAST) for name in names}
    sessions = {name: reported(cluster, t, lambda s: s["phase"] == "Attached")["session"] for name, t in traces.items()}
    agent.kill()
    assert agents.pins is not None
    folder = agents.pins / NODE.replace(".", "_")
    assert len(list(folder.iterdir())) == 5
    stranger = agents.pins / "another-node" / "x-1"
    stranger.mkdir(parents=True)
    (folder / "half-made").mkdir()
    delete(cluster, traces["deleted"])
    change(cluster, traces["suspended"], suspend=True)
    changed = change(cluster, traces["changed"], counting(), args=["1"])
    set_status(cluster, traces["ended"], completedAt="2026-11-22T12:00:00.000000Z")
    agent.start()
    status = reported(cluster, traces["stays"], lambda s: s["phase"] == "Attached")
    assert status["session"] == sessions["stays"]
    status = reported(cluster, changed, lambda s: s["generation"] == 2 and s["phase"] == "Attached")
    assert status["session"] != sessions["changed"]

    def left() -> bool:
        found = {path.name[:38] for path in folder.iterdir()}
        return found == {f"{traces[name]['metadata']['uid']}-{n}" for name, n in (("stays", 1), ("changed", 2))}

    eventually(left, timeout=20)
    assert stranger.is_dir()
    stranger.rmdir()
    agent.check()


def test_pods_that_came_or_left_meanwhile_are_seen_to_before_anything_slow(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    """The object of the trace cannot be had: until it is there again, the kernel counts for the pods that are meant."""
    pods.node(NODE, {})
    moved = pods.create("moved", namespace=namespace, node=NODE, labels={"app": "api"})
    agent = agents.start(NODE)
    elf = counting()
    trace = publish(cluster, namespace, "early", elf, target={"podSelector": {"matchLabels": {"app": "api"}}}, **FAST)
    reported(cluster, trace, lambda s: s["phase"] == "Attached")
    make_calls(10, moved)
    reported(cluster, trace, lambda s: total(s) == 10)
    agent.kill()
    cluster.api("DELETE", f"/api/v1/namespaces/{SYSTEM}/configmaps/kubebpf-{digest_of(elf)[7:47]}")
    late = pods.create("late", namespace=namespace, node=NODE, labels={"app": "api"})
    cluster.api("PATCH", moved.path, {"metadata": {"labels": {"app": "web"}}})
    agent.start()
    started = time.monotonic()
    eventually(lambda: "the object cannot be had" in agent.log.read_text(), timeout=20)
    print(f"an agent's start to the scopes: less than {time.monotonic() - started:.2f} s")
    make_calls(7, late)
    make_calls(1000, moved)
    published(cluster, trace, elf)
    status = reported(cluster, trace, lambda s: s["phase"] == "Attached" and total(s) >= 17, timeout=40)
    assert counts(status) == {(namespace, "moved", "app"): 10, (namespace, "late", "app"): 7}
    agent.check()


def test_of_two_agents_of_a_node_the_second_waits_and_takes_over(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    """As in a rolling update that starts the new pod before the old one has ended."""
    pods.node(NODE, {})
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    first = agents.start(NODE)
    trace = publish(cluster, namespace, "surge", counting(), **FAST)
    status = reported(cluster, trace, lambda s: s["phase"] == "Attached")
    load = Workload.start("--forever", "--gap-us", 500, pod=pod)
    load.begin()
    second = agents.start(NODE)
    eventually(lambda: "another agent of this node is still at work" in second.log.read_text(), timeout=20)
    assert not held_by(second.pid).link
    assert first.stop() == 0
    eventually(lambda: "took up" in second.log.read_text(), timeout=20)
    time.sleep(0.5)
    made = load.stop()
    after = reported(cluster, trace, lambda s: total(s) >= made and s.get("reason") is None)
    assert (total(after), after["session"]) == (made, status["session"])
    second.check()


def test_the_stacks_of_ended_processes_keep_their_words(
    cluster: ControlPlane, pods: Pods, agents: Agents, tmp_path: Path
) -> None:
    pods.node(NODE, {})
    agent = agents.start(NODE)
    elf = compiled('tracepoint:syscalls:sys_enter_getppid /comm == "pie"/ { @[ustack(4)] = count(); }', header="context").elf
    trace = publish(cluster, "", "stacks", elf, kind="ClusterBpfTrace", **FAST)
    first = reported(cluster, trace, lambda s: s["phase"] == "Attached")
    program = build("pie", tmp_path)
    with started(program.path) as process:
        process.go()
        said = reported(cluster, trace, lambda s: s["maps"][0]["entries"])["maps"]
    assert all(frame in json.dumps(said) for frame in program.frames)
    agent.kill()
    agent.start()
    eventually(lambda: "took up" in agent.log.read_text(), timeout=20)
    with started(program.path) as process:
        process.go()
    status = reported(cluster, trace, lambda s: s["maps"] != said)
    assert status["session"] == first["session"]
    (entry,) = status["maps"][0]["entries"]  # both processes' stacks are one in words
    assert entry["count"] == "2" and entry["key"] == said[0]["entries"][0]["key"]


EXITING = """tracepoint:syscalls:sys_enter_getppid { @all = count(); if (comm == "lastcall") { exit(); } }
end { @ended = count(); printf("the end\\n"); }"""


def test_what_ended_while_nobody_could_be_told_is_reported_by_the_next_agent(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    pods.node(NODE, {})
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    agent = agents.start(NODE)
    trace = publish(cluster, namespace, "ending", compiled(EXITING, scoped=True, header="context").elf, **FAST)
    first = reported(cluster, trace, lambda s: s["phase"] == "Attached")
    make_calls(1000, pod)
    with cluster.outage():
        Workload.start("--comm", "lastcall", "--getppid", 1, pod=pod).go()
        assert agents.pins
        eventually(lambda: agent.lines(), timeout=10, what="the end program has run")
        make_calls(5, pod)
        agent.kill()
        assert pins(agents.pins) and not pinned_below(agents.pins).link
        agent.start()
    status = reported(cluster, trace, lambda s: s["phase"] == "Completed", timeout=40)
    assert (status["session"], status["exitCode"]) == (first["session"], 0)
    assert (total(status), total(status, "@ended")) == (1001, 1)
    eventually(lambda: agents.pins and pins(agents.pins) == [], timeout=10, what="what is reported is released")
    assert [line["text"] for line in agent.lines()] == ["the end\n"]
    agent.check()


def test_the_pins_of_another_version_are_removed_and_the_trace_starts_afresh(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    pods.node(NODE, {})
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    agent = agents.start(NODE)
    trace = publish(cluster, namespace, "upgraded", counting(), **FAST)
    first = reported(cluster, trace, lambda s: s["phase"] == "Attached")
    make_calls(100, pod)
    reported(cluster, trace, lambda s: total(s) == 100)
    assert agent.stop() == 0
    assert agents.pins
    before = pinned_below(agents.pins)
    (note,) = (path for path in pins(agents.pins) if path.name == "note")
    said = unpacked(read_note(note))
    replace_note(note, packed(said | {"format": said["format"] + 1}))
    agent.start()
    status = reported(cluster, trace, lambda s: s["phase"] == "Attached" and s.get("reason") is None)
    assert status["session"] != first["session"] and total(status) == 0
    assert f"the format {said['format'] + 1}, of another version" in agent.log.read_text()
    # Nothing of the earlier one counts beside it, or stays.
    make_calls(10, pod)
    reported(cluster, trace, lambda s: total(s) == 10)
    eventually(lambda: not before & everything(), timeout=10)
    agent.check()


BUSY = "tracepoint:syscalls:sys_enter_getppid { $i = 0; while ($i < 2000) { @x[$i] = $i; $i++; } @n = count(); }"


def test_limits_of_processor_time_and_memory_detach_a_trace(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    pods.node(NODE, {})
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    agent = agents.start(NODE)
    busy = compiled(BUSY, scoped=True, header="context").elf
    many = compiled("config = { max_map_keys=4000000 } " + BUSY, scoped=True, header="context").elf
    limited = publish(cluster, namespace, "limited", busy, limits={"maxCPUPercent": "500m"}, **FAST)
    modest = publish(cluster, namespace, "modest", counting(), limits={"maxCPUPercent": 90}, **FAST)
    large = publish(cluster, namespace, "large", many, **FAST)
    status = reported(cluster, large, lambda s: s["phase"] == "Failed")
    assert status["reason"] == "MemoryLimitExceeded"
    assert "64.0 MiB are left" in status["message"] and "largest is @x" in status["message"]
    for trace in (limited, modest):
        reported(cluster, trace, lambda s: s["phase"] == "Attached" and s.get("reason") is None)
    assert counts_time(agent)
    make_calls(3, pod)
    load = Workload.start("--getppid", 100_000_000, pod=pod)
    load.begin()
    try:
        status = reported(cluster, limited, lambda s: s["phase"] == "Failed", timeout=30)
    finally:
        load.process.kill()
        load.process.wait()
    print(status["message"])
    assert status["reason"] == "CPULimitExceeded" and "limits.maxCPUPercent is 0.5" in status["message"]
    modest_now = reported(cluster, modest, lambda s: s["phase"] == "Attached")
    assert counts_time(agent)
    # The next agent does not start it again either; a new generation does.
    agent.kill()
    agent.start()
    make_calls(1, pod)
    reported(cluster, modest, lambda s: s["phase"] == "Attached" and total(s) > total(modest_now))
    assert reported(cluster, limited, lambda s: s["phase"] == "Failed")["reason"] == "CPULimitExceeded"
    changed = change(cluster, limited, busy, limits={"maxCPUPercent": 100})
    reported(cluster, changed, lambda s: s["generation"] == 2 and s["phase"] == "Attached")
    for trace in (limited, modest, large):
        delete(cluster, trace)
    eventually(lambda: not held_by(agent.pid).prog, timeout=20)
    assert not counts_time(agent)
    agent.check()


def counts_time(agent: AgentProcess) -> bool:
    """Whether an agent has the kernel count run times."""
    return any("bpf-stats" in str(fd.readlink()) for fd in Path(f"/proc/{agent.pid}/fd").iterdir() if fd.is_symlink())
