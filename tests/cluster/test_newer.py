"""What only a newer Kubernetes says: an agent writes about its own node only, and the CRDs' CEL rules refuse at once.

Needs hack/build-crdserver.sh, which `make test` runs; a single run of these tests skips them where that has not been run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.agents import GROUP, SYSTEM
from support.binaries import REPOSITORY, find_crd_server
from support.chart import System, render
from support.controlplane import ApiError, ControlPlane, Object
from support.newer import NewerServer
from support.processes import eventually

# The build may be under way.
pytestmark = pytest.mark.timeout(1500)

AGENT = f"system:serviceaccount:{SYSTEM}:kubebpf-agent"
REPORTS = f"{GROUP}/namespaces/{SYSTEM}/bpftracereports"
NODES = f"{GROUP}/bpfnodes"
UID = "6f2c0a3e-1111-4222-8333-444455556666"
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def newer(cluster: ControlPlane, system: System) -> Iterator[NewerServer]:
    binary = find_crd_server()
    if binary is None:
        pytest.skip("hack/build-crdserver.sh has not been run")
    policies = [thing for thing in render(36) if thing["kind"].startswith("ValidatingAdmissionPolicy")]
    with NewerServer(cluster, binary, sorted((REPOSITORY / "crds").glob("*.yaml")), policies) as server:
        eventually(lambda: _served(server), timeout=30, what="the kinds, and the agent's rights")
        yield server


def _served(server: NewerServer) -> bool:
    try:
        for plural in ("bpftraces", "clusterbpftraces", "bpftracereports", "bpfnodes", "btfchunks"):
            server.api("GET", f"{GROUP}/{plural}")
        server.api("GET", f"{GROUP}/bpftraces", user=AGENT)
    except ApiError:
        return False
    return True


def as_agent(newer: NewerServer, node: str | None) -> Callable[..., Object]:
    """Requests of the agent of a node, whose token says so; None: whose token says nothing."""
    extra = {"authentication.kubernetes.io/node-name": node} if node else None
    return lambda method, path, body=None: newer.api(method, path, body, AGENT, extra)


def refused(call: Callable[..., Object], method: str, path: str, body: Object | None = None) -> str:
    with pytest.raises(ApiError) as error:
        call(method, path, body)
    print(error.value)
    return str(error.value)


def report(node: str, name: str) -> Object:
    trace = {"kind": "ClusterBpfTrace", "name": "t", "namespace": "-", "uid": UID}
    body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfTraceReport", "metadata": {"name": name, "namespace": SYSTEM}}
    return body | {"spec": {"trace": trace, "node": node}}


STATUS = {"status": {"generation": 1, "digest": DIGEST, "phase": "Attached", "maps": []}}


def test_an_agent_writes_reports_of_its_own_node_only(newer: NewerServer) -> None:
    a, b, nameless = (as_agent(newer, node) for node in ("a", "b", None))
    a("POST", REPORTS, report("a", "of-a"))
    a("PATCH", f"{REPORTS}/of-a/status", STATUS)
    other = "an agent of node b may not write reports of another node"
    assert other in refused(b, "POST", REPORTS, report("a", "forged"))
    assert other in refused(b, "PATCH", f"{REPORTS}/of-a/status", STATUS)
    assert "may not touch reports of another node" in refused(b, "DELETE", f"{REPORTS}/of-a")
    # RBAC gives it no way to change whose report it is; neither would the schema.
    assert "cannot patch resource" in refused(b, "PATCH", f"{REPORTS}/of-a", {"spec": {"node": "b"}})
    assert "whose report it is never changes" in refused(newer.api, "PATCH", f"{REPORTS}/of-a", {"spec": {"node": "b"}})
    for method, path, body in (
        ("POST", REPORTS, report("a", "another")),
        ("PATCH", f"{REPORTS}/of-a/status", STATUS),
        ("DELETE", f"{REPORTS}/of-a", None),
    ):
        assert "the agent's token names no node" in refused(nameless, method, path, body)
    a("DELETE", f"{REPORTS}/of-a")
    # The policy is about agents: others are a matter of RBAC.
    newer.api("POST", REPORTS, report("a", "by-an-administrator"))
    newer.api("DELETE", f"{REPORTS}/by-an-administrator")


def test_an_agent_writes_the_object_of_its_own_node_only(newer: NewerServer) -> None:
    a, b, nameless = (as_agent(newer, node) for node in ("a", "b", None))
    node = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfNode", "metadata": {"name": "a"}}
    assert "what is asked of an agent is for the operator to say" in refused(
        a, "POST", NODES, node | {"spec": {"uploadBTF": DIGEST}}
    )
    a("POST", NODES, node)
    status = {"status": {"kernelRelease": "6.18.0", "architecture": "x86_64"}}
    a("PATCH", f"{NODES}/a/status", status)
    assert "an agent of node b may not write the BpfNode of another node" in refused(b, "PATCH", f"{NODES}/a/status", status)
    assert "the agent's token names no node" in refused(nameless, "PATCH", f"{NODES}/a/status", status)
    assert "cannot patch resource" in refused(a, "PATCH", f"{NODES}/a", {"spec": {"uploadBTF": DIGEST}})
    newer.api("DELETE", f"{NODES}/a")


def test_a_piece_of_type_information_never_changes(newer: NewerServer) -> None:
    chunks = f"{GROUP}/namespaces/{SYSTEM}/btfchunks"
    name = f"btf-{DIGEST[7:39]}-3"
    spec = {"digest": DIGEST, "index": 3, "total": 4, "encoding": "xz", "data": "aGFsbG8="}
    chunk: Object = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BtfChunk", "metadata": {"name": name}, "spec": spec}
    agent = as_agent(newer, "a")
    for wrong in ({"index": 2}, {"digest": "sha256:" + "cd" * 32}):
        assert "the name is btf-" in refused(agent, "POST", chunks, chunk | {"spec": spec | wrong})
    agent("POST", chunks, chunk)
    assert "cannot patch resource" in refused(agent, "PATCH", f"{chunks}/{name}", {"spec": {"data": "aGFsbG8h"}})
    assert "never changes" in refused(newer.api, "PATCH", f"{chunks}/{name}", {"spec": {"data": "aGFsbG8h"}})
    newer.api("DELETE", f"{chunks}/{name}")


RULES: dict[str, tuple[dict[str, Any], str]] = {
    "a schedule without a duration": ({"schedule": "* * * * *"}, "a trace with a schedule needs a duration"),
    "nothing as a duration": ({"duration": "0s"}, "a duration is longer than nothing"),
    "nothing as an interval": ({"report": {"interval": "0ms"}}, "an interval is longer than nothing"),
    "In without values": (
        {"target": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        "In and NotIn need values",
    ),
    "a parameter without a name": ({"params": {"": "1"}}, "names have 1 to 128 characters"),
}


@pytest.mark.parametrize("name", RULES)
def test_the_schema_refuses_what_the_operator_would_only_tell(newer: NewerServer, name: str) -> None:
    spec, words = RULES[name]
    body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfTrace", "metadata": {"name": "t"}}
    said = refused(newer.api, "POST", f"{GROUP}/namespaces/default/bpftraces", body | {"spec": {"program": "begin { }"} | spec})
    assert said.startswith("422") and words in said
