"""Every right that the chart gives is needed: all that operator and agents do, and the API server's audit log of it.

The whole life of traces is played once, from an empty system namespace on; requests of the tests before count as well.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.agents import GROUP, SYSTEM, Agents
from support.audit import requests, unused
from support.chart import System, render
from support.controlplane import ApiError, ControlPlane
from support.doctored import Doctored
from support.operators import OperatorProcess, TestTrace
from support.pods import Pods
from support.processes import eventually
from support.webhooks import manifest, serving, wait_until_answering
from support.world import World

pytestmark = pytest.mark.kernel

SECRETS = f"/api/v1/namespaces/{SYSTEM}/secrets"
KEYS = (f"{SECRETS}/kubebpf-signing-keys", f"{SECRETS}/kubebpf-webhook-certificate")
ROLES = ("kubebpf-operator", "kubebpf-agent")
TRUST = f"/api/v1/namespaces/{SYSTEM}/configmaps/kubebpf-trusted-keys"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/kubebpf-operator"
COUNT = "tracepoint:syscalls:sys_enter_getppid { @ = count(); }"


def test_no_right_is_left_over(cluster: ControlPlane, system: System, pods: Pods, namespace: str, tmp_path: Path) -> None:
    for path in (*KEYS, TRUST, LEASE):
        with suppress(ApiError):
            cluster.api("DELETE", path)
    pods.node("first")  # an operator that sees nothing does nothing
    with serving(cluster, system, tmp_path / "operator.log") as operator, Agents(cluster, system.agent) as agents:
        _keys_are_renewed(cluster, operator)
        world = World(cluster, pods, agents, namespace, operator)
        _a_trace_lives(world)
        _turns_run_and_end(world)
        _unsafe_is_asked_for(world)
        _types_are_asked_for(world, tmp_path)
        _a_late_report_goes(world)
        eventually(lambda: _all_gone(cluster), timeout=60, what="no trace, no report, no object")
    # Some API servers log a watch only when it has ended.
    _compare(cluster)


def _compare(cluster: ControlPlane) -> None:
    chart = render(cluster.binaries.minor_version())

    def whole() -> bool:
        left = {role: unused(chart, role, requests(cluster.audit_log, _user(role))) for role in ROLES}
        said = "; ".join(f"{role}: {', '.join(verbs)}" for role, verbs in left.items() if verbs)
        assert not said, f"rights that nothing needs: {said}"
        return True

    # The log is written a moment after the answer.
    eventually(whole, timeout=15)


def _user(role: str) -> str:
    return f"system:serviceaccount:{SYSTEM}:{role}"


def _keys_are_renewed(cluster: ControlPlane, operator: OperatorProcess) -> None:
    """The first start has made keys and a certificate; lost ones are replaced."""
    eventually(lambda: _exists(cluster, TRUST), timeout=30, what="keys")
    operator.server.stop()
    cluster.api("PATCH", KEYS[0], {"data": None})
    cluster.api("PATCH", KEYS[1], {"data": {"tls.crt": "", "tls.key": "", "ca.crt": ""}})
    operator.server.start()
    wait_until_answering(cluster)


def _a_trace_lives(world: World) -> None:
    trace = world.trace("lives", COUNT)
    trace.condition("Ready", "True")
    label = {"metadata": {"labels": {"fleet": "none"}}}
    eventually(lambda: len(_reports(world)) == 2)
    world.cluster.api("PATCH", f"/api/v1/nodes/{world.b}", label)
    eventually(lambda: len(_reports(world)) == 1, timeout=20, what="a node that leaves the selection takes its report along")
    # Ready is lost and comes again: what was told once is counted up.
    third = world.node("c")  # without an agent
    trace.condition("Ready", "False")
    time.sleep(1)
    world.cluster.api("PATCH", f"/api/v1/nodes/{third}", label)
    trace.condition("Ready", "True")
    eventually(lambda: _told_twice(world), timeout=20, what="the Event Attached counts up")
    trace.delete()


def _reports(world: World) -> list[object]:
    found: list[object] = world.cluster.api("GET", f"{GROUP}/namespaces/{world.namespace}/bpftracereports")["items"]
    return found


def _told_twice(world: World) -> bool:
    events = world.cluster.api("GET", f"/api/v1/namespaces/{world.namespace}/events")["items"]
    return any(event["reason"] == "Attached" and event["count"] > 1 for event in events)


def _turns_run_and_end(world: World) -> None:
    short = {"program": COUNT, "duration": "1s", "ttlSecondsAfterFinished": 1, "schedule": "* * * * *"}
    by_namespace = world.target | {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    for where, target in ((world.namespace, world.target), ("", by_namespace)):
        parent = TestTrace(world.cluster, f"turns-{world.fleet}", where, **short, target=target)
        parent.wait_for("Ready", "True", "Scheduled")
        ago = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 120))
        world.cluster.api("PATCH", f"{parent.path}/status", {"status": {"schedule": {"lastTime": ago}}})
        turn = eventually(lambda p=parent: p.status()["schedule"].get("last"), timeout=30, what="a turn")  # type: ignore[misc]
        path = f"{parent.path.rpartition('/')[0]}/{turn}"
        # The turn inherits no time to live from a schedule that keeps its history; it is given one.
        with suppress(ApiError):
            world.cluster.api("PATCH", path, {"spec": {"ttlSecondsAfterFinished": 1}})
        eventually(lambda p=path: not _exists(world.cluster, p), timeout=40, what="its deletion")  # type: ignore[misc]
        parent.delete()


def _exists(cluster: ControlPlane, path: str) -> bool:
    try:
        cluster.api("GET", path)
    except ApiError as error:
        return error.code != 404
    return True


def _unsafe_is_asked_for(world: World) -> None:
    program = 'tracepoint:syscalls:sys_enter_getppid /pid == 0/ { signal("SIGUSR1"); }'
    text = manifest("unsafe", world.namespace, program=program, allowUnsafe=True, target=world.target)
    world.cluster.kubectl("apply", "-f", "-", input=text)
    world.cluster.kubectl("delete", "bpftraces.kubebpf.dev", "unsafe", "-n", world.namespace)


def _types_are_asked_for(world: World, folder: Path) -> None:
    """A node with another kernel comes and goes: asked for its types, compiled for, and its pieces removed."""
    other = Doctored.of_this_kernel()
    other.rename_member("task_struct", "start_time", "born")
    types = folder / "other.btf"
    types.write_bytes(other.build())
    node = world.node("d")
    agent = world.agents_started.start(node, btf=types)
    path = f"{GROUP}/bpfnodes/{node}"
    digest = eventually(lambda: _exists(world.cluster, path) and _btf(world.cluster, path), what="a BpfNode")
    trace = world.trace("newer", "tracepoint:syscalls:sys_enter_getppid { @ = max(curtask.born); }")
    trace.condition("Compiled", "True", timeout=60)
    assert [variant["btf"] for variant in trace.status()["variants"]] == [digest]
    eventually(lambda: not _asked(world.cluster, path), timeout=30, what="nothing asked any more")
    trace.delete()
    agent.stop()
    world.cluster.api("DELETE", f"/api/v1/nodes/{node}")
    with suppress(ApiError):  # the garbage collector may have been faster
        world.cluster.api("DELETE", path)
    chunks = f"{GROUP}/namespaces/{SYSTEM}/btfchunks"
    eventually(lambda: not world.cluster.api("GET", chunks)["items"], timeout=60, what="the pieces removed")


def _btf(cluster: ControlPlane, path: str) -> str:
    found: str = (cluster.api("GET", path).get("status") or {}).get("btf", {}).get("digest", "")
    return found


def _asked(cluster: ControlPlane, path: str) -> bool:
    return bool((cluster.api("GET", path).get("spec") or {}).get("uploadBTF"))


def _a_late_report_goes(world: World) -> None:
    trace = TestTrace(world.cluster, "late", world.namespace, program=COUNT, target={"nodeSelector": {"fleet": "none"}})
    trace.wait_for("Compiled", "True")
    body = trace._report("late", world.a, owned=False)
    trace.delete()
    world.cluster.api("POST", f"{GROUP}/namespaces/{world.namespace}/bpftracereports", body)


def _all_gone(cluster: ControlPlane) -> bool:
    objects = cluster.api("GET", f"/api/v1/namespaces/{SYSTEM}/configmaps?labelSelector=kubebpf.dev%2Fdigest")["items"]
    kinds = ("bpftraces", "clusterbpftraces", "bpftracereports")
    return not objects and not any(cluster.api("GET", f"{GROUP}/{kind}")["items"] for kind in kinds)
