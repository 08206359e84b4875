"""An operator that serves the admission webhook, and the chart's configurations, which find it on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from support.chart import System, render
from support.controlplane import ControlPlane, KubectlError
from support.operators import OperatorProcess
from support.processes import eventually, free_ports

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def serving(cluster: ControlPlane, system: System, log: Path, *options: str) -> Iterator[OperatorProcess]:
    """The webhook answers inside the block; the configurations are gone after it. `options` are more of the operator's."""
    (port,) = free_ports(1)
    made = [thing for thing in render(cluster.binaries.minor_version()) if thing["kind"].endswith("WebhookConfiguration")]
    for thing in made:
        for hook in thing["webhooks"]:
            path = hook["clientConfig"].pop("service")["path"]
            hook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
    cluster.apply(*made)
    names = [f"--webhook-configuration={kind}/kubebpf" for kind in ("validating", "mutating")]
    more = [f"--webhook-port={port}", "--webhook-host=127.0.0.1", *names, *options]
    try:
        with OperatorProcess(system.operator, system.namespace, log, 1.0, "webhook", *more) as process:
            wait_until_answering(cluster)
            yield process
    finally:
        for kind in ("validating", "mutating"):
            cluster.api("DELETE", f"{WEBHOOKS}/{kind}webhookconfigurations/kubebpf")
    assert "Traceback" not in log.read_text(), log.read_text()


def wait_until_answering(cluster: ControlPlane) -> None:
    eventually(
        lambda: "caBundle" in json.dumps(cluster.api("GET", f"{WEBHOOKS}/mutatingwebhookconfigurations/kubebpf")), timeout=30
    )
    eventually(lambda: _refuses(cluster), timeout=30, what="the webhook answers")


def _refuses(cluster: ControlPlane) -> bool:
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=manifest("probe", "default", program="nonsense"))
    except KubectlError as error:
        return "denied the request" in str(error)
    return False


def manifest(name: str, namespace: str, **spec: Any) -> str:
    """A trace as YAML; a ClusterBpfTrace when `namespace` is empty."""
    kind = "BpfTrace" if namespace else "ClusterBpfTrace"
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return yaml.safe_dump({"apiVersion": "kubebpf.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec})
