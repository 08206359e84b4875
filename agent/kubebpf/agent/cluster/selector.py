"""Label selectors as Kubernetes has them, and the cgroups that a trace's target means.

Selector.from_object({"matchLabels": {"app": "api"}}).matches({"app": "api", "tier": "web"})   -> True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import Cgroup
from kubebpf.agent.pods.pod import Pod


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of matchExpressions; matchLabels are `In` with one value."""

    key: str
    operator: str
    values: frozenset[str]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. An operator of the future holds for nothing."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: all requirements must hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether it selects whatever there is."""
        return not self.requirements

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Selector:
        """From the JSON of a metav1.LabelSelector."""
        labels = [Requirement(key, "In", frozenset({value})) for key, value in (obj.get("matchLabels") or {}).items()]
        rest = [
            Requirement(e.get("key", ""), e.get("operator", ""), frozenset(e.get("values") or ()))
            for e in obj.get("matchExpressions") or ()
        ]
        return cls((*labels, *rest))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def scope(
    pods: Iterable[tuple[Pod, list[Cgroup]]], namespace: str | None, selector: Selector, containers: frozenset[str]
) -> set[CgroupId]:
    """The cgroup ids that a scoped program looks for: of its process's own cgroup, then of that one's ancestors.

    Without container names a pod's own cgroup is enough for all that is below it, also for what starts later; its containers
    are there as well, so that most events are decided by the first look.

    Args:
        pods: of this node.
        namespace: None for every namespace.
        containers: names; empty for all of a pod.
    """
    return {
        cgroup.id
        for pod, cgroups in pods
        if namespace in (None, pod.namespace) and selector.matches(pod.labels)
        for cgroup in cgroups
        if _in_scope(pod, cgroup, containers)
    }


def _in_scope(pod: Pod, cgroup: Cgroup, containers: frozenset[str]) -> bool:
    placement = cgroup.placement
    if placement is None:
        return False
    if not containers:
        return placement.is_pod or placement.is_container
    return placement.is_container and pod.containers.get(placement.container_id) in containers
