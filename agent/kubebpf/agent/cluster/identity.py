"""Puts the pod beside every cgroup id of a report, and remembers it: the answer stays right after the pod is gone.

identities = Identities(directory, "node-a")
identities.named({"cgroup": "4242"})
-> {"cgroup": "4242", "node": "node-a", "path": "/kubepods…", "pod": {"namespace": "shop", "name": "api-0", …}}
"""

from __future__ import annotations

from typing import Any

from kubebpf.agent.cluster.trace import Object
from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import PodDirectory


class Identities:
    """What the ids of one session stand for. The kernel gives no id twice, so what was true once stays true.

    Args:
        directory: of this node.
        node: its name.
    """

    def __init__(self, directory: PodDirectory, node: str) -> None:
        self._directory, self._node = directory, node
        self._known: dict[int, Object] = {}

    def pod(self, id: int) -> Object | None:
        """The pod of a cgroup as JSON; None for what is no pod's."""
        pod: Object | None = self._look(id).get("pod")
        return pod

    def named(self, value: Any) -> Any:
        """A value in JSON form, with every cgroup id in it named."""
        if isinstance(value, list):
            return [self.named(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "cgroup" in value:
            return value | {"node": self._node} | self._look(int(value["cgroup"]))
        return {name: self.named(member) for name, member in value.items()}

    def named_map(self, m: Object) -> Object:
        """A map of a report with its keys and last values named."""
        return m | {"entries": [self._entry(entry) for entry in m["entries"]]}

    def _entry(self, entry: Object) -> Object:
        named = {name: self.named(entry[name]) for name in ("key", "value") if name in entry}
        return entry | named

    def _look(self, id: int) -> Object:
        known = self._known.get(id)
        if known is None or "container" not in known.get("pod", {}):
            # The API server may tell a container's name a moment after its first event.
            known = (known or {}) | self._ask(id)
            self._known[id] = known
        return known

    def _ask(self, id: int) -> Object:
        path, pod = self._directory.path_of(CgroupId(id)), self._directory.pod_of(CgroupId(id))
        return ({"path": path} if path else {}) | ({"pod": pod.as_json()} if pod else {})
