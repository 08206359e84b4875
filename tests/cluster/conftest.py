"""One control plane for all cluster tests of a session, with the CRDs of crds/; pods and namespaces of each test's own."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agents import GROUP, Agents
from support.binaries import REPOSITORY, MissingBinaryError, find_binaries, find_helm
from support.chart import System, install
from support.controlplane import ControlPlane
from support.machine import lacks_cluster
from support.operators import OperatorProcess
from support.pods import Pods
from support.world import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the control plane."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("cluster")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test: it takes minutes, and is seen only while pytest captures nothing."""
    here = Path(__file__).parent
    if session.config.option.collectonly or lacks_cluster() or not any(here in item.path.parents for item in session.items):
        return
    with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            find_binaries()
            find_helm()
        except (MissingBinaryError, subprocess.CalledProcessError) as error:
            pytest.exit(str(error), returncode=2)


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    """The control plane; a test that stops its API server must start it again (`with cluster.outage()`)."""
    with ControlPlane(crds=[REPOSITORY / "crds"]) as plane:
        yield plane


@pytest.fixture(scope="session")
def system(cluster: ControlPlane) -> System:
    """The chart, installed: kubeconfigs of the operator's and the agents' ServiceAccounts."""
    return install(cluster)


@pytest.fixture
def pods(cluster: ControlPlane) -> Iterator[Pods]:
    """Pods, nodes and cgroups that are gone after the test."""
    with Pods(cluster) as made:
        yield made


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A new namespace, deleted afterwards (its deletion is not waited for)."""
    name = cluster.namespace(f"test-{secrets.token_hex(4)}")
    yield name
    cluster.api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def operator(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator as a process, with the chart's rights; writes results every second."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(system.operator, system.namespace, log, 1.0) as process:
        yield process
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def world(cluster: ControlPlane, system: System, pods: Pods, namespace: str, operator: OperatorProcess) -> Iterator[World]:
    """Two nodes with agents, their pods, and the operator."""
    with Agents(cluster, system.agent) as agents:
        operator.server.start()
        yield World(cluster, pods, agents, namespace, operator)
        # The next test's agents must not find them: the deletion of their namespaces takes its time.
        for trace in cluster.get("bpftraces"):
            cluster.api("DELETE", f"{GROUP}/namespaces/{trace['metadata']['namespace']}/bpftraces/{trace['metadata']['name']}")
