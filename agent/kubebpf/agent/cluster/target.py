"""Which pods of this node a trace's target means, and by which cgroups the kernel knows them.

    PodTarget("shop", pods=Selector(...)).choose(directory.pods(), None)   -> Chosen(cgroups={4242, 4243}, containers=[...])

What cannot be evaluated selects nothing, and the reason says so: a trace must never count more than it was asked to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubebpf.agent.cluster.selector import Selector
from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import Cgroup
from kubebpf.agent.pods.pod import Pod

NodePods = Iterable[tuple[Pod, list[Cgroup]]]
Namespaces = Mapping[str, Mapping[str, str]]  # labels by name

NO_PODS, INVALID, NAMESPACES_UNKNOWN = "NoMatchingPods", "SelectorInvalid", "NamespacesUnknown"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answer of one moment.

    Args:
        cgroups: ids that a scoped program looks for: of its process's own cgroup, then of that one's ancestors.
        containers: the cgroups of the chosen containers.
        names: of those that the API server has told.
        reason, message: why nothing is chosen, for the report; "" when something is.
    """

    cgroups: frozenset[CgroupId] = frozenset()
    containers: tuple[Cgroup, ...] = ()
    names: Mapping[CgroupId, str] = field(default_factory=dict)
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodTarget:
    """The part of a target that selects pods.

    Args:
        namespace: the only one; None for every namespace that `namespaces` matches.
        namespaces: by the labels of namespaces.
        pods: by the labels of pods.
        containers: names; empty for all of a pod.
    """

    namespace: str | None
    namespaces: Selector = field(default_factory=Selector)
    pods: Selector = field(default_factory=Selector)
    containers: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        """Whether no process of a node is left out: then a program needs no scope."""
        return self.namespace is None and self.namespaces.everything and self.pods.everything and not self.containers

    @property
    def asks_namespaces(self) -> bool:
        """Whether the labels of namespaces have to be known."""
        return self.namespace is None and not self.namespaces.everything

    def choose(self, pods: NodePods, namespaces: Namespaces | None) -> Chosen:
        """What is selected now.

        Without container names a pod's own cgroup is enough for all that is below it, also for what starts later; its
        containers are there as well, so that most events are decided by the first look.

        Args:
            pods: of this node.
            namespaces: None when nobody knows them.
        """
        if problem := self.namespaces.problem:
            return Chosen(reason=INVALID, message=f"namespaceSelector: {problem}; nothing is counted")
        if problem := self.pods.problem:
            return Chosen(reason=INVALID, message=f"podSelector: {problem}; nothing is counted")
        if self.asks_namespaces and namespaces is None:
            return Chosen(reason=NAMESPACES_UNKNOWN, message="the labels of namespaces are not known; nothing is counted")
        meant = [(pod, cgroups) for pod, cgroups in pods if self._means(pod, namespaces)]
        found = [(pod, cgroup) for pod, cgroups in meant for cgroup in cgroups if self._takes(pod, cgroup)]
        if not found:
            return Chosen(reason=NO_PODS, message="no pod of this node matches the target")
        inner = [(pod, cgroup, cgroup.placement) for pod, cgroup in found if cgroup.placement and cgroup.placement.is_container]
        names = {cgroup.id: name for pod, cgroup, at in inner if (name := pod.containers.get(at.container_id))}
        return Chosen(frozenset(cgroup.id for _, cgroup in found), tuple(cgroup for _, cgroup, _ in inner), names)

    def _means(self, pod: Pod, namespaces: Namespaces | None) -> bool:
        if self.namespace not in (None, pod.namespace) or not self.pods.matches(pod.labels):
            return False
        if not self.asks_namespaces:
            return True
        labels = (namespaces or {}).get(pod.namespace)
        return labels is not None and self.namespaces.matches(labels)

    def _takes(self, pod: Pod, cgroup: Cgroup) -> bool:
        placement = cgroup.placement
        if placement is None:
            return False
        if not self.containers:
            return placement.is_pod or placement.is_container
        return placement.is_container and pod.containers.get(placement.container_id) in self.containers
