"""Nodes whose kernel is another one than the operator's, on a real API server: asked for its types, compiled for, merged.

The nodes' agents are the test: it writes their BpfNodes, uploads in pieces, and reports. tests/cluster/test_two_kernels.py has
agents.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chart import System
from support.controlplane import ApiError, ControlPlane, KubectlError, Object
from support.doctored import Doctored
from support.operators import GROUP, OperatorProcess, TestTrace
from support.processes import eventually
from support.traces import scalar_count
from support.webhooks import manifest, serving

PIECE = 300_000  # bytes: several pieces, as with larger kernels
GETPPID = "tracepoint:syscalls:sys_enter_getppid"
VMLINUX = Path("/sys/kernel/btf/vmlinux")
SYSTEM = f"{GROUP}/namespaces/kubebpf-system"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Nodes:
    """Nodes with kernels, and what their agents would do."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.label = f"kernels-{secrets.token_hex(4)}"
        self.own = digest_of(VMLINUX.read_bytes())
        # A kernel of this test's own, so that no other test's pieces are there.
        self.member = f"mine_{secrets.token_hex(4)}"
        kernel = Doctored.of_this_kernel()
        kernel.rename_member("task_struct", "start_time", self.member)
        self.types = kernel.build()
        self.other = digest_of(self.types)

    def add(self, letter: str, btf: str) -> str:
        name = f"{self.label}-{letter}"
        meta = {"name": name, "labels": {"fleet": self.label}}
        self.cluster.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
        self.tell(name, btf)
        return name

    def tell(self, name: str, btf: str) -> None:
        """Have a BpfNode for a node."""
        node = self.cluster.api("GET", f"/api/v1/nodes/{name}")
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
        body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfNode", "metadata": {"name": name, "ownerReferences": [owner]}}
        self.cluster.api("POST", f"{GROUP}/bpfnodes", body)
        status = {"kernelRelease": "test", "architecture": "x86_64", "btf": {"digest": btf, "size": 1}}
        self.cluster.api("PATCH", f"{GROUP}/bpfnodes/{name}/status", {"status": status})

    def asked(self, name: str) -> str:
        spec = self.cluster.api("GET", f"{GROUP}/bpfnodes/{name}").get("spec") or {}
        return spec.get("uploadBTF") or ""

    def wait_asked(self, name: str, digest: str, timeout: float = 30) -> None:
        def is_asked() -> bool:
            assert self.asked(name) == digest
            return True

        eventually(is_asked, timeout=timeout, what=f"{name} asked for {digest or 'nothing'}")

    def upload(self, digest: str, data: bytes) -> None:
        packed = lzma.compress(data, preset=0)
        parts = [packed[at : at + PIECE] for at in range(0, len(packed), PIECE)]
        # The last one first: the operator must not begin with half of them.
        for index, part in reversed(list(enumerate(parts))):
            spec = {"digest": digest, "index": index, "total": len(parts), "encoding": "xz"}
            spec["data"] = base64.b64encode(part).decode()
            meta = {"name": f"btf-{digest[7:39]}-{index}", "namespace": "kubebpf-system"}
            body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BtfChunk", "metadata": meta, "spec": spec}
            self.cluster.api("POST", f"{SYSTEM}/btfchunks", body)

    def pieces(self, digest: str) -> list[str]:
        items = self.cluster.api("GET", f"{SYSTEM}/btfchunks")["items"]
        return [item["metadata"]["name"] for item in items if item["spec"]["digest"] == digest]

    def program(self, member: str) -> str:
        return f'{GETPPID} {{ @ = count(); if (curtask.{member} == 1) {{ printf("{self.label}"); }} }}'

    def trace(self, name: str, program: str, **spec: Any) -> TestTrace:
        return TestTrace(
            self.cluster, name, self.namespace, target={"nodeSelector": {"fleet": self.label}}, program=program, **spec
        )

    def remove(self) -> None:
        for node in self.cluster.api("GET", f"/api/v1/nodes?labelSelector=fleet%3D{self.label}")["items"]:
            for path in (f"{GROUP}/bpfnodes/", "/api/v1/nodes/"):
                try:
                    self.cluster.api("DELETE", path + node["metadata"]["name"])
                except ApiError:
                    continue


@pytest.fixture(scope="module")
def kernels_operator(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """Patient for a few seconds only."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    process = OperatorProcess(system.operator, system.namespace, log, 1.0, patience=6.0)
    with process:
        yield process
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def nodes(cluster: ControlPlane, namespace: str, kernels_operator: OperatorProcess) -> Iterator[Nodes]:
    kernels_operator.server.start()
    made = Nodes(cluster, namespace)
    yield made
    made.remove()


def variants(trace: TestTrace) -> dict[str, Object]:
    return {row["btf"]: row for row in trace.status().get("variants", [])}


def errors(trace: TestTrace) -> dict[str, Object]:
    return {row["node"]: row for row in trace.status().get("nodeErrors", [])}


def shows(trace: TestTrace, wanted: str) -> None:
    def same() -> bool:
        assert trace.status().get("results", {}).get("text") == wanted, trace.status()
        return True

    eventually(same, timeout=30)


def is_quiet(trace: TestTrace, seconds: float = 3.0) -> None:
    """Nothing is written about it for a while."""
    before = trace.read()["metadata"]["resourceVersion"]
    time.sleep(seconds)
    assert trace.read()["metadata"]["resourceVersion"] == before


def test_a_program_that_only_another_kernel_takes(nodes: Nodes, kernels_operator: OperatorProcess, system: System) -> None:
    here, there, twin = nodes.add("a", nodes.own), nodes.add("b", nodes.other), nodes.add("c", nodes.other)
    trace = nodes.trace("t", nodes.program(nodes.member))
    waiting = trace.wait_for("Compiled", "Unknown", "WaitingForKernelTypes")
    assert f"field named '{nodes.member}'" in waiting["message"]
    # One of the two is asked, and nobody else.
    nodes.wait_asked(there, nodes.other)
    assert (nodes.asked(here), nodes.asked(twin)) == ("", "")
    nodes.upload(nodes.other, nodes.types)
    compiled = trace.wait_for("Compiled", "True")
    assert "1 of the nodes' 2 kernels" in compiled["message"]
    nodes.wait_asked(there, "")
    status = trace.status()
    assert "artifact" not in status and list(variants(trace)) == [nodes.other]
    variant = status["variants"][0]
    assert variant["signature"] and variant["key"]
    stored = nodes.cluster.get("configmap", variant["configMap"], system.namespace)
    assert variant["digest"] == digest_of(base64.b64decode(stored["binaryData"]["object.o"]))
    error = errors(trace)[here]
    assert error["reason"] == "CompileFailed" and f"field named '{nodes.member}'" in error["message"]
    for name, count in ((there, 3), (twin, 4)):
        trace.report(name, digest=variant["digest"], maps=[scalar_count(count)])
    trace.wait_for("Ready", "True", "SomeNodesFailed")
    shows(trace, "@: 7\n")
    assert "2/3" in nodes.cluster.kubectl("get", "bt", "t", "-n", nodes.namespace)
    is_quiet(trace)
    # A restarted operator has lost the types, and does not want them: the object is there.
    kernels_operator.server.kill()
    before = trace.read()["metadata"]["resourceVersion"]
    kernels_operator.server.start()
    second = nodes.trace("second", 'begin { printf("x"); }')
    second.wait_for("Compiled", "True", timeout=60)
    time.sleep(4.0)
    assert trace.read()["metadata"]["resourceVersion"] == before
    assert nodes.asked(there) == nodes.asked(twin) == ""
    assert nodes.pieces(nodes.other)
    # What is known of a node may go for a moment.
    for name in (there, twin):
        nodes.cluster.api("DELETE", f"{GROUP}/bpfnodes/{name}")
    time.sleep(3.0)
    for name in (there, twin):
        nodes.tell(name, nodes.other)
    time.sleep(9.0)
    assert trace.read()["metadata"]["resourceVersion"] == before
    # A kernel that no node has any more: its variant goes, the object with it, and the pieces.
    for name in (there, twin):
        nodes.cluster.api("DELETE", f"{GROUP}/bpfnodes/{name}")
    trace.wait_for("Compiled", "False", "CompileFailed")
    assert not variants(trace)
    eventually(lambda: not nodes.pieces(nodes.other), timeout=30, what="the pieces removed")
    names = {item["metadata"]["name"] for item in nodes.cluster.get("configmaps", namespace=system.namespace)}
    eventually(lambda: variant["configMap"] not in names or _gone(nodes, variant, system), timeout=90, what="the object removed")


def _gone(nodes: Nodes, variant: Object, system: System) -> bool:
    items = nodes.cluster.get("configmaps", namespace=system.namespace)
    return variant["configMap"] not in {item["metadata"]["name"] for item in items}


def test_a_node_that_cannot_run_the_object_gets_its_own(nodes: Nodes) -> None:
    # A kernel where a struct on the way has another name: both take the program, and make different objects of it.
    kernel = Doctored(nodes.types)
    kernel.rename("struct", "mm_struct", "mm_of_task")
    types = kernel.build()
    other = digest_of(types)
    here, there = nodes.add("a", nodes.own), nodes.add("b", other)
    trace = nodes.trace("t", f'{GETPPID} {{ @ = count(); if (curtask.mm.mmap_base == 1) {{ printf("{nodes.label}"); }} }}')
    trace.wait_for("Compiled", "True")
    trace.report(here, maps=[scalar_count(1)])
    trace.report(there, "Failed", reason="KernelFieldMissing", message="mm_struct.mmap_base is missing")
    nodes.wait_asked(there, other)
    assert trace.condition("Reconciling")["status"] == "True" and not errors(trace)
    nodes.upload(other, types)
    eventually(lambda: other in variants(trace), timeout=30, what="a variant")
    trace.report(there, digest=variants(trace)[other]["digest"], reason="", message="", maps=[scalar_count(2)])
    trace.wait_for("Ready", "True", "AllNodesAttached")
    shows(trace, "@: 3\n")
    assert trace.status()["artifact"]["digest"] != variants(trace)[other]["digest"]
    is_quiet(trace)
    # Another program is another object, and its generation begins without variants.
    trace.patch(program='begin { @ = count(); printf("edited"); }')
    trace.wait_for("Compiled", "True")
    assert not variants(trace)
    # Of this program the object is the same for both kernels: there is nothing better to give, and the node's word stands.
    trace.report(here, maps=[scalar_count(1)])
    trace.report(there, "Failed", reason="KernelFieldMissing", message="mm_struct.mmap_base is missing")
    eventually(lambda: errors(trace).get(there, {}).get("reason") == "KernelFieldMissing", timeout=30, what="the node's word")
    assert not variants(trace)


def test_a_refusal_stands_after_a_while_and_is_corrected_when_the_types_come(nodes: Nodes) -> None:
    nodes.add("a", nodes.own)
    there = nodes.add("b", nodes.other)
    trace = nodes.trace("t", nodes.program(nodes.member))
    trace.wait_for("Compiled", "Unknown", "WaitingForKernelTypes")
    refused = trace.wait_for("Compiled", "False", "CompileFailed", timeout=40)
    assert "~~~" in refused["message"]
    is_quiet(trace)
    assert nodes.asked(there) == nodes.other
    nodes.upload(nodes.other, nodes.types)
    trace.wait_for("Compiled", "True", timeout=60)
    # A mistake is one for every kernel, and nobody is asked about it.
    wrong = nodes.trace("wrong", f"{GETPPID} {{ @ = curtask.{nodes.member}; @b = $x; }}")
    wrong.wait_for("Compiled", "False", "CompileFailed")


def test_pieces_that_are_not_what_they_say_are_removed(nodes: Nodes) -> None:
    there = nodes.add("b", nodes.other)
    trace = nodes.trace("t", nodes.program(nodes.member))
    nodes.wait_asked(there, nodes.other)
    nodes.upload(nodes.other, b"\x9f\xeb" + bytes(1000))
    eventually(lambda: not nodes.pieces(nodes.other), timeout=30, what="the pieces removed")
    refused = trace.wait_for("Compiled", "False", "CompileFailed", timeout=40)
    assert f"field named '{nodes.member}'" in refused["message"]
    nodes.wait_asked(there, "")  # it would send the same again


def test_the_webhook_lets_in_what_another_kernel_may_take(
    cluster: ControlPlane, system: System, namespace: str, tmp_path: Path
) -> None:
    nodes = Nodes(cluster, namespace)
    text = manifest("t", namespace, program=f"{GETPPID} {{\n  @ = curtask.{nodes.member};\n}}\n")
    with serving(cluster, system, tmp_path / "operator.log"):
        nodes.add("a", nodes.own)
        with pytest.raises(KubectlError, match=r"spec\.program:2:"):
            cluster.kubectl("apply", "-f", "-", input=text)
        nodes.add("b", nodes.other)
        try:

            def applied() -> str:
                try:
                    return cluster.run_kubectl("apply", "-f", "-", input=text)[1]
                except KubectlError as error:
                    raise AssertionError from error

            said = eventually(applied, timeout=20)
            lines = [line.removeprefix("Warning: ") for line in said.splitlines()]
            at = next(i for i, line in enumerate(lines) if line.startswith("spec.program:2:"))
            assert lines[at + 1].strip() == f"@ = curtask.{nodes.member};"
            assert lines[at + 2].strip("~ ") == "" and "~" in lines[at + 2]
            with pytest.raises(KubectlError, match="denied the request"):
                cluster.kubectl("apply", "-f", "-", input=text.replace(";", "; @b = $x;"))
        finally:
            nodes.remove()
