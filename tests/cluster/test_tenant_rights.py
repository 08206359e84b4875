"""What the chart adds to Kubernetes' roles view and edit: each verb used by somebody who has just that role, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.agents import GROUP
from support.audit import Asked, unused
from support.chart import System, render
from support.controlplane import ControlPlane, Object
from support.tenants import Tenant
from support.webhooks import manifest

PROGRAM = "begin { @ = count(); }"
VIEW = {"bpftraces": {"get", "list", "watch"}, "bpftraces/status": {"get"}, "bpftracereports": {"get", "list", "watch"}}
EDIT = {"bpftraces": {"create", "update", "patch", "delete", "deletecollection"}}
COVERED = {"kubebpf-operator", "kubebpf-agent", "kubebpf-view", "kubebpf-edit"}


def _rules(name: str) -> list[Object]:
    return [
        rule
        for thing in render()
        if thing["kind"].endswith("Role") and thing["metadata"]["name"] == name
        for rule in thing["rules"]
    ]


def test_every_role_of_the_chart_is_looked_at() -> None:
    """A new role needs a place in a test that shows its use: here, or in test_used_rights.py."""
    for minor in (20, 30, 36):
        roles = {thing["metadata"]["name"] for thing in render(minor) if thing["kind"] in ("ClusterRole", "Role")}
        assert roles == COVERED


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": ["kubebpf.dev"], "resources": ["bpftraces"], "verbs": ["*"]},
        {"apiGroups": ["kubebpf.dev"], "resources": ["*"], "verbs": ["list"]},
        {"apiGroups": ["*"], "resources": ["bpftraces"], "verbs": ["list"]},
    ],
)
def test_a_wildcard_is_a_right_that_nothing_needs(rule: dict[str, Any]) -> None:
    """So test_used_rights.py fails for it, whatever was asked."""
    chart = [{"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule]}]
    asked = {Asked(verb, "kubebpf.dev", what) for verb in ("list", "get", "watch") for what in ("bpftraces", "bpftracereports")}
    assert unused(chart, "r", asked)
    assert not unused(chart, "another", asked)


def test_no_rule_has_a_wildcard() -> None:
    rules = [rule for thing in render(36) if thing["kind"] in ("ClusterRole", "Role") for rule in thing["rules"]]
    assert rules and not [rule for rule in rules if "*" in json.dumps(rule)]


@pytest.fixture
def tenant(cluster: ControlPlane, system: System, namespace: str) -> Iterator[Tenant]:
    yield Tenant(cluster, namespace)


def test_each_verb_of_a_tenant_is_one_that_kubectl_needs(tenant: Tenant) -> None:
    said = {name: {(r, v) for rule in _rules(name) for r in rule["resources"] for v in rule["verbs"]} for name in COVERED}
    assert said["kubebpf-view"] == {(what, verb) for what, verbs in VIEW.items() for verb in verbs}
    assert said["kubebpf-edit"] == {(what, verb) for what, verbs in EDIT.items() for verb in verbs}
    text = manifest("t", tenant.namespace, program=PROGRAM)
    tenant.kubectl("create", "-f", "-", text=text)
    tenant.apply(manifest("t", tenant.namespace, program=PROGRAM, suspend=True))  # patch
    body = tenant.cluster.get("bpftrace", "t", tenant.namespace)
    tenant.kubectl("replace", "-f", "-", text=json.dumps(body | {"spec": body["spec"] | {"suspend": False}}))
    for kind in ("bpftraces", "bpftracereports"):
        tenant.kubectl("get", kind)
        tenant.kubectl("get", "--raw", f"{GROUP}/namespaces/{tenant.namespace}/{kind}?watch=true&timeoutSeconds=1")
    tenant.kubectl("get", "bpftrace", "t", "-o", "yaml")
    tenant.kubectl("get", "--raw", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces/t/status")
    tenant.kubectl("delete", "bpftrace", "t")
    tenant.kubectl("create", "-f", "-", text=text)
    token = yaml.safe_load(tenant.kubeconfig.read_text())["users"][0]["user"]["token"]
    tenant.cluster.api("DELETE", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces", token=token)
    assert not tenant.cluster.api("GET", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces")["items"]


def test_a_viewer_changes_nothing(cluster: ControlPlane, system: System, namespace: str) -> None:
    viewer = Tenant(cluster, namespace, role="view")
    cluster.apply(*yaml.safe_load_all(manifest("t", namespace, program=PROGRAM)))
    assert "t" in viewer.kubectl("get", "bpftraces")
    for words in (["delete", "bpftrace", "t"], ["label", "bpftrace", "t", "a=b"], ["apply", "-f", "-"]):
        assert "cannot" in viewer.refused(*words, text=manifest("t", namespace, program=PROGRAM, suspend=True))
