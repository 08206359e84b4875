"""PodDirectory on real cgroups: directories made on the cgroup v2 mount, a process that tells its id, inotify."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubebpf.agent.pods.cgroups import CgroupId, cgroup_id, find_mount
from kubebpf.agent.pods.directory import KEEP_SECONDS, PodDirectory, walk
from kubebpf.agent.pods.pod import Pod, PodRef
from kubebpf.agent.pods.watcher import CgroupWatcher


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Tree:
    """A kubelet's part of the real cgroup tree, below a directory of its own."""

    def __init__(self) -> None:
        self.root = find_mount().mount_point / f"kubebpf-test-{uuid.uuid4().hex[:8]}"
        self.root.mkdir()

    def make(self, path: str) -> tuple[Path, CgroupId]:
        directory = self.root / path
        directory.mkdir(parents=True)
        return directory, cgroup_id(directory)

    def remove(self, directory: Path | None = None) -> None:
        for found in reversed(list(walk(directory or self.root))):
            found.rmdir()


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.remove()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tree: Tree, clock: Clock) -> PodDirectory:
    return PodDirectory(find_mount(tree.root), clock)


def pod_object(uid: str, containers: dict[str, str] | None = None, **meta: Any) -> dict[str, Any]:
    statuses = [{"name": name, "containerID": f"containerd://{id}"} for id, name in (containers or {}).items()]
    return {
        "metadata": {"namespace": "shop", "name": "api-0", "uid": uid, "labels": {"app": "api"}} | meta,
        "status": {"containerStatuses": statuses},
    }


def hex_id(seed: str) -> str:
    return (seed * 64)[:64]


def uid() -> str:
    return str(uuid.uuid4())


def sliced(pod: str) -> str:
    return f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod.replace('-', '_')}.slice"


def test_the_id_is_the_one_that_the_kernel_gives_a_process(tree: Tree) -> None:
    # /proc/self/cgroup names the cgroup of a process that was moved there; its directory's inode is the id.
    made, id = tree.make("kubepods/x")
    child = os.fork()
    if child == 0:
        (made / "cgroup.procs").write_text(str(os.getpid()))
        ours = next(line[3:].strip() for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
        os._exit(0 if find_mount().mount_point.joinpath(ours[1:]).stat().st_ino == id else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_pod_container_and_nested(tree: Tree, directory: PodDirectory) -> None:
    pod, api = uid(), hex_id("a1")
    pod_dir, pod_id = tree.make(sliced(pod))
    _, container = tree.make(f"{sliced(pod)}/cri-containerd-{api}.scope")
    _, nested = tree.make(f"{sliced(pod)}/cri-containerd-{api}.scope/user/deeper")
    _, pause = tree.make(f"{sliced(pod)}/cri-containerd-{hex_id('b2')}.scope")
    _, other = tree.make("system.slice/ssh.service")
    directory.put(Pod.from_object(pod_object(pod, {api: "api"})))
    directory.rescan()
    assert directory.pod_of(container) == directory.pod_of(nested) == PodRef("shop", "api-0", pod, "api")
    assert directory.pod_of(pod_id) == directory.pod_of(pause) == PodRef("shop", "api-0", pod, "")
    assert directory.pod_of(other) is None
    assert directory.path_of(pod_id) == "/" + str(pod_dir.relative_to(find_mount().mount_point))
    assert (directory.path_of(other) or "").endswith("/system.slice/ssh.service")


def test_init_and_ephemeral_containers_and_the_one_before_a_restart() -> None:
    obj = pod_object(uid(), {"a" * 64: "api"})
    obj["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"containerID": f"cri-o://{'b' * 64}"}}
    obj["status"]["initContainerStatuses"] = [{"name": "setup", "containerID": f"docker://{'c' * 64}"}]
    obj["status"]["ephemeralContainerStatuses"] = [{"name": "debug", "containerID": f"containerd://{'d' * 64}"}]
    obj["status"]["containerStatuses"].append({"name": "waiting", "containerID": ""})
    assert Pod.from_object(obj).containers == {"a" * 64: "api", "b" * 64: "api", "c" * 64: "setup", "d" * 64: "debug"}


def test_a_pod_from_the_api_server_without_status_labels_and_annotations() -> None:
    pod = Pod.from_object({"metadata": {"namespace": "n", "name": "p", "uid": "u", "labels": None, "annotations": None}})
    assert (pod.labels, pod.containers, pod.cgroup_uid) == ({}, {}, "u")


def test_the_mirror_of_a_static_pod(tree: Tree, directory: PodDirectory) -> None:
    digest = uuid.uuid4().hex
    _, id = tree.make(f"kubepods/burstable/pod{digest}/{hex_id('a1')}")
    annotations = {"kubernetes.io/config.hash": digest, "kubernetes.io/config.mirror": digest}
    own = pod_object(
        uid(), {hex_id("a1"): "etcd"}, name="etcd-a", annotations=annotations, creationTimestamp="2026-01-01T00:00:00Z"
    )
    liar = pod_object(uid(), name="liar", namespace="evil", annotations=annotations, creationTimestamp="2026-02-01T00:00:00Z")
    # A mirror that was made again after the liar's is still the one whose containers the kubelet tells.
    again = pod_object(uid(), name="older-liar", annotations=annotations, creationTimestamp="2025-01-01T00:00:00Z")
    for obj in (liar, again, own):
        directory.put(Pod.from_object(obj))
    directory.rescan()
    assert directory.pod_of(id) == PodRef("shop", "etcd-a", own["metadata"]["uid"], "etcd")
    assert [(pod.name, len(cgroups)) for pod, cgroups in directory.pods()] == [("etcd-a", 2)]


def test_no_annotation_claims_the_cgroups_of_an_ordinary_pod(tree: Tree, directory: PodDirectory) -> None:
    victim = uid()
    _, id = tree.make(f"kubepods/pod{victim}/{hex_id('a1')}")
    for claim in (victim, victim.upper(), f"{victim}\n"):
        annotations = {"kubernetes.io/config.hash": claim, "kubernetes.io/config.mirror": claim}
        directory.put(Pod.from_object(pod_object(uid(), namespace="evil", annotations=annotations)))
    directory.rescan()
    assert directory.pod_of(id) is None
    assert all(not cgroups for _, cgroups in directory.pods())


def test_known_for_a_while_after_pod_and_cgroup_are_gone(tree: Tree, directory: PodDirectory, clock: Clock) -> None:
    pod, api = uid(), hex_id("a1")
    made, id = tree.make(f"kubepods/pod{pod}/{api}")
    directory.put(Pod.from_object(pod_object(pod, {api: "api"})))
    directory.rescan()
    known = PodRef("shop", "api-0", pod, "api")
    assert directory.pod_of(id) == known
    tree.remove(made.parent)
    directory.remove(pod)
    directory.rescan()
    assert directory.pods() == []
    clock.now += KEEP_SECONDS - 1
    directory.prune()
    assert directory.pod_of(id) == known
    clock.now += 2
    directory.prune()
    assert directory.pod_of(id) is None


def test_a_relist_removes_what_it_does_not_name(directory: PodDirectory) -> None:
    first, second = Pod.from_object(pod_object(uid())), Pod.from_object(pod_object(uid()))
    directory.replace_pods([first])
    directory.replace_pods([second])
    assert [pod.uid for pod, _ in directory.pods()] == [second.uid]
    directory.replace_pods([first])
    assert [pod.uid for pod, _ in directory.pods()] == [first.uid]


def test_the_container_of_two_restarts_ago_keeps_its_name(tree: Tree, directory: PodDirectory) -> None:
    pod = uid()
    _, id = tree.make(f"kubepods/pod{pod}/{hex_id('a1')}")
    directory.put(Pod.from_object(pod_object(pod, {hex_id("a1"): "api"})))
    directory.put(Pod.from_object(pod_object(pod, {hex_id("b2"): "api"})))
    assert directory.pod_of(id) == PodRef("shop", "api-0", pod, "api")


def test_an_unknown_id_makes_a_rescan_once_a_second_and_never_again(tree: Tree, directory: PodDirectory, clock: Clock) -> None:
    pod = uid()
    directory.put(Pod.from_object(pod_object(pod)))
    directory.rescan()
    _, id = tree.make(f"kubepods/pod{pod}")
    assert directory.pod_of(id) is None
    clock.now += 1
    assert directory.pod_of(id) == PodRef("shop", "api-0", pod, "")


def test_levels_come_from_the_layout_and_not_from_the_pods_that_are_there(tree: Tree, directory: PodDirectory) -> None:
    assert directory.levels() == (2, 4)
    tree.make(sliced(uid()))
    directory.rescan()
    # The tree's own directory is one level; kubepods.slice is at 2, pods at 3 and 4.
    assert directory.levels() == (3, 4)


def test_one_cgroup_name_made_again_is_another_cgroup(tree: Tree, directory: PodDirectory) -> None:
    pod = uid()
    made, old = tree.make(f"kubepods/pod{pod}")
    directory.put(Pod.from_object(pod_object(pod)))
    directory.rescan()
    made.rmdir()
    made.mkdir()
    directory.rescan()
    ((_, cgroups),) = directory.pods()
    assert [cgroup.id for cgroup in cgroups] == [cgroup_id(made)] != [old]
    assert directory.pod_of(old) == directory.pod_of(cgroup_id(made))


@pytest.fixture
def changes() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watched(tree: Tree, changes: threading.Event) -> Iterator[PodDirectory]:
    directory = PodDirectory(find_mount(tree.root))
    watcher = CgroupWatcher(directory, changes.set, rescan_seconds=60.0)
    watcher.start()
    yield directory
    watcher.close()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "not in time"
        time.sleep(0.001)
    return time.monotonic() - start


def test_a_new_container_is_seen_at_once(tree: Tree, watched: PodDirectory, changes: threading.Event) -> None:
    pod = uid()
    watched.put(Pod.from_object(pod_object(pod)))
    # The whole chain at once: each directory is made before the watch on its parent can be there.
    _, id = tree.make(f"{sliced(pod)}/cri-containerd-{hex_id('a1')}.scope/nested")

    def seen() -> bool:
        return any(cgroup.id == id for _, cgroups in watched.pods() for cgroup in cgroups)

    assert until(seen) < 1.0
    assert changes.wait(5)


def test_a_removed_container_leaves_the_scope_at_once(tree: Tree, watched: PodDirectory) -> None:
    pod = uid()
    watched.put(Pod.from_object(pod_object(pod)))
    made, id = tree.make(f"kubepods/pod{pod}/{hex_id('a1')}")
    until(lambda: any(len(cgroups) == 2 for _, cgroups in watched.pods()))
    made.rmdir()
    until(lambda: any(len(cgroups) == 1 for _, cgroups in watched.pods()))
    assert watched.pod_of(id) == PodRef("shop", "api-0", pod, "")


def test_two_hundred_pods_made_and_removed_in_a_hurry(tree: Tree, watched: PodDirectory) -> None:
    pods = [uid() for _ in range(200)]
    watched.replace_pods(Pod.from_object(pod_object(pod)) for pod in pods)
    for pod in pods:
        tree.make(f"kubepods/burstable/pod{pod}/{hex_id('a1')}")
    until(lambda: [len(cgroups) for _, cgroups in watched.pods()] == [2] * 200)
    tree.remove(tree.root / "kubepods")
    until(lambda: [len(cgroups) for _, cgroups in watched.pods()] == [0] * 200)
