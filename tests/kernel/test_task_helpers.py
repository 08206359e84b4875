"""Helpers about tasks: each against what /proc says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kubebpf.agent.session.errors import FactError
from kubebpf.agent.session.facts import cgroup_id
from kubebpf.compiler.artifact.values import Cgroup
from support.cgroups import cgroup2_mount
from support.programs import pair, result, run, running
from support.workload import Workload

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


def test_leader_comm_and_leader_tid() -> None:
    work = Workload.start("--getppid", 1, "--comm", "a leader")
    asked = "(leader_comm, leader_tid, leader_comm(curtask), leader_tid(curtask), ppid(curtask), pcomm(curtask))"
    with running(f"{GETPPID} /pid == {work.pid}/ {{ print({asked}); }}") as session:
        work.go()
    assert result(session).printed == [pair("a leader", work.pid, "a leader", work.pid, os.getpid(), "a leader")]


def test_comm_of_a_pid() -> None:
    """Of another process than the current one; of none, an empty name."""
    other = Workload.start("--getppid", 1, "--comm", "somebody else")
    work = Workload.start("--getppid", 1)
    with running(f"{GETPPID} /pid == {work.pid}/ {{ print((comm({other.pid}), comm(4194305), sizeof(comm(1)))); }}") as session:
        work.go()
    other.go()
    assert result(session).printed == [pair("somebody else", "", 64)]


def test_usermode() -> None:
    """A process that computes is found in user mode by nearly every tick; the tracer's own probes run in it."""
    end = time.monotonic() + 0.4
    with running(f"profile:hz:199 /pid == {os.getpid()}/ {{ @[usermode] = count(); }} begin {{ print(usermode); }}") as session:
        while time.monotonic() < end:
            sum(range(1000))
    ran = result(session)
    assert ran.printed == [1]
    assert 1 in ran.maps["@"]


def test_cgroupid() -> None:
    """Each node's own number of a path, comparable with `cgroup`."""
    root = cgroup2_mount()
    where = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    own = root / where.removeprefix("0::/").lstrip("/")
    work = Workload.start("--getppid", 1)
    with running(f'{GETPPID} /cgroup == cgroupid("{own}") && pid == {work.pid}/ {{ print(cgroupid("{own}")); }}') as session:
        work.go()
    assert result(session).printed == [Cgroup(cgroup_id(str(own)))]
    with pytest.raises(FactError, match="/no/such/cgroup"):
        run('begin { print(cgroupid("/no/such/cgroup")); }')
