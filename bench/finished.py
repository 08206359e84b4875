#!/usr/bin/env python3
"""What traces cost that have ended: the operator with a thousand of them, an agent that has run two hundred.

    python bench/finished.py [--traces 1000] [--agent 200]

The operator's traces have reports of three nodes each, written as agents write them; the agent's have really run (as root).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from cluster import cpu_seconds, maps, mib
from kubebpf.agent.cluster.report import State, report_status, size
from kubebpf.agent.cluster.trace import format_time
from support.agents import AgentProcess, Agents
from support.binaries import REPOSITORY
from support.chart import System, install
from support.controlplane import ControlPlane
from support.operators import OperatorProcess, TestTrace
from support.pods import Pods
from support.processes import eventually

NODES = ("bench-a", "bench-b", "bench-c")
_QUIET_S = 30.0

Rows = list[tuple[str, str]]


def operator_with(cluster: ControlPlane, system: System, count: int) -> Rows:
    """The operator's figures: with `count` traces that have ended, and after a start of it."""
    for name in NODES:
        cluster.api("POST", "/api/v1/nodes", _node(name, "simulated"))
    namespace = cluster.namespace("bench-finished")
    rows: Rows = []
    with OperatorProcess(system.operator, system.namespace, cluster.folder / "operator.log", 15.0) as operator:
        _wait_until_quiet(lambda: _pid(operator))
        empty = mib(_pid(operator))
        with ThreadPoolExecutor(8) as pool:
            traces = list(pool.map(lambda number: _ended(cluster, namespace, number), range(count)))
        eventually(lambda: all(_is_over(trace) for trace in traces), timeout=600, every=2)
        rows.append(("the operator's memory without traces", f"{empty:.0f} MiB"))
        rows += _quiet("the operator", lambda: _pid(operator))
        operator.server.stop()
        before = time.monotonic()
        operator.server.start()
        _wait_until_quiet(lambda: _pid(operator))
        rows.append(
            ("a start of it: processor time", f"{cpu_seconds(_pid(operator)):.1f} s in {time.monotonic() - before:.0f} s")
        )
        rows += _quiet("the operator, started again", lambda: _pid(operator))
    return rows


def agent_with(cluster: ControlPlane, system: System, count: int) -> Rows:
    """The agent's figures: before and after it has run `count` traces to their end; it knows the others of the cluster, too."""
    namespace = cluster.namespace("bench-run")
    with (
        OperatorProcess(system.operator, system.namespace, cluster.folder / "operator-run.log", 15.0),
        Pods(cluster) as pods,
        Agents(cluster, system.agent) as agents,
    ):
        agent = agents.start(pods.node("bench-real", {"bench": "real"}))
        eventually(lambda: "started" in agent.tail())
        time.sleep(5)
        rows: Rows = [("the agent's memory before", f"{agent.resident_mib():.0f} MiB")]
        for half in (range(count // 2), range(count // 2, count)):
            traces = [_run(cluster, namespace, number) for number in half]
            eventually(lambda traces=traces: all(_is_over(trace) for trace in traces), timeout=600, every=2)  # type: ignore[misc]
            rows += _quiet(f"the agent, {half.stop} traces later", lambda: _pid_of(agent))
        return [*rows, ("the agent's highest memory", f"{agent.peak_mib():.0f} MiB")]


def _ended(cluster: ControlPlane, namespace: str, number: int) -> TestTrace:
    trace = TestTrace(cluster, f"t{number:04}", namespace, target={"nodeSelector": {"bench": "simulated"}})
    trace.wait_for("Compiled", "True", timeout=300)
    for node in NODES:
        state = State(1, "", node, "Completed", started_at=datetime.now(UTC), maps=maps(False))
        status = report_status(state, 20, 50) | {"observedAt": format_time(datetime.now(UTC))}
        trace.report(node, **{name: value for name, value in status.items() if name not in ("generation", "digest")})
    return trace


def _run(cluster: ControlPlane, namespace: str, number: int) -> TestTrace:
    # With maps that fill a report.
    program = 'begin { for $i : 0..150 { @n["a longer key", $i] = count(); @h[$i] = hist($i * $i); } } interval:s:1 { exit(); }'
    target = {"nodeSelector": {"bench": "real"}}
    return TestTrace(cluster, f"r{number:04}", namespace, program=program, target=target, report={"top": 200})


def _is_over(trace: TestTrace) -> bool:
    return trace.condition("Succeeded").get("status") == "True"


def _quiet(whose: str, pid: Callable[[], int]) -> Rows:
    _wait_until_quiet(pid)
    before, began = cpu_seconds(pid()), time.monotonic()
    time.sleep(_QUIET_S)
    share = (cpu_seconds(pid()) - before) / (time.monotonic() - began)
    return [(f"{whose}: memory", f"{mib(pid()):.0f} MiB"), (f"{whose}: idle", f"{100 * share:.1f} % of a core")]


def _wait_until_quiet(pid: Callable[[], int]) -> None:
    """Until the process takes less than two percent of a core for ten seconds; on a busy machine it may just not get its turn."""

    def quiet() -> bool:
        before = cpu_seconds(pid())
        time.sleep(10)
        return cpu_seconds(pid()) - before < 0.2

    eventually(quiet, timeout=300)


def _pid(operator: OperatorProcess) -> int:
    return operator.server.pid


def _pid_of(agent: AgentProcess) -> int:
    return agent.pid


def _node(name: str, kind: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"bench": kind}}}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--traces", type=int, default=1000)
    options.add_argument("--agent", type=int, default=200)
    asked = options.parse_args()
    with ControlPlane(crds=[REPOSITORY / "crds"]) as cluster:
        system = install(cluster)
        print(f"{asked.traces} and {asked.agent} ended traces; a report of the former has {_report_bytes()} bytes")
        if asked.traces:
            _print(operator_with(cluster, system, asked.traces))
        if asked.agent:
            _print(agent_with(cluster, system, asked.agent))


def _print(rows: Rows) -> None:
    for what, value in rows:
        print(f"| {what} | {value} |")
    print(f"load average {os.getloadavg()[0]:.1f}", flush=True)


def _report_bytes() -> int:
    return size(report_status(State(1, "", "n", "Completed", maps=maps(False)), 20, 50))


if __name__ == "__main__":
    main()
