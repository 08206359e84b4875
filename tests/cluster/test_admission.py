"""The webhook as kubectl and the API server meet it: what it says to a tenant, and what it never lets through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.binaries import find_new_kubectl
from support.chart import System
from support.controlplane import ApiError, ControlPlane, KubectlError, Object
from support.operators import GROUP, OperatorProcess, TestTrace
from support.processes import eventually
from support.tenants import Tenant
from support.webhooks import WEBHOOKS, manifest, serving

TWO_ERRORS = "begin {\n  @a = coutn();\n  $x = nosuch;\n}\n"
UNSAFE = 'tracepoint:syscalls:sys_enter_getppid { signal("SIGUSR1"); }'


@pytest.fixture(scope="module")
def webhook(cluster: ControlPlane, system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with serving(cluster, system, tmp_path_factory.mktemp("webhook") / "operator.log") as process:
        yield process


@pytest.fixture
def tenant(cluster: ControlPlane, system: System, namespace: str) -> Tenant:
    return Tenant(cluster, namespace)


def test_a_broken_program_is_refused_with_all_its_diagnostics(webhook: OperatorProcess, tenant: Tenant) -> None:
    said = tenant.refused("apply", "-f", "-", text=manifest("t", tenant.namespace, program=TWO_ERRORS))
    assert "denied the request" in said
    assert "spec.program:2:" in said and "spec.program:3:" in said and "~~" in said
    assert "@a = coutn();" in said, "the line itself, for the caret"
    path = f"{GROUP}/namespaces/{tenant.namespace}/bpftraces"
    assert not tenant.cluster.api("GET", path)["items"]


MISTAKES = """begin { @a = coutn(); }
tracepoint:sched:sched_swich { @b = 1; }
interval:s:1 {
  $x = 1;
  $y = $x + nosuch;
  @c = count(1, 2);
  printf("%d %s\\n", 1);
}
"""


PLACES = ["1:14-19", "2:1-29", "5:13-19", "6:8-19", "7:3-23"]


def test_a_manifest_with_many_mistakes_shows_each_with_its_place(webhook: OperatorProcess, tenant: Tenant) -> None:
    """What a person sees in the terminal, with an old kubectl and a new one: line, column, the line itself, marks below it."""
    for binary in (None, find_new_kubectl()):
        tenant.binary = binary
        said = tenant.refused("apply", "-f", "-", text=manifest("t", tenant.namespace, program=MISTAKES))
        print(said)
        shown = said[said.index("spec.program") :].splitlines()
        places = [line for line in shown if line.startswith("spec.program:")]
        assert [place.split(": ")[0] for place in places] == [f"spec.program:{place}" for place in PLACES]
        for place in places:
            # The line of the program, and below it the marks from the column on.
            number, column = (int(part.split("-")[0]) for part in place.split(":")[1:3])
            at = shown.index(place)
            assert shown[at + 1] == MISTAKES.splitlines()[number - 1]
            assert shown[at + 2].index("~") == column - 1
        assert "HINT: Did you mean 'sched_switch'?" in shown


def test_a_good_program_is_let_in_and_compiled_once(webhook: OperatorProcess, tenant: Tenant) -> None:
    tenant.apply(manifest("t", tenant.namespace, program="begin { @ = count(); }"))
    found = tenant.cluster.api("GET", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces/t")
    assert "annotations" not in found["metadata"] or "kubebpf.dev/unsafe-review" not in found["metadata"]["annotations"]
    said = tenant.refused(
        "patch", "bpftrace", "t", "--type=merge", "-p", '{"spec": {"program": "begin { @ = 1; @ = \\"x\\"; }"}}'
    )
    assert "denied the request" in said
    tenant.kubectl("label", "bpftrace", "t", "a=b")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"program": " "}, "a program is needed"),
        ({"program": "begin { exit(); }", "duration": "0s"}, "spec.duration"),
        ({"program": "begin { exit(); }\n" + "// " + "x" * 66000}, "65536"),
    ],
)
def test_a_wrong_spec_is_refused(webhook: OperatorProcess, tenant: Tenant, spec: Object, words: str) -> None:
    assert words in tenant.refused("apply", "-f", "-", text=manifest("t", tenant.namespace, **spec))


def test_unsafe_helpers_need_the_verb(webhook: OperatorProcess, tenant: Tenant) -> None:
    unsafe = manifest("t", tenant.namespace, program=UNSAFE, allowUnsafe=True)
    without = manifest("t", tenant.namespace, program=UNSAFE)
    assert "signal" in tenant.refused("apply", "-f", "-", text=without)
    said = tenant.refused("apply", "-f", "-", text=unsafe)
    assert "may not useunsafe bpftraces.kubebpf.dev" in said and "system:serviceaccount:" in said
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "unsafe", "namespace": tenant.namespace},
        "rules": [{"apiGroups": ["kubebpf.dev"], "resources": ["bpftraces"], "verbs": ["useunsafe"]}],
    }
    tenant.cluster.apply(role)
    tenant.bind("unsafe", "Role", "unsafe")
    eventually(lambda: _applied(tenant, unsafe), what="the new right counts")
    trace = tenant.cluster.api("GET", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces/t")
    review = json.loads(trace["metadata"]["annotations"]["kubebpf.dev/unsafe-review"])
    assert review["user"] == f"system:serviceaccount:{tenant.namespace}:tenant"

    def granted() -> bool:
        status = tenant.cluster.api("GET", f"{GROUP}/namespaces/{tenant.namespace}/bpftraces/t").get("status") or {}
        artifact = status.get("artifact") or {}
        return artifact.get("unsafe") is True and bool(artifact["signature"])

    eventually(granted, what="the grant")


def _applied(tenant: Tenant, text: str) -> bool:
    try:
        tenant.apply(text)
    except KubectlError as error:
        assert "useunsafe" in str(error)
        return False
    return True


def test_what_passed_the_webhook_by_is_not_granted(cluster: ControlPlane, webhook: OperatorProcess, tenant: Tenant) -> None:
    """No review, a forged one, or one of another spec: no grant, whoever wrote the object."""
    configuration = cluster.api("GET", f"{WEBHOOKS}/mutatingwebhookconfigurations/kubebpf")
    cluster.api("DELETE", f"{WEBHOOKS}/mutatingwebhookconfigurations/kubebpf")
    try:
        trace = TestTrace(cluster, "sneaky", tenant.namespace, program=UNSAFE, allowUnsafe=True)
        row = trace.wait_for("Compiled", "False", "UnsafeNotAllowed")
        assert "useunsafe" in row["message"] and "artifact" not in trace.status()
        forged = json.dumps({"user": "admin", "key": "0" * 16, "signature": "AAAA"})
        cluster.api("PATCH", trace.path, {"metadata": {"annotations": {"kubebpf.dev/unsafe-review": forged}}})
        trace.wait_for("Compiled", "False", "UnsafeNotAllowed")
        assert "artifact" not in trace.status()
    finally:
        for name in ("uid", "resourceVersion", "managedFields"):
            configuration["metadata"].pop(name, None)
        cluster.apply({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"} | configuration)


def test_the_certificate_is_kept_and_private(cluster: ControlPlane, webhook: OperatorProcess, system: System) -> None:
    secret = cluster.api("GET", f"/api/v1/namespaces/{system.namespace}/secrets/kubebpf-webhook-certificate")
    assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"} and secret["type"] == "kubernetes.io/tls"
    found = cluster.api("GET", f"{WEBHOOKS}/validatingwebhookconfigurations/kubebpf")
    assert found["webhooks"][0]["clientConfig"]["caBundle"] == secret["data"]["ca.crt"]


def test_what_a_tenant_may_never_do(cluster: ControlPlane, webhook: OperatorProcess, tenant: Tenant, system: System) -> None:
    program = "begin { @ = count(); }"
    tenant.apply(manifest("t", tenant.namespace, program=program))
    others = cluster.namespace("somebody-else")
    attempts = (
        ("another namespace", ("apply", "-f", "-"), manifest("t", others, program=program)),
        ("the whole cluster", ("apply", "-f", "-"), manifest("t", "", program=program)),
        ("objects", ("get", "configmaps", "-n", system.namespace), None),
        ("keys", ("get", "secrets", "-n", system.namespace), None),
        ("a report", ("delete", "bpftracereport", "of-a-node"), None),
    )
    for what, words, text in attempts:
        assert "orbidden" in tenant.refused(*words, text=text), what
    status = f"{GROUP}/namespaces/{tenant.namespace}/bpftraces/t/status"
    assert "403" in _patched(tenant, status)


def _patched(tenant: Tenant, path: str) -> str:
    token = yaml.safe_load(Path(tenant.kubeconfig).read_text())["users"][0]["user"]["token"]
    with pytest.raises(ApiError) as error:
        tenant.cluster.api("PATCH", path, {"status": {"observedGeneration": 9}}, token)
    return str(error.value)
