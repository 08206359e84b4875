"""Puts the pod beside every cgroup id, and remembers it: the answer stays right after the pod is gone.

identities = Identities(directory, "node-a")
identities.cgroup(4242)   -> Cgroup(4242, "node-a", "/kubepods…", Pod("shop", "api-0", "…", "api"))
identities.rows()         -> what is remembered, for `recall` of a later process
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import PodDirectory
from kubebpf.compiler.artifact.values import Cgroup, Pod

# Far more than the keys of all maps of a trace; a program that prints for months meets more cgroups than that.
LIMIT = 20_000
# Of those that a later process is told: the keys of a report are fewer.
TOLD = 4096


class Identities:
    """What the ids of one session stand for. The kernel gives no id twice, so what was true once stays true.

    Args:
        directory: of this node.
        node: its name.
    """

    def __init__(self, directory: PodDirectory, node: str) -> None:
        self._directory, self._node = directory, node
        self._known: dict[int, Cgroup] = {}
        self.version = 0  # changes when a pod was learnt

    def cgroup(self, id: int) -> Cgroup:
        """What is known of a cgroup v2 id."""
        known = self._known.get(id) or Cgroup(id, self._node)
        if known.pod is None or not known.pod.container:
            # The API server may tell a container's name a moment after its first event.
            before, known = known, replace(known, path=self._path(id) or known.path, pod=self._pod(id) or known.pod)
            self._remember(id, known)
            self.version += known.pod != before.pod
        return known

    def _remember(self, id: int, known: Cgroup) -> None:
        if id not in self._known and len(self._known) >= LIMIT:
            # Dictionaries keep the order of insertion: the oldest goes.
            del self._known[next(iter(self._known))]
        self._known[id] = known

    def rows(self) -> list[tuple[int, str, str, str, str, str]]:
        """The newest cgroups of pods: id, path, and the pod's namespace, name, uid and container."""
        with_pod = ((known, known.pod) for known in reversed(self._known.values()) if known.pod)
        return [(c.id, c.path, p.namespace, p.name, p.uid, p.container) for c, p in islice(with_pod, TOLD)]

    def recall(self, rows: Iterable[Sequence[Any]]) -> None:
        """Remember what an earlier process knew.

        Raises:
            ValueError, TypeError: these are no rows.
        """
        for id, path, namespace, name, uid, container in reversed(list(rows)):  # the newest come first
            self._remember(int(id), Cgroup(int(id), self._node, str(path), Pod(namespace, name, uid, container)))

    def pod(self, id: int) -> Pod | None:
        """The pod of a cgroup; None for what is no pod's."""
        return self.cgroup(id).pod

    def owner(self, kind: str, id: int) -> str:
        """The name of the pod, namespace, container or node (`kind`) of a cgroup; "" for what is no pod's."""
        if kind == "node":
            return self._node
        pod = self.pod(id)
        names = {"pod": pod.name, "namespace": pod.namespace, "container": pod.container} if pod else {}
        return names.get(kind, "")

    def _path(self, id: int) -> str | None:
        return self._directory.path_of(CgroupId(id))

    def _pod(self, id: int) -> Pod | None:
        pod = self._directory.pod_of(CgroupId(id))
        return Pod(pod.namespace, pod.name, pod.uid, pod.container) if pod else None
