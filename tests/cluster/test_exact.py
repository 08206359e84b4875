"""The main story: a manifest becomes a cluster's numbers, exactly.

Operator and two agents as processes with the chart's rights, one API server, one kernel; pods with known numbers of system calls
on both nodes, and noise that must not be counted.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest

from support.agents import AgentProcess
from support.bpfstate import bpftool, everything, pins
from support.chart import System
from support.controlplane import ApiError, ControlPlane
from support.pods import Pod
from support.processes import eventually
from support.workload import Workload, noise
from support.world import Trace, World, by_container, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @[cgroup] = count(); @all = count(); }"
READS = """tracepoint:syscalls:sys_enter_read /comm == "exactreads"/ {
  @size = hist(args.count); @mean = avg(args.count); @bytes = sum(args.count);
  @largest = max(args.count); @smallest = min(args.count);
}"""
SIZES_A = [0, 1, 1, 2, 3, 4, 100, 4095, 4096, 65536]
SIZES_B = [1, 7, 8, 100, 1000000]
TWO_ERRORS = "begin {\n  @a = coutn();\n  $x = nosuch;\n}\n"


def slot(size: int) -> int:
    """The slot of hist() for k = 0: 1 is the number 0, 2 + l the numbers from 2**l on."""
    return 1 if size == 0 else 1 + size.bit_length()


def test_counts_of_two_nodes_are_exact_and_deletion_leaves_nothing(world: World, system: System) -> None:
    # The operator's first compilation reads the kernel's types; the second one is what a user waits for.
    warm = world.trace("warm", "interval:s:1 { @ = count(); }")
    warm.condition("Ready", "True")
    warm.delete()
    eventually(lambda: not world.held().prog, timeout=15)
    trace = world.trace("calls", COUNT)
    trace.condition("Ready", "True", every=0.01)
    ready = time.monotonic()
    print(f"apply to Ready on two nodes: {ready - trace.applied:.2f} s, {ready - trace.accepted:.2f} s after kubectl returned")
    with noise():
        world.calls(12345, 6789, proxy=77)
        maps = trace.results(lambda m: scalar(m, "@all") == 12345 + 6789 + 77)
    assert by_container(maps) == {
        world.key(world.pod_a): 12345,
        world.key(world.pod_b): 6789,
        world.key(world.pod_a, "proxy"): 77,
    }
    ids = {int(entry["key"][0]["cgroup"]) for entry in maps["@"]["entries"]}
    containers = [*world.pod_a.containers.values(), *world.pod_b.containers.values()]
    assert ids == {container.cgroup_id for container in containers}
    assert {entry["key"][0]["pod"]["uid"] for entry in maps["@"]["entries"]} == {world.pod_a.uid, world.pod_b.uid}
    _leaves_nothing(world, system, trace)


def _leaves_nothing(world: World, system: System, trace: Trace) -> None:
    config_map = trace.status()["artifact"]["configMap"]
    mine = world.held()
    assert len(mine.prog) >= 2 and len(mine.link) >= 2
    told = {program["id"] for program in bpftool("prog")}
    assert mine.prog <= told
    trace.delete()
    gone = time.monotonic()
    eventually(lambda: not mine & everything(), timeout=15, what="programs, maps and links are gone")
    print(f"deletion to an empty kernel: {time.monotonic() - gone:.2f} s after kubectl returned")
    for kind, ids in (("prog", mine.prog), ("map", mine.map), ("link", mine.link)):
        assert not ids & {found["id"] for found in bpftool(kind)}
    assert world.agents_started.pins and pins(world.agents_started.pins) == []
    eventually(lambda: world.cluster.get("bpftracereports", namespace=world.namespace) == [], timeout=90, what="no report")
    eventually(lambda: not _exists(world.cluster, system, config_map), timeout=60, what="no ConfigMap")


def _exists(cluster: ControlPlane, system: System, config_map: str) -> bool:
    try:
        cluster.api("GET", f"/api/v1/namespaces/{system.namespace}/configmaps/{config_map}")
    except ApiError as error:
        assert error.code == 404
        return False
    return True


def test_histogram_average_and_extremes_are_exact(world: World) -> None:
    trace = world.trace("reads", READS)
    trace.condition("Ready", "True")
    _read(SIZES_A, world.pod_a)
    _read(SIZES_B, world.pod_b)
    _read([5, 5, 5], world.foreign)
    _read([6, 6, 6], None)
    sizes = SIZES_A + SIZES_B
    maps = trace.results(lambda m: scalar(m, "@mean") == len(sizes))
    counted = {row["slot"]: int(row["count"]) for row in maps["@size"]["entries"][0]["slots"]}
    assert counted == dict(Counter(map(slot, sizes)))
    assert scalar(maps, "@mean", "total") == sum(sizes) == scalar(maps, "@bytes", "sum")
    assert scalar(maps, "@largest", "max") == max(sizes)
    assert scalar(maps, "@smallest", "min") == min(sizes)
    text = trace.status()["results"]["text"]
    assert f"@mean: {sum(sizes) // len(sizes)}\n" in text
    assert f"@largest: {max(sizes)}\n" in text


def _read(sizes: list[int], pod: Pod | None) -> None:
    work = Workload.start("--comm", "exactreads", "--reads", ",".join(map(str, sizes)), pod=pod)
    work.go()


def test_the_operator_is_killed_in_the_middle(world: World) -> None:
    trace = world.trace("killed", COUNT)
    trace.condition("Ready", "True")
    world.calls(100, 200)
    trace.results(lambda m: scalar(m, "@all") == 300)
    world.operator.server.kill()
    world.calls(1000, 2000)
    time.sleep(1)
    world.operator.server.start()
    world.calls(10, 20)
    maps = trace.results(lambda m: scalar(m, "@all") == 3330)
    assert by_container(maps) == {world.key(world.pod_a): 1110, world.key(world.pod_b): 2220}
    trace.condition("Ready", "True")


def test_thirty_seconds_without_an_api_server(world: World) -> None:
    trace = world.trace("outage", COUNT)
    trace.condition("Ready", "True")
    world.calls(100, 200)
    with world.cluster.outage():
        for _ in range(3):
            world.calls(1000, 2000)
            time.sleep(10)
    back = time.monotonic()
    maps = trace.results(lambda m: scalar(m, "@all") == 9300, timeout=60)
    print(f"exact again {time.monotonic() - back:.1f} s after 30 s without the API server")
    assert by_container(maps) == {world.key(world.pod_a): 3100, world.key(world.pod_b): 6200}
    world.calls(1, 2)
    trace.results(lambda m: scalar(m, "@all") == 9303, timeout=60)


def test_two_errors_are_told_and_a_fixed_program_recovers(world: World) -> None:
    trace = world.trace("faulty", TWO_ERRORS)
    told = trace.condition("Compiled", "False")["message"]
    assert "2:8" in told and "coutn" in told
    assert "3:8" in told and "nosuch" in told
    assert told.count("^") >= 2 or told.count("~") >= 2
    time.sleep(1)
    assert not world.held().prog
    assert "artifact" not in trace.status()
    trace.apply(COUNT, target=world.target)
    trace.condition("Ready", "True")
    world.calls(7, 8)
    trace.results(lambda m: scalar(m, "@all") == 15)


def test_one_node_refuses_and_the_others_run_on(world: World) -> None:
    node = world.node("c")
    # The kernel refuses programs of a process without these capabilities.
    lacking = ["setpriv", "--bounding-set", "-bpf,-sys_admin,-perfmon", "--inh-caps", "-bpf,-sys_admin,-perfmon"]
    agent: AgentProcess = world.agents_started.start(node, wrapper=lacking)
    trace = world.trace("partly", COUNT)
    trace.condition("Degraded", "True")
    trace.condition("Ready", "True")
    status = trace.status()
    (error,) = status["nodeErrors"]
    assert error["node"] == node and error["reason"] == "LoadFailed"
    assert "EPERM" in error["message"] or "not permitted" in error["message"]
    assert (status["nodes"]["summary"], status["nodes"]["failed"]) == ("2/3", 1)
    eventually(lambda: _event(world, trace, "NodeFailed"), timeout=15, what="an Event tells of the node")
    world.calls(5, 6)
    trace.results(lambda m: scalar(m, "@all") == 11)
    agent.check()


# Looking for one long string in another wants more branches than the verifier follows.
TOO_COMPLEX = """config = { max_strlen = 3000 }
tracepoint:syscalls:sys_enter_openat {
  $a = str(args.filename);
  if (strstr($a, str(args.filename)) >= 0) { @ = count(); }
}
"""


def test_a_program_that_the_verifier_refuses(world: World) -> None:
    good = world.trace("beside", COUNT)
    trace = world.trace("complex", TOO_COMPLEX)
    said = trace.condition("Stalled", "True", timeout=90)
    assert said["reason"] == "AllNodesFailed"
    errors = trace.status()["nodeErrors"]
    assert {error["node"] for error in errors} == {world.a, world.b}
    assert {error["reason"] for error in errors} == {"VerifierRejected"}
    assert all("too complex" in error["message"] and "omitted" in error["message"] for error in errors)
    eventually(lambda: _event(world, trace, "NodeFailed"), timeout=15, what="an Event tells of a node")
    good.condition("Ready", "True")
    world.calls(3, 4)
    good.results(lambda m: scalar(m, "@all") == 7)


def _event(world: World, trace: Trace, reason: str) -> bool:
    uid = trace.read()["metadata"]["uid"]
    events = world.cluster.api("GET", f"/api/v1/namespaces/{world.namespace}/events")["items"]
    return any(event["reason"] == reason and event["involvedObject"].get("uid") == uid for event in events)
