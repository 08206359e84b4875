"""What a trace may cost a node: detached there and told in conditions and Events; and what waits goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.agents import Agents
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.operators import OperatorProcess
from support.pods import Pods
from support.processes import eventually
from support.workload import Workload, make_calls
from support.world import Trace, World, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @all = count(); }"
# 2000 turns a call, where the call is in scope.
BUSY = "tracepoint:syscalls:sys_enter_getppid { $i = 0; while ($i < 2000) { @x[$i] = $i; $i++; } @n = count(); }"
TRACE_MIB, NODE_MIB = 24, 40
FULL = "config = { max_map_keys = %d } tracepoint:syscalls:sys_enter_getppid { @x[tid] = tid; @all = count(); }"
# A histogram under a new key at each call: memory is taken for it then.
GROWS = """config = { max_map_keys = 60000 }
tracepoint:syscalls:sys_enter_getppid { @i++; @h[@i] = hist(@i); }"""


@pytest.fixture
def world(cluster: ControlPlane, system: System, pods: Pods, namespace: str, operator: OperatorProcess) -> Iterator[World]:
    """As everywhere, with agents that give their traces less memory."""
    limits = [f"--trace-memory-mib={TRACE_MIB}", f"--node-memory-mib={NODE_MIB}"]
    with Agents(cluster, system.agent, more=limits) as agents:
        yield World(cluster, pods, agents, namespace, operator)


def events(trace: Trace) -> dict[str, Object]:
    """By reason and node."""
    items = trace.cluster.api("GET", f"/api/v1/namespaces/{trace.namespace}/events")["items"]
    mine = [item for item in items if item["involvedObject"]["name"] == trace.name]
    return {f"{event['reason']} {event['source'].get('host', '')}".strip(): event for event in mine}


def failed(trace: Trace, node: str, reason: str) -> str:
    """The node's part has failed for this reason, as everybody hears of it; the message."""
    degraded = trace.condition("Degraded", "True", timeout=40)
    error = eventually(lambda: next(e for e in trace.status()["nodeErrors"] if e["node"] == node), timeout=20)
    assert error["reason"] == reason, error
    assert degraded["message"]
    event = eventually(lambda: events(trace)[f"NodeFailed {node}"], timeout=30)
    assert event["type"] == "Warning" and reason in event["message"]
    print(f"{degraded['reason']}: {degraded['message']}\n{event['message']}")
    message: str = error["message"]
    return message


def test_a_trace_over_its_processor_time_is_detached_on_that_node(world: World) -> None:
    trace = world.trace("busy", BUSY, limits={"maxCPUPercent": "20"})
    trace.condition("Ready", "True")
    load = Workload.start("--getppid", 100_000_000, pod=world.pod_a)
    load.begin()
    try:
        message = failed(trace, world.a, "CPULimitExceeded")
    finally:
        load.process.kill()
        load.process.wait()
    assert "limits.maxCPUPercent is 20" in message
    # The other node's pods cost little, and are traced on.
    status = trace.status()
    assert (status["nodes"]["attached"], status["nodes"]["failed"]) == (1, 1)
    assert trace.condition("Ready", "True")["reason"] == "SomeNodesFailed"
    before = scalar({m["name"]: m for m in status["results"]["maps"]}, "@n")
    make_calls(7, world.pod_b)
    trace.results(lambda maps: scalar(maps, "@n") >= 7 and scalar(maps, "@n") != before)
    trace.delete()


def test_events_beyond_the_limit_are_counted_and_told(world: World) -> None:
    program = 'tracepoint:syscalls:sys_enter_getppid { printf("%d\\n", pid); @all = count(); }'
    trace = world.trace("flood", program, limits={"maxEventsPerSecond": 10})
    trace.condition("Ready", "True")
    make_calls(5000, world.pod_a)
    trace.results(lambda maps: scalar(maps, "@all") == 5000)

    def told() -> int:
        lost = trace.status()["lost"]
        assert lost["total"] == lost["events"] and int(lost["events"]) > 4000, lost
        return int(lost["events"])

    lost = eventually(told, timeout=20)
    printed = len(trace.status()["recent"])
    # One second's worth, or that of two when the calls fell into two.
    assert 4960 <= lost <= 4990 and 10 <= printed <= 50
    assert lost + sum(line["text"].endswith("\n") for agent in world.agents for line in agent.lines()) == 5000
    event = eventually(lambda: events(trace)["LostEvents"], timeout=10)
    assert event["type"] == "Warning" and "events: " in event["message"]
    trace.delete()


def test_what_a_node_has_no_memory_for_is_started_when_it_has(world: World) -> None:
    """Two traces of 18 MiB and a node with 40 MiB, which also has the ring buffers: the third waits."""
    keys = 200_000
    first, second = (world.trace(f"t{n}", FULL % keys) for n in range(2))
    for trace in (first, second):
        trace.condition("Ready", "True")
    third = world.trace("t2", FULL % keys)
    for node in (world.a, world.b):
        message = failed(third, node, "MemoryLimitExceeded")
        assert "largest is @x" in message and "it is started when other traces here need less" in message
    third.condition("Stalled", "True")
    make_calls(3, world.pod_a)
    first.delete()
    began = time.monotonic()
    third.condition("Ready", "True", timeout=30)
    print(f"ready {time.monotonic() - began:.1f} s after the memory was free")
    third.condition("Degraded", "False")
    make_calls(4, world.pod_a)
    third.results(lambda maps: scalar(maps, "@all") == 4)
    second.results(lambda maps: scalar(maps, "@all") == 7)
    for trace in (second, third):
        trace.delete()


def test_a_trace_that_needs_more_than_one_may_have_waits_for_nothing(world: World) -> None:
    trace = world.trace("large", FULL % 1_000_000)
    message = failed(trace, world.a, "MemoryLimitExceeded")
    assert f"{TRACE_MIB}.0 MiB are left for this trace" in message and "is started when" not in message
    trace.delete()


def test_a_trace_whose_maps_grow_over_the_limit_is_detached(world: World) -> None:
    modest = world.trace("modest", COUNT)
    trace = world.trace("grows", GROWS)
    for one in (modest, trace):
        one.condition("Ready", "True")
    calls = 0

    def grown() -> bool:
        """In a burst the kernel's reserve for new keys runs dry; it is refilled in between."""
        nonlocal calls
        make_calls(1000, world.pod_a)
        calls += 1000
        return bool(trace.status().get("nodeErrors"))

    eventually(grown, timeout=60)
    message = failed(trace, world.a, "MemoryLimitExceeded")
    assert "the largest is @h" in message
    make_calls(1, world.pod_a)
    modest.results(lambda maps: scalar(maps, "@all") == calls + 1)
    for one in (modest, trace):
        one.delete()
