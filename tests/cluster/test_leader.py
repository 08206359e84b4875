"""Two replicas of the operator and one Lease: one of them works at a time, and there is always one soon."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.chart import System
from support.controlplane import ApiError, ControlPlane, Object
from support.operators import OperatorProcess, TestTrace
from support.processes import eventually

HANDOVER = 15.0  # seconds that the cluster may be without an operator


class Replicas:
    """Two operators, `first` and `second` by name; either may lead."""

    def __init__(self, cluster: ControlPlane, system: System, folder: Path) -> None:
        self.cluster, self.namespace = cluster, system.namespace
        self._config, self._folder, self._stack = system.operator, folder, ExitStack()
        self.processes = {name: self._process(name) for name in ("first", "second")}

    def _process(self, name: str) -> OperatorProcess:
        return OperatorProcess(self._config, self.namespace, self._folder / f"{name}.log", 1.0, name)

    def __enter__(self) -> Replicas:
        for process in self.processes.values():
            self._stack.enter_context(process)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for process in self.processes.values():
            assert "Traceback" not in process.server.log.read_text()

    def lease(self) -> Object:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/kubebpf-operator"
        try:
            spec: Object = self.cluster.api("GET", path)["spec"]
        except ApiError as error:
            assert error.code != 404
            raise
        return spec

    def leader(self, other_than: str = "") -> str:
        def leads() -> str:
            holder: str = self.lease()["holderIdentity"]
            assert holder in self.processes and holder != other_than, holder
            return holder

        return eventually(leads, timeout=HANDOVER + 15, what="a leader")

    def served(self, started: float) -> float:
        """Seconds from `started` until a trace that is made now is compiled."""
        program = f'begin {{ printf("{secrets.token_hex(4)}"); }}'
        trace = TestTrace(self.cluster, f"t-{secrets.token_hex(3)}", program=program)
        try:
            trace.wait_for("Compiled", "True", timeout=HANDOVER + 15)
            return time.monotonic() - started
        finally:
            trace.delete()


@pytest.fixture(scope="module")
def replicas(cluster: ControlPlane, system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(cluster, system, tmp_path_factory.mktemp("replicas")) as both:
        yield both


def test_a_killed_leader_is_replaced_within_fifteen_seconds(replicas: Replicas) -> None:
    first = replicas.leader()
    replicas.served(time.monotonic())
    transitions = replicas.lease()["leaseTransitions"]
    replicas.processes[first].server.kill()
    killed = time.monotonic()
    assert replicas.served(killed) < HANDOVER
    assert replicas.leader(other_than=first) != first
    assert replicas.lease()["leaseTransitions"] == transitions + 1
    replicas.processes[first].server.start()


def test_a_leader_that_ends_hands_the_lease_back(replicas: Replicas) -> None:
    first = replicas.leader()
    replicas.processes[first].server.stop()
    # Nobody had to wait until it expired.
    assert replicas.lease()["holderIdentity"] != first
    assert replicas.leader(other_than=first) != first
    replicas.processes[first].server.start()


def test_a_leader_that_stood_still_does_not_write_any_more(replicas: Replicas) -> None:
    """A replica that is stopped for longer than its lease finds another leader when it goes on, and follows it."""
    first = replicas.leader()
    replicas.processes[first].server.signal(signal.SIGSTOP)
    try:
        second = replicas.leader(other_than=first)
    finally:
        replicas.processes[first].server.signal(signal.SIGCONT)
    eventually(lambda: f"{first}: lost the lease" in replicas.processes[first].server.log.read_text(), what="its stepping down")
    replicas.served(time.monotonic())
    assert replicas.lease()["holderIdentity"] == second


def test_an_outage_of_the_api_server_ends_with_one_leader(cluster: ControlPlane, replicas: Replicas) -> None:
    with cluster.outage():
        time.sleep(9)
    back = time.monotonic()
    assert replicas.served(back) < HANDOVER + 5
    assert all(process.server.running for process in replicas.processes.values())
