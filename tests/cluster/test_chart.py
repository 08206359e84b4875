"""The chart: accepted by a real API server, its rights exactly those needed, its pods as confined as they can be."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from support.binaries import REPOSITORY
from support.chart import CHART, HelmError, System, helm, install, render
from support.controlplane import ControlPlane, KubectlError, Object
from support.pods import Pods
from support.processes import eventually

WORK = {"Deployment", "DaemonSet"}
KINDS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount", "Deployment", "DaemonSet"}

# "verb resource.group/subresource namespace"; without a namespace: in all of them.
# What they must not lack is shown by every other test; that nothing is left over by test_used_rights.py.
OPERATOR_MAY = [
    "list bpftraces.kubebpf.dev", "watch clusterbpftraces.kubebpf.dev", "create bpftraces.kubebpf.dev",
    "update bpftraces.kubebpf.dev/status", "delete bpftracereports.kubebpf.dev",
    "create configmaps kubebpf-system", "delete configmaps kubebpf-system", "create events", "list nodes",
    "update leases.coordination.k8s.io kubebpf-system", "patch bpfnodes.kubebpf.dev", "get btfchunks.kubebpf.dev kubebpf-system",
]  # fmt: skip
OPERATOR_MAY_NOT = [
    "get secrets kubebpf-system", "update configmaps kubebpf-system", "get configmaps default",
    "patch bpftraces.kubebpf.dev", "update bpftraces.kubebpf.dev", "create bpftracereports.kubebpf.dev",
    "list pods", "create pods", "delete pods", "list namespaces",
    "create bpfnodes.kubebpf.dev", "patch bpfnodes.kubebpf.dev/status", "create btfchunks.kubebpf.dev kubebpf-system",
]  # fmt: skip
AGENT_MAY = [
    "list bpftraces.kubebpf.dev", "watch clusterbpftraces.kubebpf.dev", "create bpftracereports.kubebpf.dev",
    "patch bpftracereports.kubebpf.dev/status", "get configmaps kubebpf-system", "watch pods", "list nodes", "watch namespaces",
    "create bpfnodes.kubebpf.dev", "patch bpfnodes.kubebpf.dev/status", "create btfchunks.kubebpf.dev kubebpf-system",
]  # fmt: skip
AGENT_MAY_NOT = [
    "get secrets kubebpf-system", "list configmaps kubebpf-system", "get configmaps default",
    "create configmaps kubebpf-system", "patch bpftraces.kubebpf.dev", "patch bpftraces.kubebpf.dev/status",
    "patch bpftracereports.kubebpf.dev", "create events", "patch nodes", "delete pods", "create pods", "get pods",
    "patch bpfnodes.kubebpf.dev", "delete bpfnodes.kubebpf.dev", "create btfchunks.kubebpf.dev default",
    "update btfchunks.kubebpf.dev kubebpf-system", "delete btfchunks.kubebpf.dev kubebpf-system",
]  # fmt: skip


def test_the_crds_of_the_chart_are_those_of_the_project() -> None:
    subprocess.run([sys.executable, REPOSITORY / "hack" / "sync-crds.py", "--check"], check=True)
    rendered = {thing["metadata"]["name"]: thing for thing in render(25) if thing["kind"] == "CustomResourceDefinition"}
    written = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "crds").glob("*.yaml")]
    assert len(rendered) == len(written) == 5
    for crd in written:
        crd["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        assert rendered[crd["metadata"]["name"]] == crd
    # Helm would refuse an unknown field where the API server knows no rules.
    assert "x-kubernetes-validations" not in str(render(24)) and "x-kubernetes-validations" in str(render(25))
    assert not [thing for thing in render(values={"crds.install": False}) if thing["kind"] == "CustomResourceDefinition"]


def test_helm_finds_nothing_to_complain_about() -> None:
    helm("lint", CHART, "--strict")


@pytest.mark.parametrize("minor", [20, 24, 31])
def test_it_renders_for_old_and_new_clusters(minor: int) -> None:
    kinds = {thing["kind"] for thing in render(minor)}
    assert kinds >= KINDS | {"CustomResourceDefinition"}
    assert ("FlowSchema" in kinds) == (minor >= 29)
    assert ("ValidatingAdmissionPolicy" in kinds) == ("ValidatingAdmissionPolicyBinding" in kinds) == (minor >= 30)


@pytest.mark.parametrize(("suffix", "plural"), [("reports", "bpftracereports"), ("nodes", "bpfnodes")])
def test_agents_write_for_their_own_node_only(suffix: str, plural: str) -> None:
    named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in render(30)}
    policy = named["ValidatingAdmissionPolicy", f"kubebpf-{suffix}"]
    binding = named["ValidatingAdmissionPolicyBinding", f"kubebpf-{suffix}"]
    spec = policy["spec"]
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    assert spec["failurePolicy"] == "Fail"
    (rule,) = spec["matchConstraints"]["resourceRules"]
    # A subresource or a version that is not named would be a way around it.
    served = yaml.safe_load((REPOSITORY / f"crds/{plural}.yaml").read_text())["spec"]["versions"]
    assert rule["apiVersions"] == [version["name"] for version in served if version["served"]]
    assert set(rule["resources"]) == {plural, f"{plural}/status"}
    assert set(rule["operations"]) == {"CREATE", "UPDATE", "DELETE"}
    (condition,) = spec["matchConditions"]
    account = _pod_spec(list(named.values()), "DaemonSet")["serviceAccountName"]
    assert f"'system:serviceaccount:kubebpf-system:{account}'" in condition["expression"]
    rules = " ".join(validation["expression"] for validation in spec["validations"])
    what = {"reports": "spec.node", "nodes": "metadata.name"}[suffix]
    assert f"oldObject.{what}" in rules and f" object.{what}" in rules and "variables.node != ''" in rules
    assert "ValidatingAdmissionPolicy" not in {thing["kind"] for thing in render(30, values={"agent.boundReports": False})}


@pytest.mark.parametrize(
    "values",
    [{"agent.imagePolicy": "x"}, {"operator.image.digest": "sha256:12"}, {"agent.extraCapabilities": ["cap_sys_admin"]}],
)
def test_mistakes_in_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match="schema"):
        render(values=values)


def test_images_are_pinned_by_digest() -> None:
    digest = "sha256:" + "0" * 64
    agent = _pod_spec(render(values={"agent.image.digest": digest}), "DaemonSet")
    assert agent["containers"][0]["image"] == f"kubebpf-agent@{digest}"


def test_the_api_server_takes_it_twice(cluster: ControlPlane, system: System) -> None:
    again = install(cluster, system.namespace)
    assert again.namespace == system.namespace
    agent = cluster.get("daemonset", "kubebpf-agent", system.namespace)
    assert agent["spec"]["template"]["spec"]["hostPID"] is True
    assert cluster.get("deployment", "kubebpf-operator", system.namespace)["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("part", "may", "questions"),
    [
        ("operator", True, OPERATOR_MAY),
        ("operator", False, OPERATOR_MAY_NOT),
        ("agent", True, AGENT_MAY),
        ("agent", False, AGENT_MAY_NOT),
    ],
)
def test_rights(cluster: ControlPlane, system: System, part: str, may: bool, questions: list[str]) -> None:
    user = f"system:serviceaccount:{system.namespace}:kubebpf-{part}"
    wrong = [question for question in questions if _may(cluster, user, question) != may]
    assert not wrong, f"the {part} {'may not' if may else 'may'} do that"


def test_no_right_is_a_wildcard() -> None:
    roles = [thing for thing in render(31) if thing["kind"] in ("ClusterRole", "Role")]
    words = [word for role in roles for rule in role["rules"] for part in rule.values() for word in part]
    assert "*" not in words
    secret = [(role["metadata"]["name"], rule) for role in roles for rule in role["rules"] if "secrets" in rule["resources"]]
    assert {name for name, _ in secret} == {"kubebpf-operator"}, "agents have no business with Secrets"
    named = [rule for _, rule in secret if rule["verbs"] != ["create"]]
    secrets = ["kubebpf-signing-keys", "kubebpf-webhook-certificate"]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in named] == [(secrets, ["get", "update"])]


def test_users_of_a_namespace_may_trace_it(cluster: ControlPlane, system: System, namespace: str) -> None:
    kubeconfig = cluster.user_kubeconfig("tenant")
    cluster.kubectl("create", "rolebinding", "t", "--clusterrole=view", "--user=tenant", "-n", namespace)
    eventually(lambda: _may(cluster, "tenant", f"get bpftraces.kubebpf.dev {namespace}"))
    assert not _may(cluster, "tenant", f"create bpftraces.kubebpf.dev {namespace}")
    cluster.kubectl("create", "rolebinding", "e", "--clusterrole=edit", "--user=tenant", "-n", namespace)
    eventually(lambda: _may(cluster, "tenant", f"create bpftraces.kubebpf.dev {namespace}"))
    assert cluster.kubectl("get", "bpftraces", "-n", namespace, kubeconfig=kubeconfig) == ""
    assert not _may(cluster, "tenant", f"create bpftracereports.kubebpf.dev {namespace}")
    assert not _may(cluster, "tenant", "create clusterbpftraces.kubebpf.dev")


def test_an_agent_reads_pods_under_its_own_token(cluster: ControlPlane, system: System, pods: Pods, namespace: str) -> None:
    pods.create("web", namespace=namespace)
    assert "web" in cluster.kubectl("get", "pods", "-n", namespace, kubeconfig=system.agent)
    with pytest.raises(KubectlError, match="forbidden"):
        cluster.kubectl("get", "secrets", "-n", system.namespace, kubeconfig=system.agent)


def test_the_operator_is_restricted() -> None:
    spec = _pod_spec(render(), "Deployment")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostPID", "hostNetwork", "hostIPC"} & spec.keys()
    assert all("hostPath" not in volume for volume in spec["volumes"])
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_agent_has_five_capabilities_and_no_more() -> None:
    spec = _pod_spec(render(), "DaemonSet")
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {
        "drop": ["ALL"],
        "add": ["BPF", "PERFMON", "SYS_PTRACE", "SYSLOG", "DAC_READ_SEARCH"],
    }
    assert security["readOnlyRootFilesystem"] is True
    assert "privileged" not in security
    assert spec["tolerations"] == [{"operator": "Exists"}]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    writable = {path for path, read_only in mounts.items() if not read_only}
    assert writable == {"/tmp", "/sys/fs/bpf/kubebpf"}


def test_the_commands_are_those_of_the_programs() -> None:
    objects = render()
    assert _pod_spec(objects, "Deployment")["containers"][0]["args"] == [
        "operator", "--namespace", "kubebpf-system", "--unsafe=Reviewed", "--webhook-port=9443",
        "--webhook-host=kubebpf-webhook.kubebpf-system.svc",
        "--webhook-configuration=validating/kubebpf", "--webhook-configuration=mutating/kubebpf",
    ]  # fmt: skip
    assert _pod_spec(objects, "DaemonSet")["containers"][0]["args"] == [
        "agent", "--node-name", "$(NODE_NAME)", "--namespace", "kubebpf-system", "--daemonset", "kubebpf-agent",
    ]  # fmt: skip


def test_packets_have_a_folder_of_the_node_when_it_is_named() -> None:
    spec = _pod_spec(render(values={"agent.packets.hostPath": "/srv/packets", "agent.packets.maxMiB": 8}), "DaemonSet")
    (container,) = spec["containers"]
    assert container["args"][-2:] == ["--packet-folder=/var/lib/kubebpf/packets", "--packet-mib=8"]
    assert {"name": "packets", "mountPath": "/var/lib/kubebpf/packets"} in container["volumeMounts"]
    assert spec["volumes"][-1]["hostPath"] == {"path": "/srv/packets", "type": "DirectoryOrCreate"}
    with pytest.raises(HelmError, match="hostPath"):
        render(values={"agent.packets.hostPath": "relative"})


def test_the_notes_name_every_crd() -> None:
    notes = (CHART / "templates/NOTES.txt").read_text()
    (named,) = re.findall(r"delete crd \{(.*)\}\.kubebpf\.dev", notes)
    assert sorted(named.split(",")) == sorted(path.stem for path in (REPOSITORY / "crds").glob("*.yaml"))


def _pod_spec(objects: list[Object], kind: str) -> Object:
    (found,) = (thing for thing in objects if thing["kind"] == kind)
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def _may(cluster: ControlPlane, user: str, question: str) -> bool:
    """What the API server's authorizer says."""
    verb, what, *where = question.split()
    resource, _, subresource = what.partition("/")
    resource, _, group = resource.partition(".")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "".join(where)}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    }
    answer = cluster.api("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def test_metrics_are_served_where_they_are_asked_for() -> None:
    def served(values: dict[str, Any]) -> set[tuple[str, int]]:
        pods = [
            (o["kind"], o["spec"]["template"]["spec"]["containers"][0]) for o in render(30, values=values) if o["kind"] in WORK
        ]
        ports = {
            (kind, port["containerPort"]) for kind, pod in pods for port in pod.get("ports", []) if port["name"] == "metrics"
        }
        assert ports == {
            (kind, int(a.rpartition(":")[2])) for kind, pod in pods for a in pod["args"] if a.startswith("--metrics=")
        }
        return ports

    assert not served({})
    assert served({"metrics.enabled": True, "metrics.port": 9000}) == {("Deployment", 9000), ("DaemonSet", 9000)}
    (monitor,) = (
        o for o in render(30, values={"metrics.enabled": True, "metrics.podMonitor": True}) if o["kind"] == "PodMonitor"
    )
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in render(30) if o["kind"] in WORK]
    assert all(chosen <= pod.items() for pod in labels)
