"""Where a kubelet puts its pods in the cgroup tree, and what a cgroup's path tells.

kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b…_9f.slice/cri-containerd-77aa….scope/init
-> Placement(pod_uid="0a1b…-9f", container_id="77aa…", pod_level=3, depth=5)

Source of the layouts: Kubernetes, pkg/kubelet/cm: cgroup_manager_linux.go (names of both drivers), pod_container_manager_linux.go
(`pod<uid>`), qos_container_manager_linux.go (guaranteed pods lie directly under the root). The runtimes add `cri-containerd-`,
`crio-` and `docker-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

CgroupId = NewType("CgroupId", int)

_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
# `kubepods`, `kubepods.slice`; with the kubelet's --cgroup-root=/kubelet the systemd driver says `kubelet-kubepods.slice`.
_TOP = re.compile(r"kubepods|(?:[^/]+-)?kubepods\.slice")
_QOS = re.compile(r"burstable|besteffort|(?:[^/]+-)?kubepods-(?:burstable|besteffort)\.slice")
_POD = re.compile(rf"pod({_UID})|(?:[^/]+-)?kubepods(?:-burstable|-besteffort)?-pod({_UID})\.slice")
# CRI-O runs its monitor beside the container, in `crio-conmon-<id>`: of the pod, not of a container.
_CONTAINER = re.compile(r"(?:(?!.*conmon)[a-z][a-z-]*-)?([0-9a-f]{12,64})(?:\.scope)?")


class NoCgroupMountError(Exception):
    """This machine has no cgroup v2 mount that could be found."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What a path tells of its cgroup.

    Args:
        pod_uid: as the API server writes it (with dashes), or 32 hexadecimal digits for a static pod.
        container_id: without the runtime's prefix; "" for the pod's own cgroup and for what lies there beside containers.
        pod_level: the depth of the pod's cgroup; the root has 0, as bpf_get_current_ancestor_cgroup_id counts.
        depth: of this cgroup.
    """

    pod_uid: str
    container_id: str
    pod_level: int
    depth: int

    @property
    def is_pod(self) -> bool:
        """Whether this is the pod's own cgroup."""
        return self.depth == self.pod_level

    @property
    def is_container(self) -> bool:
        """Whether this is a container's own cgroup, not one nested in it."""
        return bool(self.container_id) and self.depth == self.pod_level + 1


def parse(path: str) -> Placement | None:
    """Take a cgroup's path apart.

    The outermost `kubepods` counts: a container that may make cgroups cannot pass for another pod with directories of its own.

    Args:
        path: from the root of the cgroup v2 hierarchy, with or without a slash before it.

    Returns:
        None for what is no pod's.
    """
    parts = [part for part in path.split("/") if part]
    top = next((i for i, part in enumerate(parts) if _TOP.fullmatch(part)), None)
    if top is None:
        return None
    pod = top + 2 if top + 1 < len(parts) and _QOS.fullmatch(parts[top + 1]) else top + 1
    match = _POD.fullmatch(parts[pod]) if pod < len(parts) else None
    if match is None:
        return None
    container = _CONTAINER.fullmatch(parts[pod + 1]) if pod + 1 < len(parts) else None
    uid = (match[1] or match[2]).replace("_", "-")
    return Placement(uid, container[1] if container else "", pod + 1, len(parts))


def top_level(path: str) -> int | None:
    """The depth of a `kubepods` directory; None when `path` is not one."""
    parts = [part for part in path.split("/") if part]
    tops = [i for i, part in enumerate(parts) if _TOP.fullmatch(part)]
    return len(parts) if tops == [len(parts) - 1] else None


def cgroup_id(directory: Path) -> CgroupId:
    """The id that BPF sees: on 64-bit kernels the inode number of the cgroup's directory (kernel commit 743210386c03).

    Raises:
        FileNotFoundError: the cgroup is gone.
    """
    return CgroupId(directory.stat().st_ino)


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """A mount of the cgroup v2 hierarchy, and the directory below it from where pods are looked for.

    Args:
        mount_point: where the root of the hierarchy is mounted.
        start: the mount point itself or a directory in it.
    """

    mount_point: Path
    start: Path

    def path_of(self, directory: Path) -> str:
        """The cgroup's path as /proc/PID/cgroup spells it: from the root, with a slash before it."""
        return "/" + "/".join(directory.relative_to(self.mount_point).parts)


def find_mount(cgroup_root: Path | None = None, mountinfo: Iterable[str] | None = None) -> CgroupMount:
    """Find the cgroup v2 hierarchy.

    Args:
        cgroup_root: the mount point or a directory in it, where --cgroup-root names one.
        mountinfo: the lines of /proc/self/mountinfo (man 5 proc_pid_mountinfo), which is read when None.

    Raises:
        NoCgroupMountError: there is none, or `cgroup_root` is in none.
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines() if mountinfo is None else mountinfo
    mounts = list(_cgroup2_mounts(lines))
    if cgroup_root is None:
        # A later mount covers an earlier one, and the shortest path is the host's own.
        if not mounts:
            raise NoCgroupMountError("no cgroup v2 mount in /proc/self/mountinfo: pods cannot be told apart on this node")
        best = min(mounts, key=lambda point: len(point.parts))
        return CgroupMount(best, best)
    holders = [point for point in mounts if cgroup_root.is_relative_to(point)]
    if not holders:
        raise NoCgroupMountError(f"--cgroup-root {cgroup_root} is in no cgroup v2 mount")
    return CgroupMount(max(holders, key=lambda point: len(point.parts)), cgroup_root)


def _cgroup2_mounts(lines: Iterable[str]) -> Iterator[Path]:
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after.startswith("cgroup2 ") and len(fields) > 4:
            yield Path(_unescape(fields[4]))


def _unescape(field: str) -> str:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field)
