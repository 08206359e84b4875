"""The resolver of the local mode, against this machine's own files."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest

from kubebpf.agent.output.node import NodeResolver
from kubebpf.agent.pods.cgroups import NoCgroupMountError, find_mount
from kubebpf.compiler.artifact.manifest import Manifest
from kubebpf.compiler.artifact.values import Cgroup


@pytest.fixture
def resolver() -> NodeResolver:
    return NodeResolver(Manifest("stdin", (), strings=("", "%H:%M")))


def test_users(resolver: NodeResolver) -> None:
    assert resolver.username(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert resolver.username(4294967294) == ""


def test_kernel_symbols(resolver: NodeResolver) -> None:
    rows = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    address = next((int(row[0], 16) for row in rows if row[2] == "vfs_read" and row[1] == "T"), 0)
    if not address:
        pytest.skip("kernel addresses are hidden from this user")
    assert resolver.ksym(address) == "vfs_read"
    assert resolver.ksym(address + 5) == "vfs_read"
    assert resolver.stack("kstack", "bpftrace", [address + 5], 0, 0) == "\n        vfs_read+5\n"
    assert resolver.stack("ustack", "bpftrace", [4660], 0, 0) == "\n        0x1234\n"
    assert resolver.ksym(0xFFFF) == "0xffff"
    assert resolver.ksym(0) == "0"


def test_cgroup_paths(resolver: NodeResolver) -> None:
    try:
        mount = find_mount()
    except NoCgroupMountError as error:
        pytest.skip(str(error))
    root = mount.mount_point.stat().st_ino
    assert resolver.cgroup_path(root, "") == Cgroup(root, path="/", as_path=True)
    assert resolver.cgroup_path(root, "unif*") == Cgroup(root, path="/", as_path=True)
    assert resolver.cgroup_path(root, "memory") == Cgroup(root, as_path=True)
    assert resolver.cgroup_path(2**40, "") == Cgroup(2**40, as_path=True)


def test_clocks(resolver: NodeResolver) -> None:
    for mode, clock in (("boot", time.CLOCK_BOOTTIME), ("monotonic", time.CLOCK_MONOTONIC)):
        before = int(time.time())
        shown = int(resolver.timestamp(time.clock_gettime_ns(clock), "%s", mode))
        assert before <= shown <= int(time.time())
