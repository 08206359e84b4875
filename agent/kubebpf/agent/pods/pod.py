"""A pod as the agent needs it: who it is, its labels, its containers.

pod = Pod.from_object(watch_event["object"])
pod.containers -> {"77aa…": "api"}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# https://kubernetes.io/docs/reference/labels-annotations-taints/ : what the kubelet writes on the mirror of a static pod.
_MIRROR = "kubernetes.io/config.mirror"
_HASH = "kubernetes.io/config.hash"
_STATIC_UID = re.compile(r"[0-9a-f]{32}")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


@dataclass(frozen=True, slots=True)
class PodRef:
    """What stands beside an event: its pod, and its container where one is known ("" for the pod's own processes)."""

    namespace: str
    name: str
    uid: str
    container: str = ""

    def as_json(self) -> dict[str, str]:
        """The form in reports."""
        named = {"namespace": self.namespace, "name": self.name, "uid": self.uid}
        return named | ({"container": self.container} if self.container else {})


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node.

    Args:
        cgroup_uid: the uid in the names of its cgroups: its own, or the hash of a static pod's manifest.
        containers: names by container id.
        created: RFC 3339, as the API server wrote it.
    """

    namespace: str
    name: str
    uid: str
    cgroup_uid: str
    labels: dict[str, str]
    containers: dict[str, str]
    created: str = ""

    @classmethod
    def from_object(cls, obj: dict[str, Any]) -> Pod:
        """From the API object's JSON."""
        meta = obj["metadata"]
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            cgroup_uid=_cgroup_uid(meta),
            labels=meta.get("labels") or {},
            containers=dict(_containers(obj.get("status") or {})),
            created=meta.get("creationTimestamp") or "",
        )

    def ref(self, container_id: str = "") -> PodRef:
        """The identity of an event in this container."""
        return PodRef(self.namespace, self.name, self.uid, self.containers.get(container_id, ""))


def _cgroup_uid(meta: dict[str, Any]) -> str:
    """A static pod's cgroups carry the hash of its manifest.

    Anybody who may create pods may write these annotations, so only the form that no API object's uid has (no dashes) is
    believed: a pod cannot claim the cgroups of an ordinary pod of another namespace.
    """
    annotations = meta.get("annotations") or {}
    claimed = annotations.get(_HASH, "")
    if _MIRROR in annotations and _STATIC_UID.fullmatch(claimed):
        return str(claimed)
    return str(meta["uid"])


def _containers(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for statuses in _STATUSES:
        for container in status.get(statuses) or ():
            # `containerd://<id>`; empty until the runtime has made it. The one before a restart still has events on their way.
            for url in (container.get("containerID"), _last_id(container)):
                if url:
                    yield url.rpartition("/")[2], container["name"]


def _last_id(container: dict[str, Any]) -> str:
    terminated = (container.get("lastState") or {}).get("terminated") or {}
    return str(terminated.get("containerID") or "")
