"""unsafe.policy of the chart: who may use unsafe helpers at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.chart import System
from support.controlplane import ControlPlane, KubectlError, Object
from support.operators import GROUP, TestTrace
from support.processes import eventually
from support.tenants import Tenant
from support.webhooks import WEBHOOKS, manifest, serving

UNSAFE = 'tracepoint:syscalls:sys_enter_getppid { signal("SIGUSR1"); }'


def test_never(cluster: ControlPlane, system: System, namespace: str, tmp_path: Path) -> None:
    """Not even an administrator, in front of the webhook or behind it."""
    tenant = Tenant(cluster, namespace)
    unsafe = manifest("t", namespace, program=UNSAFE, allowUnsafe=True)
    with serving(cluster, system, tmp_path / "operator.log", "--unsafe=Never"):
        said = "spec.allowUnsafe: this operator grants unsafe helpers to nobody (unsafe.policy: Never)"
        assert said in tenant.refused("apply", "-f", "-", text=unsafe)
        with pytest.raises(KubectlError, match="to nobody"):
            cluster.kubectl("apply", "-f", "-", input=unsafe)
        # As if no replica had answered.
        patch = {"webhooks": None}
        cluster.api("PATCH", f"{WEBHOOKS}/mutatingwebhookconfigurations/kubebpf", patch)
        trace = eventually(lambda: TestTrace(cluster, "sneaky", namespace, program=UNSAFE, allowUnsafe=True), timeout=20)
        row = trace.wait_for("Compiled", "False", "UnsafeNotAllowed")
        assert "to nobody" in row["message"] and "artifact" not in trace.status()


def test_always(cluster: ControlPlane, system: System, namespace: str, tmp_path: Path) -> None:
    """Whoever may trace, without the verb."""
    tenant = Tenant(cluster, namespace)
    with serving(cluster, system, tmp_path / "operator.log", "--unsafe=Always"):
        tenant.apply(manifest("t", namespace, program=UNSAFE, allowUnsafe=True))
        path = f"{GROUP}/namespaces/{namespace}/bpftraces/t"

        def granted() -> Object:
            artifact: Object = cluster.api("GET", path)["status"]["artifact"]
            assert artifact["unsafe"] is True and artifact["signature"]
            return artifact

        eventually(granted, timeout=30)
