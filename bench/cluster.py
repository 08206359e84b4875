#!/usr/bin/env python3
"""What a cluster costs its API server and its operator: many simulated agents against a real API server, then real agents.

    python bench/cluster.py                        200 agents with 5 traces each for two minutes; 50 traces on three nodes
    python bench/cluster.py --nodes 40 --seconds 30 --apply 0
    python bench/cluster.py --full --apply 0       reports as large as they may be

A simulated agent is the real report, its real writer and its real pace; only the kernel is missing. Root for the second part.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import ssl
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kubebpf.agent.cluster.api import Api
from kubebpf.agent.cluster.part import JITTER
from kubebpf.agent.cluster.report import WRITES_PER_SECOND, State, interval_seconds, report_status, size
from kubebpf.agent.cluster.trace import TraceName, Uid, format_time
from kubebpf.agent.cluster.writer import ReportWriter, Target, Urgency
from kubebpf.compiler.artifact.cells import Average, Count, Histogram
from kubebpf.compiler.artifact.state import Entry, MapState
from support.agents import Agents
from support.binaries import REPOSITORY
from support.chart import System, install
from support.controlplane import ControlPlane
from support.operators import GROUP, OperatorProcess, TestTrace
from support.pods import Pods
from support.processes import eventually

KEYS = 100  # of the map that is cut to the twenty largest
INTERVAL = 10.0  # seconds; what a trace asks for by default


@dataclass
class Figures:
    """What one run has measured."""

    reports: int
    seconds: float
    first: float  # seconds from the first report to all nodes in all statuses
    report_bytes: int
    highest: float = 0.0  # writes of reports a second while the first ones came, over five seconds
    refused: float = 0.0  # answers 429 and 5xx
    writes: dict[str, float] = field(default_factory=dict)  # a second, by who and what
    operator_cpu: float = 0.0  # share of a core
    operator_mib: float = 0.0
    server_cpu: float = 0.0
    status_bytes: int = 0
    watched: float = 0.0  # bytes a second that one agent's watch of traces gets
    ages: list[float] = field(default_factory=list)  # of what the statuses say, seconds

    def rows(self) -> list[tuple[str, str]]:
        percent = [f"{100 * share:.1f} % of a core" for share in (self.operator_cpu, self.server_cpu)]
        high = quantiles(self.ages, n=20)[-1] if len(self.ages) > 1 else float("nan")
        return [
            ("reports (agents x traces)", str(self.reports)),
            ("bytes of a report", str(self.report_bytes)),
            ("from the first report until every node was in every status", f"{self.first:.1f} s"),
            ("writes of reports a second in that time, highest over 5 s", f"{self.highest:.0f}"),
            ("requests that the API server refused as too many", f"{self.refused:.0f}"),
            *((f"writes a second: {what}", f"{rate:.1f}") for what, rate in sorted(self.writes.items())),
            ("the operator's CPU, its memory", f"{percent[0]}, {self.operator_mib:.0f} MiB"),
            ("the API server's CPU", percent[1]),
            ("bytes of a trace with its status", str(self.status_bytes)),
            ("bytes a second that one agent's watch of traces receives", f"{self.watched:.0f}"),
            ("mean age of what a status says, median and 95th percentile", f"{median(self.ages):.1f} s, {high:.1f} s"),
        ]


class Listener:
    """A watch of traces as every agent has one; counts what it receives."""

    def __init__(self, api: Api, path: str) -> None:
        self._api, self._path = api, path
        self._version = api.request("GET", path)["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.received = 0
        self._thread.start()

    def _run(self) -> None:
        query = {"resourceVersion": self._version, "allowWatchBookmarks": "true"}
        for event in self._api.watch(self._path, query, 3600):
            self.received += size(event)


class Fleet:
    """Simulated agents: a writer and a pace for each, one thread that looks whose report is due."""

    def __init__(self, kubeconfig: Path, nodes: list[str], traces: list[TestTrace], full: bool) -> None:
        self._full = full
        self._writers = {node: ReportWriter(Api.connect(kubeconfig)) for node in nodes}
        self._traces = traces
        self._digests = [(t.read()["metadata"]["generation"], t.status()["artifact"]["digest"]) for t in traces]
        self._interval = interval_seconds(INTERVAL, [len(nodes)] * len(traces))
        self._due = {(node, number): 0.0 for node in nodes for number in range(len(traces))}
        self._begun: set[tuple[str, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.largest = 0

    def __enter__(self) -> Fleet:
        for writer in self._writers.values():
            writer.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for writer in self._writers.values():
            writer.close(0.1)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            now = time.monotonic()
            for key in [key for key, due in self._due.items() if due <= now]:
                self._due[key] = now + self._interval * random.uniform(1.0, 1.0 + JITTER)
                if key in self._begun and (held := self._writers[key[0]].held(self._target(*key))) > 0:
                    self._due[key] = now + held + random.uniform(0.0, self._interval)
                else:
                    self._report(*key)

    def _report(self, node: str, number: int) -> None:
        generation, digest = self._digests[number]
        state = State(generation, digest, node, "Attached", probes=1, started_at=datetime.now(UTC), maps=maps(self._full))
        status = report_status(state, 20, 50) | {"observedAt": format_time(datetime.now(UTC))}
        self.largest = max(self.largest, size(status))
        new = (node, number) not in self._begun
        self._begun.add((node, number))
        self._writers[node].put(self._target(node, number), status, Urgency(len(self._writers), urgent=new, new=new))

    def _target(self, node: str, number: int) -> Target:
        trace = self._traces[number]
        return Target(TraceName(trace.kind, trace.namespace, trace.name, Uid(trace.uid)), node, trace.namespace)


def maps(full: bool) -> list[MapState]:
    """Three maps of a usual trace; the average says when the report was made, so that the status says how old it is.

    Args:
        full: with so many histograms that the report must be cut.
    """
    keyed = tuple(Entry((f"process-{n:03}",), Count(random.randrange(1, 1 << 40))) for n in range(KEYS))
    slots = tuple((slot, random.randrange(1, 1 << 30)) for slot in range(5, 35))
    return [
        MapState("@", "count", entries=keyed),
        MapState("@at", "avg", entries=(Entry((), Average(int(time.time() * 1000), 1)),), scalar=True),
        MapState(
            "@us", "hist", params=(0,), entries=tuple(Entry((f"read{n}",), Histogram(slots)) for n in range(20 if full else 1))
        ),
    ]


def simulate(cluster: ControlPlane, system: System, nodes: int, traces: int, seconds: float, full: bool) -> Figures:
    """Simulated agents for some time; what it cost."""
    names = [f"bench-{number:04}" for number in range(nodes)]
    for name in names:
        meta = {"name": name, "labels": {"bench": "simulated"}}
        cluster.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    namespace = cluster.namespace("bench")
    # The default interval of a status: the operator as it is delivered.
    with OperatorProcess(system.operator, system.namespace, cluster.folder / "operator.log", 15.0) as operator:
        target = {"nodeSelector": {"bench": "simulated"}}
        made = [
            TestTrace(cluster, f"t{n}", namespace, target=target, program=f"begin {{ @a{n} = count(); }}") for n in range(traces)
        ]
        for trace in made:
            trace.wait_for("Compiled", "True", timeout=120)
        with Fleet(system.agent, names, made, full) as fleet:
            first, highest = _beginning(cluster, made, f"{nodes}/{nodes}")
            time.sleep(15)
            figures = Figures(nodes * traces, seconds, first, 0, highest, _refused(cluster))
            listener = Listener(Api.connect(system.agent), f"{GROUP}/bpftraces")
            _watch(cluster, operator, made, figures)
            figures.watched = listener.received / seconds
            figures.status_bytes = max(size(trace.read()) for trace in made)
            figures.report_bytes = fleet.largest
    return figures


def _beginning(cluster: ControlPlane, traces: list[TestTrace], all_nodes: str) -> tuple[float, float]:
    """Until all nodes are in all statuses: seconds, and the highest rate of writes of reports over five seconds."""
    began, waiting = time.monotonic(), list(traces)
    seen = [(began, _writes_of_reports(cluster))]
    highest = 0.0
    while waiting:
        if time.monotonic() - began > 600:
            raise TimeoutError(f"{len(waiting)} traces do not have all nodes")
        time.sleep(0.5)
        waiting = [trace for trace in waiting if trace.status().get("nodes", {}).get("summary") != all_nodes]
        seen.append((time.monotonic(), _writes_of_reports(cluster)))
        now, count = seen[-1]
        while now - seen[0][0] > 5 and len(seen) > 2:
            seen.pop(0)
        highest = max(highest, (count - seen[0][1]) / max(now - seen[0][0], 5.0))
    return time.monotonic() - began, highest


def _writes_of_reports(cluster: ControlPlane) -> float:
    return sum(count for what, count in _writes(cluster).items() if "bpftracereports" in what)


def _watch(cluster: ControlPlane, operator: OperatorProcess, traces: list[TestTrace], figures: Figures) -> None:
    writes, cpu, server = _writes(cluster), cpu_seconds(operator.server.pid), cpu_seconds(cluster.apiserver.pid)
    began = time.monotonic()
    while time.monotonic() - began < figures.seconds:
        for trace in traces:
            maps = {m["name"]: m for m in trace.status().get("results", {}).get("maps", [])}
            (cell,) = maps["@at"]["entries"]
            figures.ages.append(time.time() - int(cell["total"]) / int(cell["count"]) / 1000)
            figures.operator_mib = max(figures.operator_mib, mib(operator.server.pid))
        time.sleep(1)
    took = time.monotonic() - began
    after = _writes(cluster)
    figures.writes = {what: (after[what] - writes.get(what, 0)) / took for what in after if after[what] > writes.get(what, 0)}
    figures.operator_cpu = (cpu_seconds(operator.server.pid) - cpu) / took
    figures.server_cpu = (cpu_seconds(cluster.apiserver.pid) - server) / took


_COUNTED = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)


def _requests(cluster: ControlPlane) -> list[tuple[dict[str, str], float]]:
    """How often what was asked so far, from the API server's own metrics."""
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{cluster.url}/metrics", headers={"Authorization": "Bearer admin-token"})
    with urllib.request.urlopen(request, context=context) as answer:
        text = answer.read().decode()
    return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in _COUNTED.findall(text)]


def _writes(cluster: ControlPlane) -> dict[str, float]:
    """Writes of our kinds so far, by verb and resource."""
    found: dict[str, float] = {}
    for said, count in _requests(cluster):
        ours = said["resource"] in ("bpftraces", "bpftracereports", "events")
        if ours and said["verb"] in ("POST", "PUT", "PATCH", "DELETE") and said["code"] < "400":
            what = f"{said['verb']} {said['resource']}{'/' if said['subresource'] else ''}{said['subresource']}"
            found[what] = found.get(what, 0) + count
    return found


def _refused(cluster: ControlPlane) -> float:
    return sum(count for said, count in _requests(cluster) if said["code"] == "429" or said["code"] >= "500")


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def apply_to_ready(cluster: ControlPlane, system: System, count: int) -> list[float]:
    """Seconds from the request to Ready on three nodes with real agents, one trace after the other."""
    namespace = cluster.namespace("bench-apply")
    found = []
    with (
        OperatorProcess(system.operator, system.namespace, cluster.folder / "operator-apply.log", 15.0),
        Pods(cluster) as pods,
        Agents(cluster, system.agent) as agents,
    ):
        for letter in "abc":
            agents.start(pods.node(f"bench-{letter}", {"bench": "real"}))
        for number in range(count + 1):
            # Every program is another one, so that nothing is compiled already.
            program = f"tracepoint:syscalls:sys_enter_getppid {{ @a{number} = count(); }}"
            trace = TestTrace(cluster, f"t{number}", namespace, program=program, target={"nodeSelector": {"bench": "real"}})
            eventually(lambda t=trace: t.condition("Ready").get("status") == "True", timeout=60, every=0.01)
            found.append(time.monotonic() - trace.applied)
            trace.delete()
    return found[1:]  # the first one waits for the compiler to start


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nodes", type=int, default=200)
    options.add_argument("--traces", type=int, default=5)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--apply", type=int, default=50, help="traces applied to three nodes with real agents; 0: none")
    options.add_argument("--full", action="store_true", help="reports as large as they may be")
    asked = options.parse_args()
    with ControlPlane(crds=[REPOSITORY / "crds"]) as cluster:
        system = install(cluster)
        rows: list[tuple[str, Any]] = []
        if asked.nodes:
            rows += simulate(cluster, system, asked.nodes, asked.traces, asked.seconds, asked.full).rows()
        if asked.apply:
            times = sorted(apply_to_ready(cluster, system, asked.apply))
            high = times[int(0.95 * (len(times) - 1))]
            said = f"median {median(times):.2f} s, 95th percentile {high:.2f} s"
            rows.append((f"apply to Ready on three nodes, {len(times)} traces", said))
    print(f"budget: {WRITES_PER_SECOND:g} reports a second; load average {os.getloadavg()[0]:.1f}")
    for what, value in rows:
        print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
