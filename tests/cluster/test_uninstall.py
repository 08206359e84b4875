"""What stays behind: nothing on the nodes once the DaemonSet is deleted, everything as long as another agent will come."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.agents import SYSTEM, AgentProcess, Agents, delete, publish, report_of
from support.bpfstate import everything, held_by, pins
from support.chart import CHART, System, helm, install, render
from support.controlplane import ControlPlane, Object
from support.counting import counting
from support.operators import OperatorProcess
from support.pods import Pods
from support.processes import eventually
from support.workload import make_calls
from support.world import Trace, scalar

pytestmark = pytest.mark.kernel

DAEMONSETS = f"/apis/apps/v1/namespaces/{SYSTEM}/daemonsets"
# In helm's order (helm/pkg/release: UninstallOrder): the DaemonSet first, then who may do what.
ORDER = ("DaemonSet", "RoleBinding", "Role", "ClusterRoleBinding", "ClusterRole")
COUNT = "tracepoint:syscalls:sys_enter_getppid { @all = count(); }"


@pytest.fixture
def agents(cluster: ControlPlane, system: System) -> Iterator[Agents]:
    try:
        with Agents(cluster, system.agent) as agents:
            yield agents
    finally:
        install(cluster)


def _deleted(cluster: ControlPlane) -> None:
    cluster.api("DELETE", f"{DAEMONSETS}/kubebpf-agent", {"propagationPolicy": "Background"})


def _going(cluster: ControlPlane) -> None:
    """kubectl delete --cascade=foreground: it is there, marked, until its pods are gone; a finalizer holds it as they would."""
    cluster.api("PATCH", f"{DAEMONSETS}/kubebpf-agent", {"metadata": {"finalizers": ["kubebpf.dev/test"]}})
    _deleted(cluster)
    assert "deletionTimestamp" in cluster.api("GET", f"{DAEMONSETS}/kubebpf-agent")["metadata"]


def _without_rights(cluster: ControlPlane) -> None:
    chart = [thing for kind in ORDER for thing in render(cluster.binaries.minor_version()) if thing["kind"] == kind]
    for thing in (thing for thing in chart if "-agent" in thing["metadata"]["name"]):
        cluster.kubectl("delete", thing["kind"], thing["metadata"]["name"], *_place(thing))


def _place(thing: Object) -> list[str]:
    return ["-n", thing["metadata"]["namespace"]] if "namespace" in thing["metadata"] else []


@pytest.mark.parametrize("how", [_deleted, _going, _without_rights])
def test_an_agent_whose_daemonset_is_deleted_takes_its_pins_along(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str, how: Callable[[ControlPlane], None]
) -> None:
    node = pods.node(f"node-{secrets.token_hex(3)}", {})
    pod = pods.create("api-0", namespace=namespace, node=node)
    agent = agents.start(node)
    trace = publish(cluster, namespace, "counts", counting(), report={"interval": "200ms"})
    _attached(cluster, trace, node)
    assert agents.pins
    # As long as there is a DaemonSet another agent will come: an upgrade, a new node image.
    assert agent.stop() == 0
    assert pins(agents.pins)
    agent.start()
    eventually(lambda: "took up" in agent.log.read_text(), timeout=20)
    make_calls(1, pod)
    mine = held_by(agent.pid)
    assert mine.prog and mine.map
    how(cluster)
    began = time.monotonic()
    assert agent.stop() == 0
    took = time.monotonic() - began
    print(f"{how.__name__}: the agent was gone after {took:.1f} s")
    assert took < 20, "the grace period of the chart's pods is 30 s"
    eventually(lambda: not mine & everything(), timeout=20)
    assert not list(agents.pins.iterdir())
    if how is not _without_rights:
        status = report_of(cluster, trace, node)
        assert status and (status["phase"], status["reason"]) == ("Pending", "AgentStopped")
    if how is _going:
        cluster.api("PATCH", f"{DAEMONSETS}/kubebpf-agent", {"metadata": {"finalizers": None}})
    delete(cluster, trace)


def _attached(cluster: ControlPlane, trace: Object, node: str) -> None:
    eventually(lambda: (report_of(cluster, trace, node) or {}).get("phase") == "Attached", timeout=20)


def test_an_api_server_that_is_away_is_no_uninstallation(
    cluster: ControlPlane, pods: Pods, agents: Agents, namespace: str
) -> None:
    node = pods.node(f"node-{secrets.token_hex(3)}", {})
    agent = agents.start(node)
    trace = publish(cluster, namespace, "counts", counting())
    _attached(cluster, trace, node)
    with cluster.outage():
        assert agent.stop(grace=25) == 0
    assert agents.pins and pins(agents.pins)
    delete(cluster, trace)


def test_a_namespace_goes_although_operator_and_agents_are_gone_for_good(
    cluster: ControlPlane, system: System, pods: Pods, agents: Agents, tmp_path: Path
) -> None:
    """Nothing of kubebpf has a finalizer: traces, turns of a schedule, reports."""
    space = cluster.namespace(f"short-{secrets.token_hex(3)}")
    node = pods.node(f"node-{secrets.token_hex(3)}", {"short": space})
    agent = agents.start(node)
    with OperatorProcess(system.operator, system.namespace, tmp_path / "operator.log", 1.0) as operator:
        trace = Trace(cluster, space, "counts", COUNT, target={"nodeSelector": {"short": space}})
        Trace(cluster, space, "often", COUNT, duration="1s", schedule="* * * * *")
        trace.condition("Ready", "True")
        operator.server.kill()
    agent.kill()
    kinds = ("bpftraces", "clusterbpftraces", "bpftracereports", "bpfnodes", "btfchunks")
    assert not [thing for kind in kinds for thing in cluster.get(kind) if thing["metadata"].get("finalizers")]
    assert cluster.get("bpftracereports", namespace=space)
    cluster.kubectl("delete", "namespace", space, "--timeout=60s")


def test_helm_uninstall(cluster: ControlPlane, pods: Pods, tmp_path: Path) -> None:
    """A release of its own: what helm made is gone, and what the operator made for itself is what the docs say."""
    space = f"second-{secrets.token_hex(3)}"
    at = ["--namespace", space, "--kubeconfig", str(cluster.kubeconfig)]
    before = _names(cluster)
    # Sorted by name they are the same chart: the CRDs are there already, and belong to nobody's release.
    quick = ["--set", "crds.install=false", "--set", "webhook.enabled=false", "--set", "fullnameOverride=kubebpf"]
    helm("install", "kubebpf", CHART, "--create-namespace", *quick, *at)
    try:
        operator, account = (cluster.service_account_kubeconfig(space, f"kubebpf-{part}") for part in ("operator", "agent"))
        label = {"second": space}
        node = pods.node(f"node-{secrets.token_hex(3)}", label)
        pod = pods.create("api-0", namespace=space, node=node)
        with (
            OperatorProcess(operator, space, tmp_path / "operator.log", 1.0) as process,
            Agents(cluster, account, namespace=space) as agents,
        ):
            agent = agents.start(node)
            trace = Trace(cluster, space, "counts", COUNT, target={"nodeSelector": label})
            trace.condition("Ready", "True")
            make_calls(5, pod)
            trace.results(lambda maps: scalar(maps, "@all") == 5)
            mine = held_by(agent.pid)
            helm("uninstall", "kubebpf", *at)
            _gone(agent, agents, mine)
            process.server.stop()
        assert _names(cluster) - before == set()
        left = {(thing["kind"], thing["metadata"]["name"].rstrip("0123456789abcdef")) for thing in _left(cluster, space)}
        assert left == {
            ("ConfigMap", "kubebpf-trusted-keys"),
            ("ConfigMap", "kubebpf-"),  # the object of the trace that is still there
            ("Secret", "kubebpf-signing-keys"),
            ("Lease", "kubebpf-operator"),
        }
    finally:
        cluster.kubectl("delete", "namespace", space, "--timeout=60s")


def _gone(agent: AgentProcess, agents: Agents, mine: object) -> None:
    assert agent.stop() == 0
    assert agents.pins and not list(agents.pins.iterdir())
    eventually(lambda: not mine & everything(), timeout=20)  # type: ignore[operator]


def _names(cluster: ControlPlane) -> set[tuple[str, str]]:
    """Everything cluster-wide that a chart may make."""
    kinds = ("clusterroles", "clusterrolebindings", "validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    return {(kind, thing["metadata"]["name"]) for kind in kinds for thing in cluster.get(kind)}


def _left(cluster: ControlPlane, space: str) -> list[Object]:
    kinds = ("configmaps", "secrets", "leases", "serviceaccounts", "roles", "rolebindings", "daemonsets", "deployments")
    found = [thing for kind in kinds for thing in cluster.get(kind, namespace=space)]
    ours = ("kube-root-ca.crt", "default")
    return [thing for thing in found if not thing["metadata"]["name"].startswith(ours)]
