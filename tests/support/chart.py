"""The Helm chart, rendered and installed into a test control plane: the operator and the agents run under its real rights.

    system = install(cluster)
    Server([..., "kubebpf", "agent", ...], env={"KUBECONFIG": str(system.agent)})

There is no Deployment or DaemonSet controller in the test control plane, so the chart's pods never appear: tests start the
programs themselves.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.binaries import REPOSITORY, find_helm
from support.controlplane import ControlPlane, Object

CHART = REPOSITORY / "charts" / "kubebpf"
NAMESPACE = "kubebpf-system"


class HelmError(Exception):
    """helm ended with a status other than zero; the text is what it said."""


@dataclass(frozen=True)
class System:
    """An installed chart: its namespace and kubeconfigs of its two ServiceAccounts."""

    namespace: str
    operator: Path
    agent: Path


def helm(*args: str | Path) -> str:
    done = subprocess.run([find_helm(), *args], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def render(minor_version: int = 20, namespace: str = NAMESPACE, values: dict[str, Any] | None = None) -> list[Object]:
    """The chart's objects for a Kubernetes 1.`minor_version`."""
    settings = [word for key, value in (values or {}).items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    where = ["--namespace", namespace, "--kube-version", f"1.{minor_version}.0"]
    text = helm("template", "kubebpf", CHART, *where, *settings)
    return [document for document in yaml.safe_load_all(text) if document]


def install(cluster: ControlPlane, namespace: str = NAMESPACE) -> System:
    """`helm template | kubectl apply`, twice-safe."""
    cluster.namespace(namespace)
    objects = render(cluster.binaries.minor_version(), namespace)
    crds = [thing for thing in objects if thing["kind"] == "CustomResourceDefinition"]
    # kubectl knows the server's CRD schema, and one from before 1.23 has no CEL rules; the server only drops them.
    cluster.kubectl("apply", "--validate=false", "-f", "-", input=yaml.safe_dump_all(crds))
    # No network of services leads from this API server to an operator: tests of the webhook say where theirs is.
    webhooks = [thing for thing in objects if thing["kind"].endswith("WebhookConfiguration")]
    cluster.apply(*(thing for thing in objects if thing not in [*crds, *webhooks]))
    operator, agent = (cluster.service_account_kubeconfig(namespace, f"kubebpf-{part}") for part in ("operator", "agent"))
    return System(namespace, operator, agent)
