"""What Prometheus sees of a trace: the node's own counts, exactly, with the pods' names."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from support.chart import System
from support.controlplane import ControlPlane, KubectlError
from support.operators import OperatorProcess, TestTrace
from support.processes import eventually
from support.world import World

pytestmark = [pytest.mark.kernel, pytest.mark.cluster]

PROGRAM = "tracepoint:syscalls:sys_enter_getppid { @calls[cgroup, comm] = count(); @sizes = lhist(5, 0, 10, 10); }"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def scrape(port: int, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a name by the labels that are asked for."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(parse(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}


# First: it has the lease for itself, as long as no other test has started an operator.
def test_the_operator_counts_what_it_does(cluster: ControlPlane, system: System, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "operator.log"
    with OperatorProcess(system.operator, system.namespace, log, 1.0, "metrics", "--metrics", f"127.0.0.1:{port}"):
        eventually(lambda: "metrics are served" in log.read_text(), timeout=40)
        eventually(lambda: scrape(port, "kubebpf_operator_leads") == {(): 1.0}, timeout=40)
        trace = TestTrace(cluster, f"seen-{port}", program="begin { @ = count(); } // metrics")
        try:
            eventually(lambda: trace.status().get("artifact"), timeout=30)
            assert scrape(port, "kubebpf_operator_compilations_total", "outcome")["Compiled",] >= 1
            assert scrape(port, "kubebpf_operator_status_writes_total")[()] >= 1
        finally:
            cluster.api("DELETE", trace.path)


def test_an_agent_shows_the_maps_that_a_trace_exports(world: World) -> None:
    port = free_port()
    world.agents[0].stop()
    world.agents[0] = world.agents_started.start(world.a, more=["--metrics", f"127.0.0.1:{port}"])
    metrics = [{"map": "@calls", "name": "calls", "labels": ["client"]}, {"map": "@sizes", "name": "sizes"}]
    trace = world.trace("shown", PROGRAM, metrics=metrics)
    trace.condition("Ready", "True")
    world.calls(10, 20, proxy=5)

    # Of this node alone; nodes are added up by whoever asks for them.
    here = {(world.namespace, "shown", world.a): 15.0}
    eventually(lambda: scrape(port, "kubebpf_sizes_count", "trace_namespace", "trace", "node") == here, timeout=20)
    assert scrape(port, "kubebpf_sizes_bucket", "le") == {("-1",): 0, ("9",): 15, ("+Inf",): 15}
    calls = scrape(port, "kubebpf_calls_total", "client_namespace", "client_pod", "client_container", "node")
    pod = (world.namespace, world.pod_a.name)
    assert calls == {(*pod, "app", world.a): 10, (*pod, "proxy", world.a): 5}
    trace.delete()
    eventually(lambda: not scrape(port, "kubebpf_sizes_count"), timeout=20)


def test_a_map_that_the_program_does_not_have_is_a_mistake(world: World) -> None:
    trace = world.trace("misspelt", PROGRAM, metrics=[{"map": "@call", "name": "calls"}])
    row = trace.condition("Compiled", "False")
    assert row["reason"] == "InvalidSpec"
    assert row["message"] == "spec.metrics[0].map: the program has no map @call; it has @calls, @sizes"
    with pytest.raises(KubectlError, match=r"spec\.metrics"):
        trace.apply(PROGRAM, metrics=[{"map": "@calls", "name": "not a name"}])
