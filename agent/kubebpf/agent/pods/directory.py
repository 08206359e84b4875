"""Who a cgroup belongs to: the pods that the API server names, joined with the cgroups that the kernel has.

directory = PodDirectory(find_mount())
directory.rescan()                       # CgroupWatcher keeps it current from then on
directory.put(Pod.from_object(...))
directory.pod_of(CgroupId(4242))         -> PodRef("shop", "api-0", "…", "api")
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kubebpf.agent.pods.cgroups import CgroupId, CgroupMount, Placement, cgroup_id, parse, top_level
from kubebpf.agent.pods.pod import Pod, PodRef

# Reports of a large cluster are written minutes apart, and each reads names of what was counted since the one before.
KEEP_SECONDS = 600.0
# Between two rescans because of an unknown id.
RESCAN_SECONDS = 1.0
FOREIGN_LIMIT = 4096
# Before the first kubepods directory is seen. Kubelets make pods at level 2 or 3, or one or two deeper with a --cgroup-root.
UNKNOWN_LEVELS = (2, 4)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup of this node; `placement` is None for what is no pod's."""

    id: CgroupId
    path: str
    placement: Placement | None


class PodDirectory:
    """Knows the pods and cgroups of this node. Every method may be called from any thread.

    Args:
        mount: the cgroup v2 hierarchy.
        clock: seconds, monotonic.
    """

    def __init__(self, mount: CgroupMount, clock: Callable[[], float] = time.monotonic) -> None:
        self.mount = mount
        self._clock = clock
        self._lock = threading.RLock()
        self._pods: dict[str, Pod] = {}
        self._cgroups: dict[CgroupId, Cgroup] = {}
        self._by_path: dict[str, CgroupId] = {}
        self._tops: set[int] = set()
        self._gone_pods: dict[str, float] = {}
        self._gone_cgroups: dict[CgroupId, float] = {}
        self._foreign: set[CgroupId] = set()
        self._next_rescan = 0.0
        self._version = 0

    @property
    def version(self) -> int:
        """Another number whenever `pods()` may answer differently: a cheap look for whoever keeps a scope."""
        return self._version

    # -- pods, from the watch

    def put(self, pod: Pod) -> None:
        """A pod is new or has changed."""
        with self._lock:
            old = self._pods.get(pod.uid)
            if old is not None:
                # A container that was restarted twice is in no status any longer; its last events still arrive.
                pod = replace(pod, containers=old.containers | pod.containers)
            returned = self._gone_pods.pop(pod.uid, None) is not None
            if returned or pod != old:
                self._pods[pod.uid] = pod
                self._version += 1

    def remove(self, uid: str) -> None:
        """A pod is gone from the API server; it stays known for a while."""
        with self._lock:
            if uid in self._pods and uid not in self._gone_pods:
                self._gone_pods[uid] = self._clock()
                self._version += 1

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        """The whole list, after a list request: what is not in it is gone."""
        listed = {pod.uid: pod for pod in pods}
        with self._lock:
            for uid in self._pods.keys() - listed.keys():
                self.remove(uid)
            for pod in listed.values():
                self.put(pod)

    # -- cgroups, from the kernel

    def rescan(self, visit: Callable[[Path], None] = lambda directory: None) -> None:
        """Read the whole tree.

        Args:
            visit: called with every directory before it is read.
        """
        with self._lock:
            self._next_rescan = self._clock() + RESCAN_SECONDS
            seen: set[str | None] = set()
            for directory in walk(self.mount.start):
                visit(directory)
                seen.add(self.appeared(directory))
            for path in self._by_path.keys() - seen:
                self.gone(path)

    def appeared(self, directory: Path) -> str | None:
        """A directory of the cgroup tree exists.

        Returns:
            its path from the root of the hierarchy; None when it is gone already.
        """
        path = self.mount.path_of(directory)
        with self._lock:
            try:
                id = cgroup_id(directory)
            except OSError:
                return None
            if self._by_path.get(path) != id:
                self.gone(path)
                self._note(Cgroup(id, path, parse(path)))
            return path

    def gone(self, path: str) -> None:
        """A cgroup's directory is gone; its id stays known for a while.

        Args:
            path: from the root of the hierarchy, as `CgroupMount.path_of` gives it.
        """
        with self._lock:
            id = self._by_path.pop(path, None)
            if id is not None:
                self._gone_cgroups[id] = self._clock()
                self._version += self._cgroups[id].placement is not None

    def _note(self, cgroup: Cgroup) -> None:
        self._cgroups[cgroup.id] = cgroup
        self._by_path[cgroup.path] = cgroup.id
        self._version += cgroup.placement is not None
        level = top_level(cgroup.path)
        if level is not None:
            self._tops.add(level)

    # -- questions

    def pod_of(self, id: CgroupId) -> PodRef | None:
        """The pod and container of a cgroup; of cgroups nested in a container, that container.

        Returns:
            None for what is no pod's, or no known pod's.
        """
        with self._lock:
            cgroup = self._find(id)
            if cgroup is None or cgroup.placement is None:
                return None
            pod = self._pod(cgroup.placement.pod_uid)
            return pod.ref(cgroup.placement.container_id) if pod else None

    def path_of(self, id: CgroupId) -> str | None:
        """The path of a cgroup, from the root of the hierarchy; None when it is unknown."""
        with self._lock:
            cgroup = self._find(id)
            return cgroup.path if cgroup else None

    def pods(self) -> list[tuple[Pod, list[Cgroup]]]:
        """The pods that the API server names now, each with its cgroups that exist now, sorted by uid."""
        with self._lock:
            cgroups: dict[str, list[Cgroup]] = {}
            for id in self._by_path.values():
                cgroup = self._cgroups[id]
                if cgroup.placement is not None:
                    cgroups.setdefault(cgroup.placement.pod_uid, []).append(cgroup)
            living = (pod for uid, pod in sorted(self._pods.items()) if uid not in self._gone_pods)
            return [(pod, cgroups.get(pod.cgroup_uid, [])) for pod in living if self._pod(pod.cgroup_uid) is pod]

    def levels(self) -> tuple[int, int]:
        """The least and the greatest depth of a pod's cgroup on this node.

        From the `kubepods` directories and not from the pods: the first guaranteed pod of a node lies higher than the burstable
        ones before it.
        """
        with self._lock:
            return (min(self._tops) + 1, max(self._tops) + 2) if self._tops else UNKNOWN_LEVELS

    def prune(self) -> None:
        """Forget what has been gone for longer than that."""
        with self._lock:
            before = self._clock() - KEEP_SECONDS
            for id in [id for id, since in self._gone_cgroups.items() if since < before]:
                del self._gone_cgroups[id], self._cgroups[id]
            for uid in [uid for uid, since in self._gone_pods.items() if since < before]:
                del self._gone_pods[uid], self._pods[uid]

    def _find(self, id: CgroupId) -> Cgroup | None:
        cgroup = self._cgroups.get(id)
        # An event can be faster than inotify.
        if cgroup is None and id not in self._foreign and self._clock() >= self._next_rescan:
            self.rescan()
            cgroup = self._cgroups.get(id)
            if cgroup is None:
                self._note_foreign(id)
        return cgroup

    def _note_foreign(self, id: CgroupId) -> None:
        # Ids outside the part of the tree that is seen here would cost a rescan at each question. The kernel gives no id twice.
        if len(self._foreign) >= FOREIGN_LIMIT:
            self._foreign.clear()
        self._foreign.add(id)

    def _pod(self, cgroup_uid: str) -> Pod | None:
        pod = self._pods.get(cgroup_uid)
        if pod is not None:
            return pod
        # Two mirrors with one hash: the kubelet tells containers only of its own, which was there first. A liar's has none.
        owners = [pod for pod in self._pods.values() if pod.cgroup_uid == cgroup_uid]
        return min(owners, key=lambda pod: (pod.uid in self._gone_pods, not pod.containers, pod.created, pod.uid), default=None)


def walk(start: Path) -> Iterator[Path]:
    """A directory and all below it, parents first; each is given before it is read, so that it can be watched before."""
    stack = [start]
    while stack:
        directory = stack.pop()
        yield directory
        # What disappears meanwhile has no children.
        with suppress(OSError), os.scandir(directory) as entries:
            stack += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
