"""The operator as a process, and reports written the way agents write them: for cluster tests without agents."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubebpf.operator.model import report_name
from support.controlplane import ApiError, ControlPlane, Object
from support.processes import Server, eventually

_OPERATOR = "import sys; from kubebpf.cli.main import main; sys.exit(main())"
GROUP = "/apis/kubebpf.dev/v1alpha1"


class OperatorProcess:
    """`kubebpf operator` under the rights of a kubeconfig; `more` are further options.

    Args:
        patience: seconds that it waits for the types of other kernels.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        log: Path,
        interval: float = 2.0,
        identity: str = "one",
        *more: str,
        patience: float = 60.0,
    ) -> None:
        argv = [sys.executable, "-c", _OPERATOR, "operator", "--namespace", namespace]
        argv += ["--kubeconfig", str(kubeconfig), "--status-interval", str(interval)]
        argv += more
        settings = {"KUBECONFIG": str(kubeconfig), "KUBEBPF_IDENTITY": identity, "KUBEBPF_PATIENCE": str(patience)}
        self.server = Server(argv, log, {**os.environ, **settings})

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.stop()


class TestTrace:
    """A trace and the reports that a test writes about it."""

    __test__ = False

    def __init__(self, cluster: ControlPlane, name: str, namespace: str = "", **spec: Any) -> None:
        self.cluster, self.name, self.namespace = cluster, name, namespace
        self.kind = "BpfTrace" if namespace else "ClusterBpfTrace"
        where = f"namespaces/{namespace}/bpftraces" if namespace else "clusterbpftraces"
        self.path = f"{GROUP}/{where}/{name}"
        self.report_namespace = namespace or "kubebpf-system"
        body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": self.kind, "metadata": {"name": name}}
        self.applied = time.monotonic()
        made = cluster.api("POST", self.path.rsplit("/", 1)[0], body | {"spec": {"program": "begin { @ = count(); }"} | spec})
        self.uid: str = made["metadata"]["uid"]

    def read(self) -> Object:
        return self.cluster.api("GET", self.path)

    def status(self) -> Object:
        found: Object = self.read().get("status", {})
        return found

    def condition(self, kind: str) -> Object:
        return next((row for row in self.status().get("conditions", []) if row["type"] == kind), {})

    def wait_for(self, kind: str, status: str, reason: str | None = None, timeout: float = 30) -> Object:
        def holds() -> Object:
            row, body = self.condition(kind), self.read()
            assert row.get("status") == status and reason in (None, row["reason"]), body.get("status")
            assert row["observedGeneration"] == body["metadata"]["generation"]
            return row

        return eventually(holds, timeout=timeout, what=f"{kind}={status} {reason}")

    def patch(self, **spec: Any) -> None:
        self.cluster.api("PATCH", self.path, {"spec": spec})

    def delete(self) -> None:
        self.cluster.api("DELETE", self.path)

    def report(self, node: str, phase: str = "Attached", owned: bool = True, **status: Any) -> None:
        """Create or replace the report of a node, as an agent does, about the present generation and object."""
        body = self.read()
        artifact = body.get("status", {}).get("artifact", {})
        said = {
            "generation": body["metadata"]["generation"],
            "digest": artifact.get("digest"),
            "phase": phase,
            "maps": [],
        } | status
        path = f"{GROUP}/namespaces/{self.report_namespace}/bpftracereports"
        name = report_name(self.name, self.uid, node)
        try:
            self.cluster.api("POST", path, self._report(name, node, owned))
        except ApiError as error:
            if error.code != 409:
                raise
        self.cluster.api("PATCH", f"{path}/{name}/status", {"status": said})

    def _report(self, name: str, node: str, owned: bool) -> Object:
        owner = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": self.kind, "name": self.name, "uid": self.uid}
        trace = {"kind": self.kind, "name": self.name, "namespace": self.namespace or "-", "uid": self.uid}
        return {
            "apiVersion": "kubebpf.dev/v1alpha1",
            "kind": "BpfTraceReport",
            "metadata": {"name": name} | ({"ownerReferences": [owner]} if owned else {}),
            "spec": {"trace": trace, "node": node},
        }

    def reports(self) -> list[Object]:
        path = f"{GROUP}/namespaces/{self.report_namespace}/bpftracereports"
        items: list[Object] = self.cluster.api("GET", path)["items"]
        return [item for item in items if item["spec"]["trace"]["uid"] == self.uid]

    def events(self) -> dict[str, Object]:
        path = f"/api/v1/namespaces/{self.namespace or 'default'}/events"
        items = self.cluster.api("GET", path)["items"]
        mine = [item for item in items if item["involvedObject"].get("uid") == self.uid]
        assert len({(e["reason"], e["source"].get("host")) for e in mine}) == len(mine), mine
        return {event["reason"]: event for event in mine}


class Versions:
    """Collects the resourceVersions that an object goes through while the block runs: how often it is written."""

    def __init__(self, trace: TestTrace) -> None:
        self._trace, self._stop = trace, threading.Event()
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._poll)

    def _poll(self) -> None:
        while not self._stop.wait(0.02):
            version = self._trace.read()["metadata"]["resourceVersion"]
            if version not in self.seen:
                self.seen.append(version)

    @property
    def writes(self) -> int:
        return len(self.seen) - 1

    def __enter__(self) -> Self:
        self.seen.append(self._trace.read()["metadata"]["resourceVersion"])
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
