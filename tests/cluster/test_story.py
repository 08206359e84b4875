"""What a trace goes through on a cluster: it ends, is narrowed, prints, is interrupted; operator and two agents as processes."""

from __future__ import annotations

import time

import pytest

from support.processes import eventually
from support.workload import Workload, make_calls
from support.world import World, by_container, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @[cgroup] = count(); @all = count(); }"
LAST_CALL = """tracepoint:syscalls:sys_enter_getppid {
  @all = count();
  if (comm == "lastcall") { exit(); }
}
end { @ended = count(); }"""


def last_call(world: World) -> None:
    """One call that ends the trace, on node a."""
    Workload.start("--comm", "lastcall", "--getppid", 1, pod=world.pod_a).go()


def test_exit_on_one_node_ends_the_whole_trace(world: World) -> None:
    trace = world.trace("ending", LAST_CALL, exitPolicy="Cluster")
    trace.condition("Ready", "True")
    world.calls(10, 20)
    last_call(world)
    trace.condition("Succeeded", "True")
    maps = trace.results(lambda m: True)
    # The end programs ran on both nodes.
    assert (scalar(maps, "@all"), scalar(maps, "@ended")) == (31, 2)
    eventually(lambda: not world.held().prog, timeout=15)
    world.calls(5, 5)
    time.sleep(2)
    assert scalar(trace.results(lambda m: True), "@all") == 31


def test_exit_ends_the_part_of_its_node(world: World) -> None:
    trace = world.trace("partly", LAST_CALL)
    trace.condition("Ready", "True")
    last_call(world)
    eventually(lambda: trace.status()["nodes"]["completed"] == 1, timeout=15)
    world.calls(100, 200)
    maps = trace.results(lambda m: scalar(m, "@all") == 201)
    assert scalar(maps, "@ended") == 1


def test_the_duration_ends_it_on_every_node(world: World) -> None:
    trace = world.trace("timed", COUNT, duration="3s")
    trace.condition("Ready", "True")
    world.calls(10, 20)
    trace.condition("Succeeded", "True", timeout=20)
    assert scalar(trace.results(lambda m: True), "@all") == 30
    eventually(lambda: not world.held().prog, timeout=15)


def test_only_the_selected_containers_of_the_selected_pods(world: World) -> None:
    target = world.target | {"podSelector": {"matchLabels": {"app": "api"}}, "containers": ["proxy"]}
    chosen = world.pods.create(
        "chosen", namespace=world.namespace, node=world.b, containers=["app", "proxy"], labels={"app": "api"}
    )
    trace = world.trace("narrow", COUNT, target=target)
    trace.condition("Ready", "True")
    world.calls(10, 20, proxy=30)
    make_calls(40, chosen, "app")
    make_calls(50, chosen, "proxy")
    nested = chosen.nested("inner", "proxy")
    Workload.start("--getppid", 7, pod=chosen, cgroup=nested).go()
    maps = trace.results(lambda m: scalar(m, "@all") == 57)
    assert by_container(maps) == {world.key(chosen, "proxy"): 57}


def test_a_cluster_trace_of_the_selected_pods_of_any_namespace(world: World) -> None:
    labels = {"app": world.fleet}
    near = world.pods.create("near", namespace=world.namespace, node=world.a, labels=labels)
    far = world.pods.create("far", namespace=f"{world.namespace}-far", node=world.b, labels=labels)
    trace = world.cluster_trace("wide", COUNT, {"podSelector": {"matchLabels": labels}})
    try:
        trace.condition("Ready", "True")
        world.calls(10, 20)
        make_calls(30, near)
        make_calls(40, far)
        maps = trace.results(lambda m: scalar(m, "@all") == 70)
        assert by_container(maps) == {
            world.key(near): 30,
            (far.node, f"{world.namespace}-far", "far", "app"): 40,
        }
    finally:
        trace.delete()


def test_namespaces_by_label_and_a_target_that_selects_nothing(world: World) -> None:
    team = f"team-{world.namespace}"
    trace = world.cluster_trace("team", COUNT, {"namespaceSelector": {"matchLabels": {"team": team}}})
    try:
        trace.condition("Compiled", "True")
        # No error: pods may come.
        ready = trace.condition("Ready", "True")
        eventually(lambda: trace.condition("Ready", "True")["reason"] == "NoMatchingPods", timeout=10)
        assert trace.condition("Attached", "True")["reason"] == "NoMatchingPods", ready
        world.cluster.api("PATCH", f"/api/v1/namespaces/{world.namespace}", {"metadata": {"labels": {"team": team}}})
        eventually(lambda: trace.condition("Ready", "True")["reason"] == "AllNodesAttached", timeout=15)
        world.calls(10, 20)
        maps = trace.results(lambda m: scalar(m, "@all") == 30)
        assert by_container(maps) == {world.key(world.pod_a): 10, world.key(world.pod_b): 20}
        broken = {"key": "team", "operator": "NotIn"}
        trace.apply(COUNT, target=world.target | {"namespaceSelector": {"matchExpressions": [broken]}})
        refused = trace.condition("Compiled", "False")
        assert refused["reason"] == "InvalidSpec"
        assert refused["message"] == "spec.target.namespaceSelector.matchExpressions: team: NotIn needs values"
    finally:
        trace.delete()


def test_kubectl_finds_a_trace_by_each_of_its_names(world: World) -> None:
    world.trace("named", COUNT).condition("Ready", "True")
    for kind in ("bpftrace", "bpftraces", "bt"):
        assert "named" in world.cluster.kubectl("get", kind, "named", "-n", world.namespace, "--no-headers")
    assert "bpftrace.kubebpf.dev/named" in world.cluster.kubectl("get", "kubebpf", "-n", world.namespace, "-o", "name")


def test_printed_lines_of_all_nodes_with_their_pods(world: World) -> None:
    trace = world.trace("talking", 'tracepoint:syscalls:sys_enter_getppid { printf("hello from %s\\n", comm); }')
    trace.condition("Ready", "True")
    make_calls(1, world.pod_a)
    make_calls(1, world.pod_b)
    make_calls(1, world.foreign)
    eventually(lambda: len(trace.status().get("recent", [])) == 2, timeout=15)
    recent = trace.status()["recent"]
    assert sorted((line["node"], line["pod"], line["container"]) for line in recent) == [
        (world.a, "api-0", "app"),
        (world.b, "api-1", "app"),
    ]
    # comm has 15 characters.
    assert {line["text"] for line in recent} == {"hello from kubebpf-workloa\n"}
    eventually(lambda: [line["pod"] for line in world.agents[0].lines()] == ["api-0"], timeout=5)


def test_an_agent_is_killed_and_comes_back(world: World) -> None:
    """The next agent takes up what the kernel holds: nothing is counted twice, nothing is lost."""
    trace = world.trace("crash", COUNT)
    trace.condition("Ready", "True")
    world.calls(10, 20)
    trace.results(lambda m: scalar(m, "@all") == 30)
    agent = world.agents[0]
    agent.kill()
    world.calls(1, 2)
    agent.start()
    trace.results(lambda m: scalar(m, "@all") == 33)
    world.calls(3, 4)
    trace.results(lambda m: scalar(m, "@all") == 40)


def test_params_and_args_restart_without_compiling(world: World) -> None:
    program = "tracepoint:syscalls:sys_enter_getppid { @ = sum($1); }"
    trace = world.trace("args", program, args=["5"])
    trace.condition("Ready", "True")
    digest = trace.status()["artifact"]["digest"]
    world.calls(10, 10)
    trace.results(lambda m: scalar(m, "@", "sum") == 100)
    trace.apply(program, target=world.target, args=["7"])
    trace.condition("Ready", "True")
    world.calls(10, 10)
    trace.results(lambda m: scalar(m, "@", "sum") == 140)
    assert trace.status()["artifact"]["digest"] == digest


def test_a_program_of_begin_and_end_ends_by_itself(world: World) -> None:
    trace = world.trace("once", "begin { @begun = count(); } end { @ended = count(); }")
    trace.condition("Succeeded", "True")
    maps = trace.results(lambda m: scalar(m, "@ended") == 2)
    assert scalar(maps, "@begun") == 2
    eventually(lambda: not world.held().prog, timeout=15)
