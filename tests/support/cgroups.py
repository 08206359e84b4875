"""Container cgroups as the kubelet and the container runtimes name them, on the machine's cgroup v2 mount.

systemd    kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid with _>.slice/cri-containerd-<id>.scope
cgroupfs   kubepods/burstable/pod<uid>/<id>
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

Qos = Literal["guaranteed", "burstable", "besteffort"]
Driver = Literal["systemd", "cgroupfs"]
Runtime = Literal["containerd", "cri-o", "docker"]

_SCOPE_PREFIX: dict[Runtime, str] = {"containerd": "cri-containerd-", "cri-o": "crio-", "docker": "docker-"}


@cache
def cgroup2_mount() -> Path:
    """The cgroup v2 mount: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside version 1."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    raise LookupError("no cgroup v2 mount in /proc/self/mountinfo")


def pod_path(uid: str, qos: Qos, driver: Driver) -> Path:
    """A pod's cgroup, relative to the mount."""
    if driver == "cgroupfs":
        return Path("kubepods", *([] if qos == "guaranteed" else [qos]), f"pod{uid}")
    # In systemd a dash separates levels, so the dashes of the uid are written as underscores.
    flat = uid.replace("-", "_")
    if qos == "guaranteed":
        return Path("kubepods.slice", f"kubepods-pod{flat}.slice")
    return Path("kubepods.slice", f"kubepods-{qos}.slice", f"kubepods-{qos}-pod{flat}.slice")


def container_name(container_id: str, driver: Driver, runtime: Runtime) -> str:
    """The last part of a container's cgroup path."""
    if driver == "systemd":
        return f"{_SCOPE_PREFIX[runtime]}{container_id}.scope"
    return f"crio-{container_id}" if runtime == "cri-o" else container_id


def make(path: Path) -> Path:
    """mkdir -p, safe against another test run that removes the shared parents at the same time."""
    for _ in range(50):
        with suppress(FileNotFoundError):
            path.mkdir(parents=True, exist_ok=True)
            return path
    raise FileNotFoundError(path)


def processes(cgroup: Path) -> list[int]:
    """The pids directly in a cgroup."""
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def empty_and_remove(top: Path) -> None:
    """Kill what is left in a cgroup that the tests made, remove it with everything below, and parents left empty.

    Only ever called for a pod's own cgroup: its uid is ours, so its processes are, too.
    """
    if not top.exists():
        return
    inside = [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    deadline = time.monotonic() + 10
    while sum(_kill_all(folder) for folder in inside) and time.monotonic() < deadline:
        time.sleep(0.01)
    for folder in inside:
        _remove(folder, deadline)
    mount = cgroup2_mount()
    for parent in top.parents:
        if parent == mount:
            break
        # Other pods may live there: a parent that is not empty stays.
        with suppress(OSError):
            parent.rmdir()


def _kill_all(cgroup: Path) -> int:
    pids = processes(cgroup)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _remove(cgroup: Path, deadline: float) -> None:
    # The kernel says EBUSY until the last killed process is gone altogether.
    while cgroup.exists():
        try:
            cgroup.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
