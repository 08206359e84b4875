"""One agent with many traces beside as many bpftrace processes: time to attach, memory, and what they cost while nothing happens.

    BPFTRACE=/opt/bpftrace python bench/agent.py [--traces 50]

The agent is the real one, on a real etcd and kube-apiserver; programs are compiled before, as the operator does once a cluster.
Memory is the proportional share (PSS) of all processes of a side, so that shared libraries count once; maps are the kernel's.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import UnableError, require_rights
from support.agents import AgentProcess, Agents, delete, publish, report_of
from support.binaries import REPOSITORY
from support.chart import install
from support.controlplane import ControlPlane
from support.pods import Pods
from support.processes import eventually
from support.programs import compiled
from tools import Tool

NODE = "bench"
_IDLE_S = 20.0
# Of five kinds; each trace has its own text, so that no object is shared.
_KINDS = (
    "tracepoint:syscalls:sys_enter_getppid {{ @n{0} = count(); }}",
    "tracepoint:syscalls:sys_enter_getpgid {{ @by{0}[pid, comm] = count(); }}",
    "tracepoint:syscalls:sys_enter_getsid {{ @h{0}[comm] = hist(nsecs & 1023); }}",
    'tracepoint:syscalls:sys_enter_getpriority {{ printf("{0} %d %s\\n", pid, comm); }}',
    "rawtracepoint:sched_process_exit {{ @e{0} = sum(pid); }}",
)


def programs(count: int) -> list[str]:
    """Program texts."""
    return [_KINDS[i % len(_KINDS)].format(i) for i in range(count)]


def ours(texts: list[str]) -> Side:
    """The agent's figures."""
    objects = [compiled(text, header="context").elf for text in texts]
    with ControlPlane(crds=[REPOSITORY / "crds"]) as cluster, Pods(cluster) as pods:
        system = install(cluster)
        pods.node(NODE, {})
        with Agents(cluster, system.agent) as agents:
            agent = agents.start(NODE)
            eventually(lambda: "started" in agent.tail())
            return _with_traces(cluster, agent, objects)


def _with_traces(cluster: ControlPlane, agent: AgentProcess, objects: list[bytes]) -> Side:
    time.sleep(2)
    empty = pss_mib([agent.pid])
    with Peak(lambda: [agent.pid]) as peak:
        started = time.monotonic()
        traces = [publish(cluster, "", f"t-{i}", elf, kind="ClusterBpfTrace") for i, elf in enumerate(objects)]
        published = time.monotonic() - started
        for trace in traces:
            eventually(lambda trace=trace: (report_of(cluster, trace, NODE) or {}).get("phase") == "Attached", timeout=120)  # type: ignore[misc]
        attached = time.monotonic() - started
        time.sleep(2)
    memory, maps = pss_mib([agent.pid]), _maps_mib(agent.pid)
    resident = agent.peak_mib()
    time.sleep(10)  # the first looks for numbers are over
    cpu = idle_percent([agent.pid])
    each = {int(n): (float(load), float(attach)) for n, load, attach in _TOOK.findall(agent.log.read_text())}
    agent.kill()
    started = time.monotonic()
    agent.start()
    eventually(lambda: agent.log.read_text().count("took up") == len(objects), timeout=120)
    again = time.monotonic() - started
    for trace in traces:
        delete(cluster, trace)
    figures = {
        "all attached, s": attached, "of that, publishing, s": published, "all taken up after kill -9, s": again,
        "peak memory, MiB": peak.mib, "memory, MiB": memory, "memory without traces, MiB": empty,
        "highest resident memory of each process, added, MiB": resident, "maps, MiB": maps, "idle, % of a core": cpu,
    }  # fmt: skip
    return Side(figures, [sum(each[i]) for i in range(len(objects))], [each[i] for i in range(len(objects))])


# "t-7: loaded in 12.3 ms, attached in 0.8 ms: 1 probes"
_TOOK = re.compile(r"t-(\d+): loaded in ([0-9.]+) ms, attached in ([0-9.]+) ms")


def theirs(peer: Tool, texts: list[str]) -> Side:
    """The figures of as many processes, started one after the other, as fifty people would."""
    each: list[float] = []
    with _processes() as running, Peak(lambda: [pid for process in list(running) for pid in family(process.pid)]) as peak:
        started = time.monotonic()
        for text in texts:
            began = time.monotonic()
            running.append(subprocess.Popen(peer.command("-e", text), stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
            out = running[-1].stdout
            assert out is not None
            if not out.readline().startswith(b"Attach"):
                raise UnableError(f"bpftrace does not attach {text}")
            each.append(1000 * (time.monotonic() - began))
        attached = time.monotonic() - started
        time.sleep(2)
        pids = [pid for process in running for pid in family(process.pid)]
        figures = {
            "all attached, s": attached,
            "memory, MiB": pss_mib(pids),
            "highest resident memory of each process, added, MiB": sum(
                _field(Path(f"/proc/{pid}/status"), "VmHWM") for pid in pids
            )
            / 1024,
            "maps, MiB": sum(map(_maps_mib, pids)),
            "idle, % of a core": idle_percent(pids),
        }
    return Side(figures | {"peak memory, MiB": peak.mib}, each)


@dataclass(frozen=True, slots=True)
class Side:
    """What was measured of one side.

    Args:
        figures: by their names.
        each: milliseconds until each trace was attached: of the agent loading and attaching, of bpftrace from its start.
        parts: of the agent, loading and attaching apart.
    """

    figures: dict[str, float]
    each: list[float]
    parts: list[tuple[float, float]] = field(default_factory=list)

    def rows(self) -> list[list[float]]:
        """For each kind of program: median, 95th percentile and highest of `each`; then of all."""
        groups = [self.each[kind :: len(_KINDS)] for kind in range(len(_KINDS))]
        return [_spread(times) for times in (*groups, self.each)]


def _spread(times: list[float]) -> list[float]:
    ranked = sorted(times)
    return [median(ranked), ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))], ranked[-1]]


class Peak:
    """The highest memory of some processes while a block runs, looked at ten times a second.

    Args:
        pids: of the processes there are now.
    """

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.mib = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with suppress(OSError, StopIteration):  # a process that has just ended or begun
                self.mib = max(self.mib, pss_mib(self._pids()))


@contextmanager
def _processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def family(pid: int) -> list[int]:
    """A process and what it has started."""
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [pid, *(found for child in children for found in family(child))]


def pss_mib(pids: list[int]) -> float:
    """Memory of processes; what they share with others is divided."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) / 1024


def _field(path: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{name}:"))


def _maps_mib(pid: int) -> float:
    found: dict[str, int] = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.partition(":")[::2] for line in path.read_text().splitlines())
        if "map_id" in fields:
            found[fields["map_id"]] = int(fields["memlock"])
    return sum(found.values()) / (1 << 20)


def idle_percent(pids: list[int]) -> float:
    """The share of one CPU that processes take while nothing happens."""
    before, began = _cpu_ticks(pids), time.monotonic()
    time.sleep(_IDLE_S)
    return (_cpu_ticks(pids) - before) / (time.monotonic() - began)  # 100 ticks a second: a tick a second is a percent


def _cpu_ticks(pids: list[int]) -> int:
    return sum(sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) for pid in pids)


def _print_table(count: int, sides: dict[str, Side]) -> None:
    print(f"| {count} traces | {' | '.join(sides)} |")
    print(f"| --- |{' ---: |' * len(sides)}")
    for name in sides["kubebpf"].figures:
        values = [f"{side.figures[name]:.1f}" if name in side.figures else "" for side in sides.values()]
        print(f"| {name} | {' | '.join(values)} |")


def _print_times(sides: dict[str, Side]) -> None:
    names = [kind.format("N").replace("|", "\\|") for kind in _KINDS] + ["all"]
    print(f"\n| attached after, ms: median / 95 % / highest | {' | '.join(sides)} |")
    print(f"| --- |{' ---: |' * len(sides)}")
    rows = [side.rows() for side in sides.values()]
    for number, name in enumerate(names):
        print(f"| `{name}` | {' | '.join(' / '.join(f'{value:.1f}' for value in side[number]) for side in rows)} |")
    load, attach = zip(*sides["kubebpf"].parts, strict=True)
    for part, times in (("loading", load), ("attaching", attach)):
        print(f"| of all, {part} | {' / '.join(f'{value:.1f}' for value in _spread(list(times)))} |{' |' * (len(sides) - 1)}")
    print("\neach trace of kubebpf, ms (loading + attaching):")
    print(", ".join(f"t-{number} {load:.1f}+{attach:.1f}" for number, (load, attach) in enumerate(sides["kubebpf"].parts)))


def main() -> int:
    """Print both sides."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--traces", type=int, default=50)
    count = arguments.parse_args().traces
    try:
        require_rights()
        figures = {"kubebpf": ours(programs(count))}
        if (peer := Tool.peer()) is not None:
            figures["bpftrace"] = theirs(peer, programs(count))
    except UnableError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"load average {os.getloadavg()[0]:.1f}")
    _print_table(count, figures)
    _print_times(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
