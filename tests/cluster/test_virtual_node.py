"""A cluster of two real kernels: an agent on this machine, and one in the virtual machine, whose node joins over the network.

What only the guest's kernel has is compiled for it from its own types, and what both have in different forms for each.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from kubebpf.compiler.kernel.btf import Btf
from support.agents import GROUP, Agents
from support.binaries import REPOSITORY
from support.chart import System
from support.controlplane import ApiError, ControlPlane
from support.guest import COMM
from support.operators import OperatorProcess
from support.pods import Pods
from support.processes import Server, eventually
from support.workload import Workload
from support.world import Trace, scalar

pytestmark = [pytest.mark.kernel, pytest.mark.vm, pytest.mark.timeout(600)]

GETPPID = f'tracepoint:syscalls:sys_enter_getppid /comm == "{COMM}"/'
VM = Path(os.environ.get("KUBEBPF_VM", Path.home() / ".cache/kubebpf/vm"))
# Members of task_struct, of which a kernel has the first one that it has: 6.12 and 6.18 differ in them.
GUESTS, HOSTS = ("rethooks", "kretprobe_instances", "ret_stack", "patch_state"), ("blocked_on", "throttled", "unwind_info")


class Guest:
    """The virtual machine with an agent, and the connection over which it takes orders."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path, node: str, log: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        # The guest sees the whole file system of this machine but what lies in other mounts.
        words: list[str | Path] = ["-m", "support.guest", node, kubeconfig, str(cluster.port), str(port)]
        words.append(VM / "kernel/usr/lib/modules")
        passed = {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{REPOSITORY / 'tests'}"}
        settings = {"VM_PASS": " ".join(passed), "VM_TIMEOUT": "550", "VM_NETWORK": "1"}
        self.server = Server([REPOSITORY / "hack/vm.sh", "run", sys.executable, *words], log, os.environ | passed | settings)

    def __enter__(self) -> Self:
        self.server.start()
        self.listener.settimeout(180)
        try:
            self.connection, _ = self.listener.accept()
        except TimeoutError:
            raise AssertionError(self.server.tail(100)) from None
        self.lines = self.connection.makefile("rw")
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.listener.close()
        print(self.server.tail(60))
        self.server.stop(30)

    def calls(self, count: int) -> None:
        """Made, and their process ended."""
        print(f"calls {count}", file=self.lines, flush=True)
        assert self.lines.readline() == "done\n"


def known(cluster: ControlPlane, node: str) -> tuple[str, str]:
    """Release and digest."""
    try:
        status = cluster.api("GET", f"{GROUP}/bpfnodes/{node}")["status"]
        return status["kernelRelease"], status["btf"]["digest"]
    except (ApiError, KeyError):
        raise AssertionError(node) from None


def of_this_kernel(*names: str) -> list[str]:
    struct = Btf.read(Path("/sys/kernel/btf/vmlinux")).struct("task_struct")
    assert struct
    found = {field.name for field in struct.fields}
    return [name for name in names if name in found]


def test_two_real_kernels(cluster: ControlPlane, system: System, pods: Pods, operator: OperatorProcess, tmp_path: Path) -> None:
    here, there = pods.node("real-host", {"fleet": "real"}), pods.node("real-guest", {"fleet": "real"})
    target = {"nodeSelector": {"fleet": "real"}}

    def calls(guest: Guest, ours: int, theirs: int) -> None:
        Workload.start("--comm", COMM, "--getppid", ours).go()
        guest.calls(theirs)

    with Agents(cluster, system.agent) as agents, Guest(cluster, system.agent, there, tmp_path / "guest.log") as guest:
        agents.start(here)
        kernels = {node: eventually(lambda node=node: known(cluster, node), timeout=90) for node in (here, there)}  # type: ignore[misc]
        print(kernels)
        assert kernels[here] != kernels[there]
        theirs, ours = next(name for name in GUESTS if not of_this_kernel(name)), of_this_kernel(*HOSTS)[0]
        programs = {
            "new": f"{GETPPID} {{ @ = count(); @x = curtask.{ours} }}",
            "old": f"{GETPPID} {{ @ = count(); @x = sizeof(curtask.{theirs}) }}",
            "both": f"{GETPPID} {{ @[(uint64)MEMCG_NR_STAT] = count(); }}",
        }
        with ExitStack() as stack:
            made = {name: Trace(cluster, "", f"real-{name}", text, target=target) for name, text in programs.items()}
            for trace in made.values():
                stack.callback(trace.delete)
            new, old, both = made.values()
            for trace in (new, old):
                trace.condition("Ready", "True", timeout=120)
            both.condition("Attached", "True", timeout=120)
            assert [row["btf"] for row in old.status()["variants"]] == [kernels[there][1]] and "artifact" not in old.status()
            assert "artifact" in new.status()
            calls(guest, 10, 20)
            new.results(lambda maps: scalar(maps, "@") == 10)
            old.results(lambda maps: scalar(maps, "@") == 20)
            maps = both.results(lambda maps: sum(int(row["count"]) for row in maps["@"]["entries"]) == 30)
            # The constant has another value in each kernel, and each object the right one.
            assert sorted(int(row["count"]) for row in maps["@"]["entries"]) == [10, 20]
            print(both.status()["results"]["text"], both.condition("Compiled", "True")["message"])
