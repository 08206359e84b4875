"""A small cluster for stories: two nodes with agents, a pod on each, pods and processes that are not to be counted.

And a trace as a person applies and reads it:

    trace = world.trace("calls", "tracepoint:syscalls:sys_enter_getppid { @all = count(); }")
    trace.condition("Ready", "True")
    world.calls(100, 200)
    trace.results(lambda maps: scalar(maps, "@all") == 300)

All agents share this machine's kernel: a ClusterBpfTrace without a scope counts every event once an agent. Exact numbers are
asserted of traces of pods only, whose events belong to one node.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from support.agents import GROUP, Agents
from support.bpfstate import BpfObjects, held_by
from support.controlplane import ControlPlane, Object
from support.operators import OperatorProcess
from support.pods import Pod, Pods
from support.processes import eventually
from support.workload import make_calls


class Trace:
    """A trace that was applied with kubectl, and what its status says."""

    def __init__(
        self, cluster: ControlPlane, namespace: str, name: str, program: str, *, kubeconfig: Path | None = None, **spec: Any
    ) -> None:
        """A ClusterBpfTrace when `namespace` is empty; applied as the user of the kubeconfig, the admin without one."""
        self.cluster, self.name, self.namespace, self.kubeconfig = cluster, name, namespace, kubeconfig
        self.path = f"{GROUP}/namespaces/{namespace}/bpftraces/{name}" if namespace else f"{GROUP}/clusterbpftraces/{name}"
        self.apply(program, **spec)

    def apply(self, program: str, **spec: Any) -> None:
        meta = {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})
        kind = "BpfTrace" if self.namespace else "ClusterBpfTrace"
        body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": kind, "metadata": meta}
        text = yaml.safe_dump(body | {"spec": {"program": program, "report": {"interval": "500ms"}} | spec})
        self.applied = time.monotonic()
        self.cluster.kubectl("apply", "-f", "-", input=text, kubeconfig=self.kubeconfig)
        self.accepted = time.monotonic()

    def read(self) -> Object:
        return self.cluster.api("GET", self.path)

    def status(self) -> Object:
        found: Object = self.read().get("status", {})
        return found

    def condition(self, kind: str, status: str, timeout: float = 30, every: float = 0.05) -> Object:
        """Wait for a condition of the present generation."""

        def holds() -> Object:
            body = self.read()
            conditions = {row["type"]: row for row in body.get("status", {}).get("conditions", [])}
            row = conditions.get(kind, {})
            assert (row.get("status"), row.get("observedGeneration")) == (status, body["metadata"]["generation"]), conditions
            found: Object = row
            return found

        return eventually(holds, timeout=timeout, every=every, what=f"{kind}={status}")

    def results(self, check: Callable[[dict[str, Object]], bool], timeout: float = 30) -> dict[str, Object]:
        """Maps by name, once they are as `check` wants them."""

        def right() -> dict[str, Object]:
            maps = {m["name"]: m for m in self.status().get("results", {}).get("maps", [])}
            assert maps and check(maps), maps
            return maps

        return eventually(right, timeout=timeout)

    def delete(self) -> None:
        kind = "bpftraces" if self.namespace else "clusterbpftraces"
        place = ("-n", self.namespace) if self.namespace else ()
        self.cluster.kubectl("delete", f"{kind}.kubebpf.dev", self.name, *place)


def scalar(maps: dict[str, Object], name: str, member: str = "count") -> int:
    entries = maps.get(name, {}).get("entries", [])
    return int(entries[0][member]) if entries else 0


def by_container(maps: dict[str, Object]) -> dict[tuple[str, str, str, str], int]:
    """(node, namespace, pod, container) -> count."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for entry in maps["@"]["entries"]:
        key = entry["key"][0]
        pod = key.get("pod", {})
        found[(key["node"], pod.get("namespace", ""), pod.get("name", ""), pod.get("container", ""))] += int(entry["count"])
    return dict(found)


class World:
    """Two nodes with agents, a pod on each with two containers, and pods that are not to be counted."""

    def __init__(
        self,
        cluster: ControlPlane,
        pods: Pods,
        agents: Agents,
        namespace: str,
        operator: OperatorProcess,
        btf_of_b: Path | str = "",
    ) -> None:
        """`btf_of_b` stands for the types of node b's kernel."""
        self.cluster, self.pods, self.namespace, self.operator = cluster, pods, namespace, operator
        self.fleet = f"fleet-{secrets.token_hex(4)}"
        self.target = {"nodeSelector": {"fleet": self.fleet}}
        self.agents_started = agents
        self.a, self.b = (self.node(letter) for letter in "ab")
        self.pod_a = pods.create("api-0", namespace=namespace, node=self.a, containers=["app", "proxy"])
        self.pod_b = pods.create("api-1", namespace=namespace, node=self.b, driver="cgroupfs", runtime="cri-o", qos="guaranteed")
        self.foreign = pods.create("foreign", namespace=f"{namespace}-other", node=self.a)
        self.agents = [agents.start(self.a), agents.start(self.b, btf=btf_of_b)]

    def node(self, letter: str) -> str:
        return self.pods.node(f"{self.fleet}-{letter}", {"fleet": self.fleet})

    def trace(self, name: str, program: str, **spec: Any) -> Trace:
        return Trace(self.cluster, self.namespace, name, program, **({"target": self.target} | spec))

    def cluster_trace(self, name: str, program: str, target: Object) -> Trace:
        """A ClusterBpfTrace on the nodes of this world; the caller deletes it, because no namespace does."""
        return Trace(self.cluster, "", f"{name}-{self.fleet}", program, target=self.target | target)

    def held(self) -> BpfObjects:
        found = BpfObjects()
        for agent in self.agents:
            found |= held_by(agent.pid)
        return found

    def calls(self, n1: int, n2: int, proxy: int = 0) -> None:
        """Calls that count, between calls that do not."""
        make_calls(41, self.foreign)
        make_calls(n1, self.pod_a, "app")
        make_calls(n2, self.pod_b)
        if proxy:
            make_calls(proxy, self.pod_a, "proxy")
        make_calls(43)

    def key(self, pod: Pod, container: str = "app") -> tuple[str, str, str, str]:
        return pod.node, self.namespace, pod.name, container
