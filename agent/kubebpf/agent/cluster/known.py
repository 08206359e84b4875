"""What the watches have told: this node's labels, the traces, the reports that exist. Fed with changes, asked by the agent.

known = Known("node-a", directory)
known.take(Changed("bpftraces", {…}))   -> {"the trace's uid"}: whose part is to be looked at
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubebpf.agent.cluster.desired import Node
from kubebpf.agent.cluster.report import NODE_LABEL, Line, node_label
from kubebpf.agent.cluster.trace import GROUP_VERSION, Object, Trace, Uid
from kubebpf.agent.cluster.watch import Change, Changed, Listed, Removed, Resource
from kubebpf.agent.pods.directory import PodDirectory
from kubebpf.agent.pods.pod import Pod

log = logging.getLogger(__name__)

TRACES, CLUSTER_TRACES, REPORTS, PODS, NODES = "bpftraces", "clusterbpftraces", "bpftracereports", "pods", "nodes"
NAMESPACES = Resource("namespaces", "/api/v1/namespaces")  # watched only while a trace goes by their labels
KINDS = {TRACES: "BpfTrace", CLUSTER_TRACES: "ClusterBpfTrace"}


def resources(node: str) -> list[Resource]:
    """What an agent watches: of pods and reports only its own node's."""
    return [
        Resource(NODES, "/api/v1/nodes", {"fieldSelector": f"metadata.name={node}"}),
        Resource(PODS, "/api/v1/pods", {"fieldSelector": f"spec.nodeName={node}"}),
        Resource(REPORTS, f"/apis/{GROUP_VERSION}/bpftracereports", {"labelSelector": f"{NODE_LABEL}={node_label(node)}"}),
        Resource(TRACES, f"/apis/{GROUP_VERSION}/bpftraces"),
        Resource(CLUSTER_TRACES, f"/apis/{GROUP_VERSION}/clusterbpftraces"),
    ]


@dataclass(frozen=True, slots=True)
class Reported:
    """What this node's report of a trace says, as far as a later agent asks; the rest of it would fill the memory.

    Args:
        recent: its last lines, while it runs.
    """

    generation: object
    digest: object
    phase: object
    reason: object
    recent: tuple[Object, ...] = ()

    @classmethod
    def from_object(cls, report: Object) -> Reported:
        """From the API object's JSON, whatever it holds."""
        status = report.get("status") or {}
        recent = tuple(status.get("recent") or ()) if status.get("phase") == "Attached" else ()
        return cls(status.get("generation"), status.get("digest"), status.get("phase"), status.get("reason"), recent)


class Known:
    """The API server's state, as far as this node is concerned.

    Args:
        node: the node's name.
        directory: where pods are noted.
        btf: the digest of the node's type information; "" when it has none.

    `namespaces` are the labels of all namespaces, None while they are not followed or the first list has not come; a new mapping
    at every change, so that another thread may keep the one it was given.
    """

    def __init__(self, node: str, directory: PodDirectory, btf: str = "") -> None:
        self.node = Node(node)
        self._btf = btf
        self.traces: dict[Uid, Trace] = {}
        self._directory = directory
        self.namespaces: dict[str, dict[str, str]] | None = None
        self.namespaces_version = 0
        self._reports: dict[Uid, Reported] = {}
        self._missing = {resource.name for resource in resources(node)}
        self._takers: dict[str, Callable[[Change], set[Uid]]] = {
            NODES: self._take_node,
            PODS: self._take_pod,
            REPORTS: self._take_report,
            TRACES: self._take_trace,
            CLUSTER_TRACES: self._take_trace,
            NAMESPACES.name: self._take_namespace,
        }

    @property
    def complete(self) -> bool:
        """Whether every list has come once. Before, a missing object means nothing."""
        return not self._missing

    def report(self, uid: Uid) -> Reported | None:
        """This node's report of a trace as it stands in the API server; None when there is none."""
        return self._reports.get(uid)

    def recent(self, uid: Uid) -> list[Line]:
        """The last lines of this node's report; those that cannot be read are left out."""
        found = self.report(uid)
        return [line for said in (found.recent if found else ()) if (line := Line.from_json(said)) is not None]

    def reports_of_cluster(self) -> list[int]:
        """For every trace that runs, on how many nodes: what the reports' budget is shared by."""
        return [trace.desired_nodes for trace in self.traces.values() if not trace.finished and not trace.suspend]

    @property
    def asks_namespaces(self) -> bool:
        """Whether a trace that may run goes by the labels of namespaces."""
        return any(trace.pod_target.asks_namespaces for trace in self.traces.values() if not trace.finished and not trace.suspend)

    def forget_namespaces(self) -> None:
        """Nobody follows them any longer: what was known would grow old."""
        self.namespaces = None
        self.namespaces_version += 1

    def take(self, change: Change) -> set[Uid]:
        """Note a change.

        Returns:
            the uids of the traces that it may concern.
        """
        concerned = self._takers[change.resource](change)
        if isinstance(change, Listed) and change.resource in self._missing:
            self._missing.remove(change.resource)
            if self.complete:
                return set(self.traces)
        return concerned

    def _take_node(self, change: Change) -> set[Uid]:
        before = self.node.labels
        match change:
            case Listed(objects=[node]) | Changed(object=node):
                meta = node["metadata"]
                self.node = Node(self.node.name, meta.get("labels") or {}, meta.get("uid", ""))
            case _:
                self.node = Node(self.node.name, {})
        return set(self.traces) if self.node.labels != before else set()

    def _take_pod(self, change: Change) -> set[Uid]:
        match change:
            case Listed(objects=objects):
                self._directory.replace_pods(_pods(objects))
            case Changed(object=obj):
                for pod in _pods([obj]):
                    self._directory.put(pod)
            case Removed(object=obj):
                self._directory.remove(obj["metadata"]["uid"])
        return set()

    def _take_namespace(self, change: Change) -> set[Uid]:
        match change:
            case Listed(objects=objects):
                self.namespaces = dict(map(_name_and_labels, objects))
            case Changed(object=obj) if self.namespaces is not None:
                name, labels = _name_and_labels(obj)
                if self.namespaces.get(name) == labels:
                    return set()
                self.namespaces = self.namespaces | {name: labels}
            case Removed(object=obj) if self.namespaces is not None:
                gone = obj["metadata"]["name"]
                self.namespaces = {name: labels for name, labels in self.namespaces.items() if name != gone}
        self.namespaces_version += 1
        return set()

    def _take_report(self, change: Change) -> set[Uid]:
        match change:
            case Listed(objects=objects):
                before = self._reports
                self._reports = {_trace_uid(obj): Reported.from_object(obj) for obj in objects}
                return set(before.keys() ^ self._reports.keys())
            case Changed(object=obj):
                new = _trace_uid(obj) not in self._reports
                self._reports[_trace_uid(obj)] = Reported.from_object(obj)
                return {_trace_uid(obj)} if new else set()
            case Removed(object=obj):
                self._reports.pop(_trace_uid(obj), None)
                return {_trace_uid(obj)}

    def _take_trace(self, change: Change) -> set[Uid]:
        kind = KINDS[change.resource]
        match change:
            case Listed(objects=objects):
                listed = {trace.name.uid: trace for trace in _traces(objects, kind, self._btf)}
                gone = {uid for uid, trace in self.traces.items() if trace.name.kind == kind} - listed.keys()
                for uid in gone:
                    del self.traces[uid]
                self.traces |= listed
                return gone | listed.keys()
            case Changed(object=obj):
                changed = {trace.name.uid: trace for trace in _traces([obj], kind, self._btf)}
                self.traces |= changed
                return set(changed)
            case Removed(object=obj):
                uid = Uid(obj["metadata"]["uid"])
                self.traces.pop(uid, None)
                return {uid}


def _name_and_labels(obj: Object) -> tuple[str, dict[str, str]]:
    return obj["metadata"]["name"], obj["metadata"].get("labels") or {}


def _trace_uid(report: Object) -> Uid:
    return Uid(((report.get("spec") or {}).get("trace") or {}).get("uid", ""))


def _pods(objects: Iterable[Object]) -> Iterable[Pod]:
    for obj in objects:
        try:
            yield Pod.from_object(obj)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.error("a pod cannot be read and is left alone: %r", error)


def _traces(objects: Iterable[Object], kind: str, btf: str) -> Iterable[Trace]:
    for obj in objects:
        try:
            # Items of a list have no kind of their own.
            yield Trace.from_object(obj | {"kind": kind}, btf)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.error("a %s cannot be read and is left alone: %r", kind, error)
