"""Every layout that a kubelet and its runtime may choose, as a table: a path and what it tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.agent.pods.cgroups import CgroupMount, NoCgroupMountError, Placement, find_mount, parse, top_level

UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SLICED = UID.replace("-", "_")
ID = "77aa" * 16
STATIC = "d41d8cd98f00b204e9800998ecf8427e"

PODS = {
    "systemd, burstable, containerd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICED}.slice/cri-containerd-{ID}.scope",
        Placement(UID, ID, 3, 4),
    ),
    "systemd, besteffort, CRI-O": (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICED}.slice/crio-{ID}.scope",
        Placement(UID, ID, 3, 4),
    ),
    "systemd, guaranteed, docker": (
        f"/kubepods.slice/kubepods-pod{SLICED}.slice/docker-{ID}.scope",
        Placement(UID, ID, 2, 3),
    ),
    "systemd, the pod itself": (f"/kubepods.slice/kubepods-pod{SLICED}.slice", Placement(UID, "", 2, 2)),
    "cgroupfs, burstable": (f"/kubepods/burstable/pod{UID}/{ID}", Placement(UID, ID, 3, 4)),
    "cgroupfs, besteffort": (f"/kubepods/besteffort/pod{UID}/{ID}", Placement(UID, ID, 3, 4)),
    "cgroupfs, guaranteed": (f"/kubepods/pod{UID}/{ID}", Placement(UID, ID, 2, 3)),
    "cgroupfs, CRI-O": (f"/kubepods/burstable/pod{UID}/crio-{ID}", Placement(UID, ID, 3, 4)),
    "no slash before it": (f"kubepods/pod{UID}/{ID}", Placement(UID, ID, 2, 3)),
    "nested in a container": (
        f"/kubepods/pod{UID}/{ID}/init.scope/deeper",
        Placement(UID, ID, 2, 5),
    ),
    "CRI-O with crun": (
        f"/kubepods.slice/kubepods-pod{SLICED}.slice/crio-{ID}.scope/container",
        Placement(UID, ID, 2, 4),
    ),
    "CRI-O's monitor": (
        f"/kubepods.slice/kubepods-pod{SLICED}.slice/crio-conmon-{ID}.scope",
        Placement(UID, "", 2, 3),
    ),
    "CRI-O's monitor, cgroupfs": (f"/kubepods/pod{UID}/crio-conmon-{ID}", Placement(UID, "", 2, 3)),
    "kind, systemd": (
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{SLICED}.slice"
        f"/cri-containerd-{ID}.scope",
        Placement(UID, ID, 4, 5),
    ),
    "kind, systemd, guaranteed": (
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SLICED}.slice/cri-containerd-{ID}.scope",
        Placement(UID, ID, 3, 4),
    ),
    "kind, cgroupfs": (f"/kubelet/kubepods/besteffort/pod{UID}/{ID}", Placement(UID, ID, 4, 5)),
    "kind's node seen from its host": (
        f"/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SLICED}.slice",
        Placement(UID, "", 5, 5),
    ),
    "static pod, systemd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{ID}.scope",
        Placement(STATIC, ID, 3, 4),
    ),
    "static pod, cgroupfs": (f"/kubepods/burstable/pod{STATIC}/{ID}", Placement(STATIC, ID, 3, 4)),
    # What a container makes below itself never names another pod.
    "a container that plays kubelet": (
        f"/kubepods/pod{UID}/{ID}/kubepods/pod{STATIC}/{ID[::-1]}",
        Placement(UID, ID, 2, 6),
    ),
}

NO_PODS = [
    "/",
    "",
    "/system.slice/kubelet.service",
    "/kubepods.slice",
    "/kubepods/burstable",
    "/kubepods.slice/kubepods-burstable.slice",
    f"/system.slice/pod{UID}/{ID}",
    f"/user.slice/kubepods-pod{SLICED}.slice",
    f"/kubepods/pod{UID[:-1]}",
    f"/kubepods/burstable/burstable/pod{UID}",
    f"/kubepods/xpod{UID}",
    # The outermost kubepods is no kubelet's, and what lies deeper is not believed.
    f"/kubepods/other/kubepods/pod{UID}/{ID}",
]


@pytest.mark.parametrize("name", PODS)
def test_pods(name: str) -> None:
    path, placement = PODS[name]
    assert parse(path) == placement


@pytest.mark.parametrize("path", NO_PODS)
def test_no_pods(path: str) -> None:
    assert parse(path) is None


def test_pod_and_container_levels() -> None:
    pod, container, nested = (parse(f"/kubepods/pod{UID}{rest}") for rest in ("", f"/{ID}", f"/{ID}/x"))
    assert pod and container and nested
    assert (pod.is_pod, pod.is_container) == (True, False)
    assert (container.is_pod, container.is_container) == (False, True)
    assert (nested.is_pod, nested.is_container) == (False, False)


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/kubepods.slice", 1),
        ("/kubelet.slice/kubelet-kubepods.slice", 2),
        ("/kubelet/kubepods", 2),
        ("/kubepods.slice/kubepods-burstable.slice", None),
        (f"/kubepods/pod{UID}/{ID}/kubepods", None),
        ("/", None),
    ],
)
def test_top_level(path: str, level: int | None) -> None:
    assert top_level(path) == level


UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
V1 = "33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu"
HOST = r"52 31 0:38 / /host/sys\040fs/cgroup rw,relatime shared:4 master:1 - cgroup2 cgroup rw"


def test_the_mount_with_the_shortest_path_is_the_hosts() -> None:
    assert find_mount(mountinfo=[V1, UNIFIED, HOST]).mount_point == Path("/host/sys fs/cgroup")
    assert find_mount(mountinfo=[V1, UNIFIED]).mount_point == Path("/sys/fs/cgroup/unified")


def test_a_given_root_keeps_levels_counted_from_the_hierarchys_root() -> None:
    mount = find_mount(Path("/sys/fs/cgroup/unified/kubelet.slice"), [V1, UNIFIED])
    assert mount == CgroupMount(Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/unified/kubelet.slice"))
    assert mount.path_of(mount.start / "kubelet-kubepods.slice") == "/kubelet.slice/kubelet-kubepods.slice"
    assert mount.path_of(mount.mount_point) == "/"


def test_without_cgroup_v2_the_reason_is_told() -> None:
    with pytest.raises(NoCgroupMountError, match="no cgroup v2 mount"):
        find_mount(mountinfo=[V1])
    with pytest.raises(NoCgroupMountError, match="--cgroup-root /tmp"):
        find_mount(Path("/tmp"), [UNIFIED])
