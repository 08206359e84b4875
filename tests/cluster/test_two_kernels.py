"""Two nodes whose kernels differ, with agents: what only one of them has is compiled for it, runs there, and counts together.

Node b's agent takes a file for its kernel's types. They say other names than the kernel's own for what lies in the same place, so
programs that are relocated by them run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agents import GROUP, Agents
from support.chart import System
from support.controlplane import ApiError, ControlPlane, Object
from support.doctored import Doctored
from support.operators import OperatorProcess
from support.pods import Pods
from support.processes import eventually
from support.world import Trace, World, scalar

pytestmark = pytest.mark.kernel

GETPPID = "tracepoint:syscalls:sys_enter_getppid"
CLOSED = 77  # what node b's kernel calls TCP_CLOSE, which is 7


@pytest.fixture
def kernels(
    cluster: ControlPlane, system: System, pods: Pods, namespace: str, operator: OperatorProcess, tmp_path: Path
) -> Iterator[World]:
    other = Doctored.of_this_kernel()
    other.rename_member("task_struct", "start_time", "born")
    other.renumber("TCP_CLOSE", CLOSED)
    types = tmp_path / "other.btf"
    types.write_bytes(other.build())
    operator.server.start()
    with Agents(cluster, system.agent) as agents:
        yield World(cluster, pods, agents, namespace, operator, types)
        cluster.api("DELETE", f"{GROUP}/namespaces/{namespace}/bpftraces")


def errors(trace: Trace) -> dict[str, Object]:
    return {row["node"]: row for row in trace.status().get("nodeErrors", [])}


def digest_of(world: World, node: str) -> str:
    try:
        found: str = world.cluster.api("GET", f"{GROUP}/bpfnodes/{node}")["status"]["btf"]["digest"]
    except (ApiError, KeyError):
        raise AssertionError from None
    return found


def test_each_kernel_runs_what_it_has(kernels: World) -> None:
    world = kernels
    eventually(lambda: digest_of(world, world.a) != digest_of(world, world.b), what="both nodes known")
    new = world.trace("new", f"{GETPPID} {{ @all = count(); @born = max(curtask.born); }}")
    old = world.trace("old", f"{GETPPID} {{ @all = count(); @start = max(curtask.start_time); }}")
    both = world.trace("both", f"{GETPPID} {{ @[(uint64)TCP_CLOSE] = count(); }}")
    for trace in (new, old):
        trace.condition("Ready", "True", timeout=60)
    assert "artifact" not in new.status()
    assert [row["btf"] for row in new.status()["variants"]] == [digest_of(world, world.b)]
    assert errors(new)[world.a]["reason"] == errors(old)[world.b]["reason"] == "CompileFailed"
    assert "no field named 'born'" in errors(new)[world.a]["message"].replace("does not contain a", "no")
    # Compiled for this kernel, refused by the other's agent, and compiled for that one too.
    assert "start_time" in errors(old)[world.b]["message"] and "variants" not in old.status()
    both.condition("Attached", "True", timeout=60)
    assert both.status()["artifact"]["digest"] != both.status()["variants"][0]["digest"]
    world.calls(10, 20)
    maps = new.results(lambda maps: scalar(maps, "@all") == 20)
    assert scalar(maps, "@born", "max") > 0
    maps = old.results(lambda maps: scalar(maps, "@all") == 10)
    assert scalar(maps, "@start", "max") > 0

    def counted(maps: dict[str, Object]) -> bool:
        return {row["key"][0].get("int"): row["count"] for row in maps["@"]["entries"]} == {"7": "10", str(CLOSED): "20"}

    both.results(counted)
    assert both.status()["nodes"]["summary"] == "2/2"
    # An edit begins anew, for both.
    new.apply(f"{GETPPID} {{ @all = count(); @later = max(curtask.born + 1); }}", target=world.target)
    new.condition("Ready", "True", timeout=60)
    world.calls(1, 2)
    new.results(lambda maps: "@later" in maps and scalar(maps, "@all") == 2)
    assert new.status()["results"]["generation"] == 2


def test_a_schedule_and_a_whole_cluster_trace_likewise(kernels: World) -> None:
    world = kernels
    eventually(lambda: digest_of(world, world.b), what="node b known")
    program = f"{GETPPID} {{ @all = count(); @born = max(curtask.born); }}"
    scheduled = world.trace("turns", program, schedule="* * * * *", duration="5s")
    scheduled.condition("Ready", "True", timeout=60)
    assert "artifact" not in scheduled.status() and len(scheduled.status()["variants"]) == 1
    anything = {"podSelector": {"matchExpressions": [{"key": "no-such-label", "operator": "DoesNotExist"}]}}
    wide = world.cluster_trace("wide", program, anything)  # on node b there is one pod
    try:
        wide.condition("Ready", "True", timeout=60)
        world.calls(3, 4)
        wide.results(lambda maps: scalar(maps, "@all") == 4)
        world.cluster.api("PATCH", wide.path, {"spec": {"suspend": True}})
        wide.condition("Attached", "False", timeout=30)
        wide.results(lambda maps: scalar(maps, "@all") == 4)
        world.cluster.api("PATCH", wide.path, {"spec": {"suspend": False}})
        wide.condition("Ready", "True", timeout=60)
        world.calls(5, 6)
        wide.results(lambda maps: scalar(maps, "@all") == 6)
    finally:
        wide.delete()
