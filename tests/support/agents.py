"""Agents as processes, and what an operator writes for them.

with Agents(cluster, system.agent) as agents:              # with the rights that the chart gives
    agents.start("node-a")
    trace = publish(cluster, "shop", "t", counting())          # the trace, its ConfigMap, its status
    report = eventually(lambda: report_of(cluster, trace, "node-a"))
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubebpf.agent.session.pins import remove_folder
from kubebpf.compiler.artifact.statement import KEYS_SECRET, TRUST_CONFIG_MAP, Grant, statement
from kubebpf.operator.signing import Key, read_keys
from support.controlplane import ApiError, ControlPlane, Object
from support.processes import Server

SYSTEM = "kubebpf-system"
GROUP = "/apis/kubebpf.dev/v1alpha1"

TEST_KEY = Key.make(datetime.now(UTC))

_AGENT = "from kubebpf.cli.main import main; main()"


class AgentProcess(Server):
    """One agent; its printed lines and its log."""

    def __init__(
        self,
        node: str,
        kubeconfig: Path,
        folder: Path,
        wrapper: Sequence[str] = (),
        pins: Path | str = "",
        namespace: str = SYSTEM,
        btf: Path | str = "",
        more: Sequence[str] = (),
    ) -> None:
        argv = [*wrapper, sys.executable, "-c", _AGENT, "agent", "--node-name", node, "--namespace", namespace]
        argv += ["--kubeconfig", str(kubeconfig), "--pins", str(pins), "--daemonset", "kubebpf-agent", *more]
        argv += ["--btf", str(btf)] if btf else []
        super().__init__(argv, folder / f"agent-{node}-{secrets.token_hex(3)}.log")
        self.node = node

    def lines(self) -> list[Object]:
        """The JSON lines that it wrote (its log goes to the same file, and is left out)."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [json.loads(line) for line in said if line.startswith("{")]

    def cpu_seconds(self) -> float:
        """Processor time so far, of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Resident memory."""
        return self._memory("VmRSS")

    def peak_mib(self) -> float:
        """The most that its resident memory was."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) / 1024


class Agents:
    """Agents of made-up nodes on this machine; ended at the end of the block."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path, namespace: str = SYSTEM, more: Sequence[str] = ()) -> None:
        self.cluster, self.kubeconfig, self.namespace, self.more = cluster, kubeconfig, namespace, more
        self.pins: Path | None = Path("/sys/fs/bpf") / f"kubebpf-test-{secrets.token_hex(4)}"
        self._agents: list[AgentProcess] = []

    def start(self, node: str, wrapper: Sequence[str] = (), btf: Path | str = "", more: Sequence[str] = ()) -> AgentProcess:
        """Start one; `wrapper` is a command that runs a command, to take rights away; `btf` stands for its kernel's types; `more`
        are further options."""
        options = [*self.more, *more]
        agent = AgentProcess(node, self.kubeconfig, self.cluster.folder, wrapper, self.pins or "", self.namespace, btf, options)
        self._agents.append(agent)
        agent.start()
        return agent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended = {agent.node: agent.ended_by_itself for agent in self._agents if agent.ended_by_itself is not None}
        for agent in self._agents:
            agent.stop()
            # Shown by pytest beside a failure.
            print(f"-- {agent.node}:\n{agent.tail(60)}")
        if self.pins is not None:
            remove_pins(self.pins)
        # Whatever happens to an API server, an agent goes on. Where a test has failed already, this is said beside it.
        print(f"ended by themselves: {ended}" if ended else "")
        assert not ended or kind is not None, f"agents have ended by themselves: {ended}"


def remove_pins(folder: Path) -> None:
    """Remove all that agents have pinned below a folder, and the folder."""
    for node in folder.iterdir() if folder.is_dir() else ():
        for trace in node.iterdir():
            remove_folder(trace)
        node.rmdir()
    if folder.is_dir():
        folder.rmdir()


def digest_of(elf: bytes) -> str:
    return "sha256:" + hashlib.sha256(elf).hexdigest()


def collection(kind: str, namespace: str) -> str:
    return f"{GROUP}/clusterbpftraces" if kind == "ClusterBpfTrace" else f"{GROUP}/namespaces/{namespace}/bpftraces"


def publish(
    cluster: ControlPlane, namespace: str, name: str, elf: bytes, *, kind: str = "BpfTrace", digest: str = "", **spec: Any
) -> Object:
    """A trace with its object, as after compiling: the trace object. `digest` is a lie when given."""
    body = {
        "apiVersion": "kubebpf.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"program": "begin { }"} | spec,
    }
    trace = cluster.api("POST", collection(kind, namespace), body)
    compiled(cluster, trace, elf, digest)
    return trace


def change(cluster: ControlPlane, trace: Object, elf: bytes | None = None, **spec: Any) -> Object:
    """Another spec, compiled when an object is given."""
    changed = cluster.api("PATCH", path_of(trace), {"spec": spec})
    if elf is not None:
        compiled(cluster, changed, elf)
    return changed


def path_of(trace: Object) -> str:
    meta = trace["metadata"]
    return f"{collection(trace['kind'], meta.get('namespace', ''))}/{meta['name']}"


def compiled(
    cluster: ControlPlane, trace: Object, elf: bytes | None, digest: str = "", variants: dict[str, bytes] | None = None
) -> None:
    """What the operator writes once a generation is compiled; `variants` are objects by the digest of a kernel's types."""
    generation = trace["metadata"]["generation"]
    condition = {
        "type": "Compiled",
        "status": "True",
        "reason": "Compiled",
        "message": "compiled",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }
    status: Object = {"observedGeneration": generation, "conditions": [condition]}
    status["artifact"] = _stored(cluster, trace, elf, digest) if elf is not None else None
    if variants is not None:
        status["variants"] = [_stored(cluster, trace, other) | {"btf": btf} for btf, other in variants.items()]
    cluster.api("PATCH", f"{path_of(trace)}/status", {"status": status})


def _stored(cluster: ControlPlane, trace: Object, elf: bytes, digest: str = "") -> Object:
    """An object in its ConfigMap, as a status names it."""
    digest = digest or digest_of(elf)
    config_map = f"kubebpf-{digest.removeprefix('sha256:')[:40]}"
    with suppress(ApiError):
        cluster.api(
            "POST",
            f"/api/v1/namespaces/{SYSTEM}/configmaps",
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": config_map},
                "immutable": True,
                "binaryData": {"object.o": base64.b64encode(elf).decode()},
            },
        )
    unsafe = bool(trace["spec"].get("allowUnsafe"))
    namespace = trace["metadata"].get("namespace", "")
    grant = Grant(trace["metadata"]["uid"], trace["metadata"]["generation"], digest, namespace, unsafe)
    return {"digest": digest, "configMap": config_map, "size": len(elf), "unsafe": unsafe} | _signed(cluster, grant)


def _signed(cluster: ControlPlane, grant: Grant) -> Object:
    """Signed with the operator's key when there is an operator, else with the tests' own."""
    path = f"/api/v1/namespaces/{SYSTEM}"
    with suppress(ApiError):
        found = cluster.api("GET", f"{path}/secrets/{KEYS_SECRET}")
        return _sign(read_keys(found)[-1], grant)
    with suppress(ApiError):
        trusted = {f"{TEST_KEY.id}.pub": base64.b64encode(TEST_KEY.public).decode()}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRUST_CONFIG_MAP}, "data": trusted}
        cluster.api("POST", f"{path}/configmaps", body)
    return _sign(TEST_KEY, grant)


def _sign(key: Key, grant: Grant) -> Object:
    return {"key": key.id, "signature": base64.b64encode(key.private.sign(statement(grant))).decode()}


def set_status(cluster: ControlPlane, trace: Object, **status: Any) -> None:
    cluster.api("PATCH", f"{path_of(trace)}/status", {"status": status})


def delete(cluster: ControlPlane, trace: Object) -> None:
    cluster.api("DELETE", path_of(trace), {"propagationPolicy": "Background"})


def report_path(trace: Object, node: str) -> str:
    meta = trace["metadata"]
    digest = hashlib.sha256(f"{meta['uid']}/{node}".encode()).hexdigest()
    name = f"{meta['name'][:200]}-{digest[:10]}"
    return f"{GROUP}/namespaces/{meta.get('namespace', SYSTEM)}/bpftracereports/{name}"


def report_of(cluster: ControlPlane, trace: Object, node: str) -> Object | None:
    """The status of a node's report; None before it is written."""
    try:
        status: Object | None = cluster.api("GET", report_path(trace, node)).get("status")
        return status
    except ApiError as error:
        if error.code != 404:
            raise
        return None


def counts(status: Object | None, name: str = "@") -> dict[tuple[str, str, str], int]:
    """(namespace, pod, container) -> count of a map keyed by cgroup; a container's nested cgroups are counted with it."""
    found: Counter[tuple[str, str, str]] = Counter()
    for m in (status or {}).get("maps", []):
        if m["name"] == name:
            for entry in m["entries"]:
                pod = entry["key"][0].get("pod", {}) if entry["key"] else {}
                found[(pod.get("namespace", ""), pod.get("name", ""), pod.get("container", ""))] += int(entry["count"])
    return dict(found)
