"""BpfNodes: what agents say of their nodes, and the type information that they upload when they are asked."""

from __future__ import annotations

import base64
import hashlib
import lzma
import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from kubebpf.compiler.kernel.view import KernelView
from support.agents import (
    GROUP,
    SYSTEM,
    Agents,
    change,
    compiled,
    delete,
    digest_of,
    path_of,
    publish,
    report_of,
    set_status,
)
from support.chart import System
from support.controlplane import ApiError, ControlPlane, Object
from support.counting import counting
from support.doctored import Doctored
from support.pods import Pods
from support.processes import eventually
from support.programs import compiled as compiled_text

pytestmark = pytest.mark.kernel

BTF = Path("/sys/kernel/btf/vmlinux")
CHUNKS = f"{GROUP}/namespaces/{SYSTEM}/btfchunks"


def bpf_node(cluster: ControlPlane, name: str) -> Object | None:
    """The object, once it has a status."""
    try:
        found = cluster.api("GET", f"{GROUP}/bpfnodes/{name}")
    except ApiError as error:
        if error.code != 404:
            raise
        return None
    return found if found.get("status") else None


def told(cluster: ControlPlane, name: str, timeout: float = 15.0) -> Object:
    found = eventually(lambda: bpf_node(cluster, name), timeout=timeout, what=f"BpfNode {name}")
    assert found is not None
    return found


def fleet() -> str:
    return f"facts-{secrets.token_hex(3)}"


def test_three_nodes_are_described_once(cluster: ControlPlane, system: System, pods: Pods) -> None:
    names = [pods.node(f"{fleet()}-{n}") for n in range(3)]
    with Agents(cluster, system.agent) as agents:
        agents.start(names[0])
        former = agents.start(names[1])
        agents.start(names[2], btf=_other_types(cluster.folder))
        found = [told(cluster, name) for name in names]
        _check_facts(found[0]["status"])
        assert found[1]["status"]["btf"] == found[0]["status"]["btf"] != found[2]["status"]["btf"]
        node = cluster.api("GET", f"/api/v1/nodes/{names[0]}")
        (owner,) = found[0]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", names[0], node["metadata"]["uid"])
        # Nothing is written while nothing changes, and nothing by the next agent either.
        former.stop()
        again = agents.start(names[1])
        eventually(lambda: "kernel " in again.tail(50), what="its look around")
        time.sleep(2)
        versions = [told(cluster, name)["metadata"]["resourceVersion"] for name in names]
        assert versions == [one["metadata"]["resourceVersion"] for one in found]
        # What somebody else writes or deletes is put right.
        cluster.api("PATCH", f"{GROUP}/bpfnodes/{names[0]}/status", {"status": {"kernelRelease": "2.4.0", "btf": None}})
        eventually(lambda: told(cluster, names[0])["status"]["kernelRelease"] == os.uname().release)
        assert told(cluster, names[0])["status"]["btf"] == found[1]["status"]["btf"]
        cluster.api("DELETE", f"{GROUP}/bpfnodes/{names[0]}")
        eventually(lambda: (bpf_node(cluster, names[0]) or found[0])["metadata"]["uid"] != found[0]["metadata"]["uid"])
    cluster.api("DELETE", f"/api/v1/nodes/{names[2]}")
    eventually(lambda: bpf_node(cluster, names[2]) is None, timeout=30, what="the BpfNode goes with its Node")


def _check_facts(status: Object) -> None:
    raw = BTF.read_bytes()
    assert status["kernelRelease"] == os.uname().release and status["architecture"] == os.uname().machine
    assert status["btf"] == {"digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw)}
    assert status["cpus"] >= (os.cpu_count() or 1) and status["agentVersion"] and status["observedAt"]
    features = {feature["name"]: feature for feature in status["features"]}
    assert all(features[name]["supported"] for name in ("programs", "btf", "ring-buffer", "tracepoint", "uprobe", "attribution"))
    assert not features["write-user"]["supported"], "this agent allows no unsafe helpers"
    assert all(feature["supported"] or feature["message"] for feature in features.values())


def _other_types(folder: Path) -> Path:
    """Type information of another kernel, as far as anybody can tell."""
    other = folder / "other.btf"
    other.write_bytes(BTF.read_bytes() + bytes(4))
    return other


def test_type_information_is_uploaded_on_request(cluster: ControlPlane, system: System, pods: Pods) -> None:
    first, second = (pods.node(f"{fleet()}-{n}") for n in range(2))
    with Agents(cluster, system.agent) as agents:
        agents.start(first)
        agents.start(second)
        types = told(cluster, first)["status"]["btf"]
        _ask(cluster, second, "sha256:" + "0" * 64)
        assert not _pieces(cluster, types["digest"])
        began = time.monotonic()
        _ask(cluster, first, types["digest"])
        chunks = _uploaded(cluster, types["digest"])
        print(f"{types['size']} bytes in {len(chunks)} pieces after {time.monotonic() - began:.1f} s")
        assert _joined(chunks) == BTF.read_bytes()
        # The other one finds them there; what is deleted comes back as long as it is asked for.
        _ask(cluster, second, types["digest"])
        cluster.api("DELETE", f"{CHUNKS}/{chunks[0]['metadata']['name']}")
        again = _uploaded(cluster, types["digest"])
        assert _joined(again) == BTF.read_bytes()
        _ask(cluster, first, None)
        _ask(cluster, second, None)
    for chunk in again:
        cluster.api("DELETE", f"{CHUNKS}/{chunk['metadata']['name']}")


def _ask(cluster: ControlPlane, node: str, digest: str | None) -> None:
    told(cluster, node)
    cluster.api("PATCH", f"{GROUP}/bpfnodes/{node}", {"spec": {"uploadBTF": digest}})


def _pieces(cluster: ControlPlane, digest: str) -> list[Object]:
    short = digest.removeprefix("sha256:")[:32]
    found = cluster.api("GET", f"{CHUNKS}?labelSelector=kubebpf.dev%2Fbtf%3D{short}")["items"]
    return sorted(found, key=lambda chunk: int(chunk["spec"]["index"]))


def _uploaded(cluster: ControlPlane, digest: str) -> list[Object]:
    """All pieces, once they are there."""

    def complete() -> list[Object]:
        found = _pieces(cluster, digest)
        return found if found and len(found) == found[0]["spec"]["total"] else []

    return eventually(complete, timeout=30, what="all pieces")


def _joined(chunks: list[Object]) -> bytes:
    assert [chunk["spec"]["index"] for chunk in chunks] == list(range(len(chunks)))
    return lzma.decompress(b"".join(base64.b64decode(chunk["spec"]["data"]) for chunk in chunks))


def test_an_agent_without_these_rights_traces(cluster: ControlPlane, system: System, pods: Pods, namespace: str) -> None:
    node = pods.node(f"{fleet()}-a")
    with Agents(cluster, _lesser_agent(cluster)) as agents:
        agent = agents.start(node)
        trace = publish(cluster, namespace, "lesser", counting(), target={"nodeSelector": {"kubernetes.io/hostname": node}})
        eventually(lambda: (report_of(cluster, trace, node) or {}).get("phase") == "Attached", timeout=15, what="Attached")
        time.sleep(3)
        assert agent.tail(200).count("watch of bpfnodes") == 1 and "Traceback" not in agent.tail(200)
    assert bpf_node(cluster, node) is None


def _lesser_agent(cluster: ControlPlane) -> Path:
    """An agent with the rights of a release that knew no BpfNodes."""
    name = f"lesser-{secrets.token_hex(3)}"
    role: dict[str, Any] = cluster.api("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubebpf-agent")
    rules = [rule | {"resources": [r for r in rule["resources"] if not r.startswith("bpfnodes")]} for rule in role["rules"]]
    cluster.kubectl("create", "serviceaccount", name, "-n", SYSTEM)
    group = "rbac.authorization.k8s.io"
    bound = {"subjects": [{"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}]}
    parts: list[Object] = [
        {"kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule for rule in rules if rule["resources"]]},
        {"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": _ref(group, "ClusterRole", name)} | bound,
        {"kind": "RoleBinding", "metadata": {"name": name, "namespace": SYSTEM}, "roleRef": _ref(group, "Role", "kubebpf-agent")}
        | bound,
    ]
    cluster.apply(*({"apiVersion": f"{group}/v1"} | part for part in parts))
    return cluster.service_account_kubeconfig(SYSTEM, name)


def _ref(group: str, kind: str, name: str) -> Object:
    return {"apiGroup": group, "kind": kind, "name": name}


def test_a_node_runs_the_object_for_its_kernel(cluster: ControlPlane, system: System, pods: Pods) -> None:
    here, there = (pods.node(f"{fleet()}-{n}", {"fleet": "variants"}) for n in range(2))
    moved = Doctored.of_this_kernel()
    moved.move("nsproxy", "mnt_ns", 8)
    types = cluster.folder / "moved.btf"
    types.write_bytes(moved.build())
    digest = "sha256:" + hashlib.sha256(types.read_bytes()).hexdigest()
    text = "tracepoint:syscalls:sys_enter_getppid { @ = count(); @n = *curtask.nsproxy; }"
    default, variant = compiled_text(text).elf, compiled_text(text, KernelView.from_file(types)).elf
    with Agents(cluster, system.agent) as agents:
        first, second = agents.start(here), agents.start(there, btf=types)
        fast: dict[str, Any] = {"report": {"interval": "200ms"}, "target": {"nodeSelector": {"fleet": "variants"}}}
        trace = publish(cluster, "", fleet(), default, kind="ClusterBpfTrace", **fast)
        failed = _phase(cluster, trace, there, "Failed")
        assert failed["reason"] == "KernelLayoutDiffers" and failed["digest"] == digest_of(default)
        assert failed["message"].startswith("struct nsproxy: mnt_ns lies at byte 32 here, and at byte 24 in")
        session = _phase(cluster, trace, here, "Attached")["session"]
        # A grant for another object is none.
        granted = cluster.api("GET", path_of(trace))["status"]["artifact"]
        set_status(cluster, trace, variants=[granted | {"btf": digest, "digest": digest_of(variant)}])
        eventually(lambda: (report_of(cluster, trace, there) or {}).get("reason") == "SignatureInvalid", timeout=15)
        compiled(cluster, trace, default, variants={digest: variant})
        attached = _phase(cluster, trace, there, "Attached")
        assert attached["digest"] == digest_of(variant)
        # The other node has not noticed any of it, and the next agents take both up.
        assert (report_of(cluster, trace, here) or {})["session"] == session
        for agent in (first, second):
            agent.kill()
        agents.start(here)
        agents.start(there, btf=types)
        time.sleep(3)
        found = [report_of(cluster, trace, node) or {} for node in (here, there)]
        assert [(one["phase"], one["session"]) for one in found] == [("Attached", session), ("Attached", attached["session"])]
        # Without a default object the node without one of its own waits.
        delete(cluster, trace)
        only = publish(cluster, "", fleet(), default, kind="ClusterBpfTrace", **fast | {"suspend": True})
        compiled(cluster, change(cluster, only, suspend=False), None, variants={digest: variant})
        assert _phase(cluster, only, there, "Attached")["digest"] == digest_of(variant)
        assert (report_of(cluster, only, here) or {}).get("phase") in (None, "Completed")
        delete(cluster, only)


def _phase(cluster: ControlPlane, trace: Object, node: str, phase: str) -> Object:
    last: Object = {}

    def look() -> Object | None:
        last.update(report_of(cluster, trace, node) or {})
        return last if last.get("phase") == phase else None

    found = eventually(look, timeout=20, what=f"{phase} on {node}")
    assert found is not None
    return found
