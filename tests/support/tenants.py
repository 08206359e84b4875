"""A tenant: a ServiceAccount with the aggregated role `edit` in its own namespace, and what kubectl says to it.

tenant = Tenant(cluster, "shop")
tenant.apply(manifest("t", "shop", program="begin { @ = count(); }"))
tenant.refused("get", "secrets", "-n", "kubebpf-system")       -> kubectl's words
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.controlplane import ControlPlane, KubectlError
from support.processes import eventually


class Tenant:
    """A ServiceAccount with one of Kubernetes' roles for people in its own namespace."""

    def __init__(self, cluster: ControlPlane, namespace: str, binary: Path | None = None, role: str = "edit") -> None:
        """`binary`: another kubectl than the control plane's; `role`: view, edit or admin."""
        self.cluster, self.namespace, self.binary = cluster, namespace, binary
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        cluster.api("POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant"}})
        self.bind(role, "ClusterRole", role)
        self.kubeconfig = cluster.service_account_kubeconfig(namespace, "tenant")
        verb = "get" if role == "view" else "create"
        eventually(lambda: self.can(verb, "bpftraces"), what=f"the chart's rules in the role {role}")

    def bind(self, name: str, kind: str, role: str) -> None:
        who = {"kind": "ServiceAccount", "name": "tenant", "namespace": self.namespace}
        what = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
        body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name}}
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/rolebindings"
        self.cluster.api("POST", path, body | {"roleRef": what, "subjects": [who]})

    def can(self, verb: str, resource: str) -> bool:
        try:
            return self.kubectl("auth", "can-i", verb, f"{resource}.kubebpf.dev").strip() == "yes"
        except KubectlError:
            return False

    def kubectl(self, *words: str, text: str | None = None) -> str:
        return self.cluster.kubectl(*words, input=text, kubeconfig=self.kubeconfig, binary=self.binary)

    def apply(self, text: str) -> str:
        return self.kubectl("apply", "-f", "-", text=text)

    def refused(self, *words: str, text: str | None = None) -> str:
        with pytest.raises(KubectlError) as error:
            self.kubectl(*words, text=text)
        return str(error.value)
