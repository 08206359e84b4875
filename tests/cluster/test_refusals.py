"""Who may do what: each row is an attempt by somebody who should not, and the words that they get. docs/security.md shows them.

The operator, its webhook, an agent and the API server's RBAC are real; so are the tenants: ServiceAccounts with the aggregated
role `edit` in their own namespaces.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support.agents import GROUP, SYSTEM, AgentProcess, Agents, report_path
from support.binaries import REPOSITORY, find_new_kubectl
from support.chart import System
from support.controlplane import ApiError, ControlPlane, KubectlError, Object
from support.operators import OperatorProcess
from support.pods import Pod, Pods
from support.tenants import Tenant
from support.webhooks import manifest, serving
from support.workload import make_calls
from support.world import Trace, by_container, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @[cgroup] = count(); @all = count(); }"
UNSAFE = 'tracepoint:syscalls:sys_enter_getppid { signal("SIGUSR1"); }'
NODE = f"node-{secrets.token_hex(3)}"
TARGET = {"nodeSelector": {"kubernetes.io/hostname": NODE}}


@dataclass(frozen=True)
class Stage:
    """Two tenants with a trace of the same name each, a node with an agent, and what has come of it."""

    cluster: ControlPlane
    operator: OperatorProcess
    tenant: Tenant
    other: Tenant
    agent: Path
    node: AgentProcess
    pods: tuple[Pod, Pod]
    traces: tuple[Trace, Trace]

    def names(self) -> dict[str, str]:
        """What a row's words stand for."""
        mine, theirs = (trace.read() for trace in self.traces)
        return {
            "MINE": self.tenant.namespace,
            "THEIRS": self.other.namespace,
            "TRACE": f"{GROUP}/namespaces/{self.tenant.namespace}/bpftraces/calls",
            "REPORT": report_path(mine, NODE).rpartition("/")[2],
            "OTHERREPORT": report_path(theirs, NODE).rpartition("/")[2],
            "OBJECT": mine["status"]["artifact"]["configMap"],
            "STATUS": json.dumps({"status": {"artifact": theirs["status"]["artifact"]}}),
        }


@pytest.fixture(scope="module")
def stage(cluster: ControlPlane, system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    kubectl = find_new_kubectl()
    with serving(cluster, system, tmp_path_factory.mktemp("refusals") / "operator.log") as operator, Pods(cluster) as pods:
        tenants = [Tenant(cluster, cluster.namespace(f"tenant-{secrets.token_hex(3)}"), kubectl) for _ in range(2)]
        pods.node(NODE, TARGET["nodeSelector"])
        made = [pods.create("api-0", namespace=tenant.namespace, node=NODE) for tenant in tenants]
        with Agents(cluster, system.agent) as agents:
            agent = agents.start(NODE)
            traces = [Trace(cluster, tenant.namespace, "calls", COUNT, target=TARGET) for tenant in tenants]
            for trace in traces:
                trace.condition("Ready", "True")
            yield Stage(
                cluster, operator, tenants[0], tenants[1], system.agent, agent, (made[0], made[1]), (traces[0], traces[1])
            )
            for tenant in tenants:
                cluster.api("DELETE", f"/api/v1/namespaces/{tenant.namespace}")


@dataclass(frozen=True)
class Row:
    """One attempt.

    Args:
        what: as the docs name it.
        who: tenant, agent, admin.
        words: of kubectl.
        said: parts of what kubectl then says.
        text: its standard input.
    """

    what: str
    who: str
    words: str
    said: tuple[str, ...]
    text: str = ""


def _may_not(verb: str, resource: str, group: str = "kubebpf.dev") -> str:
    return f'cannot {verb} resource "{resource}" in API group "{group}"'


ACCOUNT = 'spec.allowUnsafe: user "system:serviceaccount:MINE:tenant"'
IN_SYSTEM = f'in the namespace "{SYSTEM}"'
MERGE = f"--type=merge -n {SYSTEM} -p"
ROWS = [
    Row(
        "traces pods of another namespace",
        "tenant",
        "apply -n THEIRS -f -",
        (_may_not("get", "bpftraces"), 'in the namespace "THEIRS"'),
        manifest("t", "THEIRS", program=COUNT),
    ),
    Row("reads another namespace's trace", "tenant", "get bpftrace calls -n THEIRS", (_may_not("get", "bpftraces"),)),
    Row(
        "selects other namespaces in a BpfTrace",
        "tenant",
        "apply -f -",
        ("namespaceSelector",),
        manifest("t", "MINE", program=COUNT, target={"namespaceSelector": {"matchLabels": {"a": "b"}}}),
    ),
    Row(
        "applies a ClusterBpfTrace",
        "tenant",
        "apply -f -",
        (_may_not("get", "clusterbpftraces"), "at the cluster scope"),
        manifest("t", "", program=COUNT),
    ),
    Row(
        "uses an unsafe helper",
        "tenant",
        "apply -f -",
        ("denied the request", "signal() is an unsafe function", "spec.program:1:", "~~~"),
        manifest("t", "MINE", program=UNSAFE),
    ),
    Row(
        "uses an unsafe helper, says so, and lacks the verb useunsafe",
        "tenant",
        "apply -f -",
        (ACCOUNT + ' may not useunsafe bpftraces.kubebpf.dev in namespace "MINE"',),
        manifest("t", "MINE", program=UNSAFE, allowUnsafe=True),
    ),
    Row(
        "edits the status of their trace",
        "tenant",
        "patch bpftrace calls --subresource=status --type=merge -p STATUS",
        (_may_not("patch", "bpftraces/status"), 'in the namespace "MINE"'),
    ),
    Row(
        "replaces the status of their trace",
        "tenant",
        "replace --raw TRACE/status -f -",
        (_may_not("update", "bpftraces/status"),),
        manifest("calls", "MINE", program=COUNT),
    ),
    Row("makes a report", "tenant", "create -f -", (_may_not("create", "bpftracereports"),), "REPORTOBJECT"),
    Row(
        "edits a report",
        "tenant",
        'patch bpftracereport REPORT --type=merge -p {"spec":{"node":"x"}}',
        (_may_not("patch", "bpftracereports"),),
    ),
    Row(
        "edits what a report says",
        "tenant",
        "patch bpftracereport REPORT --subresource=status --type=merge -p {}",
        (_may_not("get", "bpftracereports/status"),),
    ),
    Row("deletes a report", "tenant", "delete bpftracereport REPORT", (_may_not("delete", "bpftracereports"),)),
    Row(
        "reads another namespace's report",
        "tenant",
        "get bpftracereport OTHERREPORT -n THEIRS",
        (_may_not("get", "bpftracereports"),),
    ),
    Row(
        "edits a compiled object",
        "tenant",
        f"patch configmap OBJECT {MERGE} {{}}",
        (_may_not("get", "configmaps", ""), IN_SYSTEM),
    ),
    Row(
        "edits a compiled object, and may edit ConfigMaps",
        "admin",
        f'patch configmap OBJECT {MERGE} {{"binaryData":{{"object.o":"AAAA"}}}}',
        ("field is immutable when `immutable` is set",),
    ),
    Row(
        "publishes a key of their own",
        "tenant",
        f'patch configmap kubebpf-trusted-keys {MERGE} {{"data":{{"mine.pub":"AAAA"}}}}',
        (_may_not("get", "configmaps", ""), IN_SYSTEM),
    ),
    Row("reads the keys that sign", "tenant", f"get secret kubebpf-signing-keys -n {SYSTEM}", (_may_not("get", "secrets", ""),)),
    Row("reads the keys that sign", "agent", f"get secret kubebpf-signing-keys -n {SYSTEM}", (_may_not("get", "secrets", ""),)),
    Row(
        "reads Secrets of its pods", "agent", "get secrets -n MINE", (_may_not("list", "secrets", ""), 'in the namespace "MINE"')
    ),
    Row(
        "publishes a key of its own",
        "agent",
        f'patch configmap kubebpf-trusted-keys {MERGE} {{"data":{{"mine.pub":"AAAA"}}}}',
        (_may_not("patch", "configmaps", ""),),
    ),
    Row(
        "puts an object in place of another",
        "agent",
        f"delete configmap OBJECT -n {SYSTEM}",
        (_may_not("delete", "configmaps", ""),),
    ),
    Row(
        "grants itself an object",
        "agent",
        "patch bpftrace calls -n MINE --subresource=status --type=merge -p STATUS",
        ("cannot get resource",),
    ),
    Row("starts a trace", "agent", "create -f -", (_may_not("create", "bpftraces"),), manifest("t", "MINE", program=COUNT)),
    Row("starts a pod", "agent", "run x --image=x -n MINE", (_may_not("create", "pods", ""),)),
]


def _filled(text: str, names: dict[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.who}: {row.what}" for row in ROWS])
def test_refused(stage: Stage, row: Row) -> None:
    names = stage.names() | {"REPORTOBJECT": json.dumps(_report(stage))}
    words = [_filled(word, names) for word in row.words.split()]
    kubeconfig = {"tenant": stage.tenant.kubeconfig, "agent": stage.agent, "admin": stage.cluster.kubeconfig}[row.who]
    with pytest.raises(KubectlError) as error:
        stage.cluster.kubectl(*words, input=_filled(row.text, names), kubeconfig=kubeconfig, binary=stage.tenant.binary)
    print(error.value)
    for said in row.said:
        assert _filled(said, names) in str(error.value)


def _report(stage: Stage) -> Object:
    trace = {
        "kind": "BpfTrace",
        "name": "calls",
        "namespace": stage.tenant.namespace,
        "uid": stage.traces[0].read()["metadata"]["uid"],
    }
    meta = {"name": "mine", "namespace": stage.tenant.namespace}
    body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfTraceReport", "metadata": meta}
    return body | {"spec": {"trace": trace, "node": NODE}}


# kubectl reads before it writes, and is refused there already. These write at once: method, path, who.
WRITES = [
    ("PATCH", "TRACE/status", "tenant"),
    ("PATCH", "TRACE/status", "agent"),
    ("PATCH", "TRACE", "agent"),
    ("DELETE", "TRACE", "agent"),
    ("PATCH", f"{GROUP}/namespaces/MINE/bpftracereports/REPORT", "tenant"),
    ("PATCH", f"{GROUP}/namespaces/MINE/bpftracereports/REPORT/status", "tenant"),
    ("DELETE", f"{GROUP}/namespaces/MINE/bpftracereports/REPORT", "tenant"),
    ("PATCH", f"{GROUP}/namespaces/MINE/bpftracereports/REPORT", "agent"),
    ("PATCH", f"{GROUP}/bpfnodes/{NODE}", "tenant"),
    ("PATCH", f"{GROUP}/bpfnodes/{NODE}/status", "tenant"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/OBJECT", "tenant"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/OBJECT", "agent"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/OBJECT", "operator"),
    ("DELETE", f"/api/v1/namespaces/{SYSTEM}/configmaps/OBJECT", "agent"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/kubebpf-trusted-keys", "tenant"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/kubebpf-trusted-keys", "agent"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/secrets/kubebpf-signing-keys", "tenant"),
    ("PATCH", f"/api/v1/namespaces/{SYSTEM}/secrets/kubebpf-signing-keys", "agent"),
    ("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/kubebpf-operator", "agent"),
    ("PATCH", "TRACE", "operator"),
    ("PATCH", f"{GROUP}/namespaces/MINE/bpftracereports/REPORT/status", "operator"),
]


@pytest.mark.parametrize(("method", "path", "who"), WRITES)
def test_refused_without_kubectl(stage: Stage, system: System, method: str, path: str, who: str) -> None:
    kubeconfig = {"tenant": stage.tenant.kubeconfig, "agent": stage.agent, "operator": system.operator}[who]
    token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    with pytest.raises(ApiError, match="403") as error:
        stage.cluster.api(method, _filled(path, stage.names()), {} if method == "PATCH" else None, token)
    verb = {"PATCH": "patch", "DELETE": "delete"}[method]
    assert f"cannot {verb} resource" in str(error.value)


def test_a_foreign_selector_selects_nothing_foreign(stage: Stage) -> None:
    """What no schema can refuse sees nothing: the other namespace's pods have these labels too."""
    both = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}
    trace = Trace(stage.cluster, stage.tenant.namespace, "greedy", COUNT, target=TARGET | both)
    # A client that asks for no validation has the member dropped by the API server, and still sees its own namespace only.
    wide = manifest("wide", stage.tenant.namespace, program=COUNT, target=TARGET | {"namespaceSelector": {}})
    stage.tenant.kubectl("apply", "--validate=false", "-f", "-", text=wide)
    second = stage.cluster.get("bpftrace", "wide", stage.tenant.namespace)
    assert "namespaceSelector" not in second["spec"]["target"]
    trace.condition("Ready", "True")
    mine, theirs = stage.pods
    make_calls(7, theirs)
    make_calls(3, mine)
    maps = trace.results(lambda maps: scalar(maps, "@all") == 3)
    assert by_container(maps) == {(NODE, stage.tenant.namespace, "api-0", "app"): 3}
    trace.delete()


def test_traces_of_one_name_do_not_meet(stage: Stage) -> None:
    """Two namespaces, and a trace that was made again: reports, pins, objects and Events go by the uid."""
    mine, theirs = stage.traces
    before = [_total(trace) for trace in stage.traces]
    for count, pod in zip((5, 11), stage.pods, strict=True):
        make_calls(count, pod)
    mine.results(lambda maps: scalar(maps, "@all") == before[0] + 5)
    theirs.results(lambda maps: scalar(maps, "@all") == before[1] + 11)
    for trace, namespace in zip(stage.traces, (stage.tenant.namespace, stage.other.namespace), strict=True):
        maps = trace.results(lambda maps: bool(maps["@"]["entries"]))
        assert {key[1] for key in by_container(maps)} == {namespace}
    again = Trace(stage.cluster, stage.tenant.namespace, "twin", COUNT, target=TARGET)
    again.condition("Ready", "True")
    make_calls(2, stage.pods[0])
    again.results(lambda maps: scalar(maps, "@all") == 2)
    first = again.read()
    again.delete()
    again.apply(COUNT, target=TARGET)
    again.condition("Ready", "True")
    make_calls(1, stage.pods[0])
    again.results(lambda maps: scalar(maps, "@all") == 1)
    assert report_path(first, NODE) != report_path(again.read(), NODE)
    again.delete()


def _total(trace: Trace) -> int:
    return scalar({m["name"]: m for m in trace.status().get("results", {}).get("maps", [])}, "@all")


def test_the_page_about_security_shows_the_rows() -> None:
    page = (REPOSITORY / "docs/security.md").read_text()
    assert not [row for row in ROWS if f"| {row.who} | {row.what} |" not in page]
