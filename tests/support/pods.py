"""The node's side of pods: objects bound to made-up nodes, their status, their cgroups and processes inside them.

pods = Pods(cluster)
api = pods.create("api-0", namespace="shop", node="a", containers=["app", "proxy"], labels={"app": "api"})
worker = api.run(["sleep", "60"], container="app")
api.delete()                       # or pods.close() at the end
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from support import cgroups
from support.cgroups import Driver, Qos, Runtime
from support.controlplane import ApiError, ControlPlane, Object

STATIC_HASH = "kubernetes.io/config.hash"  # of a static pod's mirror: its cgroups have it for a uid
_RESOURCES: dict[Qos, Object] = {
    "guaranteed": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
    "burstable": {"requests": {"memory": "64Mi"}},
    "besteffort": {},
}


@dataclass(frozen=True)
class Container:
    name: str
    id: str
    cgroup: Path

    @property
    def cgroup_id(self) -> int:
        """What bpf_get_current_cgroup_id gives for its processes: the inode of the folder."""
        return self.cgroup.stat().st_ino


@dataclass
class Pod:
    """A running pod as the API server and the kernel see it."""

    owner: Pods
    name: str
    namespace: str
    uid: str
    node: str
    cgroup: Path
    containers: dict[str, Container]
    _started: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def container(self, name: str | None = None) -> Container:
        """A container by name; the first one without a name."""
        return self.containers[name] if name else next(iter(self.containers.values()))

    def run(
        self,
        argv: Sequence[str | Path],
        container: str | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        cgroup: Path | None = None,
        text: bool = True,
    ) -> subprocess.Popen[Any]:
        """Start a process in a container's cgroup (or in `cgroup`, for nested ones); it is there before it is executed."""
        process = start_in_cgroup(
            cgroup or self.container(container).cgroup, argv, stdin=stdin, stdout=stdout, stderr=stderr, text=text
        )
        self._started.append(process)
        return process

    def nested(self, name: str, container: str | None = None) -> Path:
        """A cgroup below a container's, as a container with its own init system makes."""
        return cgroups.make(self.container(container).cgroup / name)

    def read(self) -> Object:
        return self.owner.cluster.api("GET", self.path)

    def restart_container(self, name: str | None = None) -> Container:
        """The container ends and starts again: a new id and a new cgroup, as after a crash."""
        old = self.container(name)
        new = self.owner.new_container(self, old.name)
        self.containers[old.name] = new
        cgroups.make(new.cgroup)
        self.owner.write_status(self)
        cgroups.empty_and_remove(old.cgroup)
        return new

    def delete(self) -> None:
        """The object at once, then processes and cgroups."""
        with suppress(ApiError):
            self.owner.cluster.api("DELETE", self.path, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
        self.stop()

    def stop(self) -> None:
        """Processes and cgroups go, the object stays."""
        for process in self._started:
            _end(process)
        self._started.clear()
        cgroups.empty_and_remove(self.cgroup)


class Pods:
    """Makes pods and nodes, and takes everything back in close()."""

    def __init__(self, cluster: ControlPlane, nodes: Sequence[str] = ()) -> None:
        """`nodes` exist already and stay."""
        self.cluster = cluster
        self._standing = nodes
        self._pods: list[Pod] = []
        self._nodes: list[str] = []
        self._layout: dict[str, tuple[Driver, Runtime]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def node(self, name: str, labels: dict[str, str] | None = None) -> str:
        """A Node object, Ready; made at most once."""
        if name in self._nodes or name in self._standing:
            return name
        own = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {**own, **(labels or {})}}}
        self.cluster.api("POST", "/api/v1/nodes", body)
        self._nodes.append(name)
        now = _now()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastTransitionTime": now}
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        status = {"conditions": [{**ready, "lastHeartbeatTime": now}], "capacity": room, "allocatable": room}
        self.cluster.api("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})
        return name

    def create(
        self,
        name: str,
        *,
        namespace: str = "default",
        node: str = "node-a",
        labels: dict[str, str] | None = None,
        containers: Sequence[str] = ("app",),
        qos: Qos = "burstable",
        driver: Driver = "systemd",
        runtime: Runtime = "containerd",
        annotations: dict[str, str] | None = None,
        owner: Object | None = None,
        host_network: bool = False,
    ) -> Pod:
        """A running pod on a node; makes the namespace and the node where they are missing.

        `owner` becomes its ownerReference (a ReplicaSet, say), as {"apiVersion", "kind", "name", "uid", "controller"}.
        """
        self.cluster.namespace(namespace)
        self.node(node)
        specs = [{"name": c, "image": "registry.invalid/test:1", "resources": _RESOURCES[qos]} for c in containers]
        metadata: Object = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        if owner is not None:
            metadata["ownerReferences"] = [owner]
        spec = {"nodeName": node, "containers": specs, "hostNetwork": host_network, "terminationGracePeriodSeconds": 0}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        made = self.cluster.api("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        uid = made["metadata"]["uid"]
        cgroup = cgroups.cgroup2_mount() / cgroups.pod_path((annotations or {}).get(STATIC_HASH, uid), qos, driver)
        pod = Pod(self, name, namespace, uid, node, cgroup, {})
        self._layout[uid] = (driver, runtime)
        self._pods.append(pod)
        for container in containers:
            pod.containers[container] = self.new_container(pod, container)
            cgroups.make(pod.containers[container].cgroup)
        self.write_status(pod)
        return pod

    def new_container(self, pod: Pod, name: str) -> Container:
        """A container with a fresh id; its cgroup is named but not yet made."""
        driver, runtime = self._layout[pod.uid]
        identity = secrets.token_hex(32)
        return Container(name, identity, pod.cgroup / cgroups.container_name(identity, driver, runtime))

    def write_status(self, pod: Pod) -> None:
        """What the kubelet says of a running pod."""
        _, runtime = self._layout[pod.uid]
        now = _now()
        statuses = [
            {
                "name": container.name,
                "containerID": f"{runtime}://{container.id}",
                "image": "registry.invalid/test:1",
                "imageID": "registry.invalid/test@sha256:" + "0" * 64,
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod.containers.values()
        ]
        conditions = [{"type": t, "status": "True", "lastTransitionTime": now} for t in ("Initialized", "Ready")]
        status = {"phase": "Running", "startTime": now, "conditions": conditions, "containerStatuses": statuses}
        self.cluster.api("PATCH", f"{pod.path}/status", {"status": status})

    def close(self) -> None:
        """Pods, their cgroups and processes, and the nodes."""
        for pod in self._pods:
            pod.delete()
        self._pods.clear()
        for node in self._nodes:
            with suppress(ApiError):
                self.cluster.api("DELETE", f"/api/v1/nodes/{node}")
        self._nodes.clear()


def start_in_cgroup(
    cgroup: Path,
    argv: Sequence[str | Path],
    *,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    text: bool = True,
) -> subprocess.Popen[Any]:
    """A process that writes its own pid to cgroup.procs and only then executes the program."""
    # A shell does the writing: Python's preexec_fn is not safe in a process with threads.
    command = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(cgroup), *(str(word) for word in argv)]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, text=text)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
