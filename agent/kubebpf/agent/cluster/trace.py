"""A trace as an agent sees it: what to run, where, and how far the operator has come with it.

trace = Trace.from_object(watch_event["object"])
trace.digest         -> "sha256:…", or None until the object for this generation is compiled

Read tolerantly: an older CRD, or none of this field's rules, must not stop an agent that runs other people's traces too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NewType

from kubebpf.agent.cluster.cost import percent
from kubebpf.agent.cluster.export import Export
from kubebpf.agent.cluster.selector import Selector
from kubebpf.agent.cluster.target import PodTarget

Object = dict[str, Any]
Uid = NewType("Uid", str)

GROUP_VERSION = "kubebpf.dev/v1alpha1"
DEFAULT_INTERVAL = 10.0
# Every look reads all maps of the trace.
LEAST_INTERVAL = 0.1
DEFAULT_TOP = 20
DEFAULT_RECENT = 50


@dataclass(frozen=True, slots=True)
class TraceName:
    """Which object; `namespace` is "" for a ClusterBpfTrace."""

    kind: str
    namespace: str
    name: str
    uid: Uid

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def as_json(self) -> Object:
        """The form in reports and log lines."""
        named = {"kind": self.kind, "name": self.name, "uid": self.uid}
        return named | ({"namespace": self.namespace} if self.namespace else {})


@dataclass(frozen=True, slots=True)
class Trace:
    """One BpfTrace or ClusterBpfTrace.

    Args:
        digest, config_map: of the object that this node runs; None until it is compiled for this generation.
        signature, signing_key: of the operator's grant, base64, and the name of its key.
        unsafe_granted: whether the grant is said to include unsafe helpers; believed only with the signature.
        started_at, completed_at: when the first node attached, when the operator ended the trace.
        duration: seconds; None: no end.
        interval: seconds between two reports.
        max_events: events a second that print.
        max_cpu: percent of one CPU that its programs may take.
        desired_nodes: how many nodes it runs on, as the operator counted.
    """

    name: TraceName
    generation: int
    digest: str | None = None
    config_map: str | None = None
    signature: str = ""
    signing_key: str = ""
    unsafe_granted: bool = False
    node_selector: dict[str, str] = field(default_factory=dict)
    namespace_selector: Selector = field(default_factory=Selector)
    pod_selector: Selector = field(default_factory=Selector)
    containers: frozenset[str] = frozenset()
    params: dict[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    duration: float | None = None
    suspend: bool = False
    allow_unsafe: bool = False
    exit_policy: Literal["Node", "Cluster"] = "Node"
    interval: float = DEFAULT_INTERVAL
    top: int = DEFAULT_TOP
    recent_lines: int = DEFAULT_RECENT
    metrics: tuple[Export, ...] = ()
    max_events: int | None = None
    max_cpu: float | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    finished: bool = False
    deleting: bool = False
    desired_nodes: int = 1

    @property
    def namespaced(self) -> bool:
        """Whether it may see only the pods of its own namespace."""
        return self.name.kind == "BpfTrace"

    @property
    def selects_pods(self) -> bool:
        """Whether only some events of the node are meant: then an object without a scope must not run."""
        return not self.pod_target.everything

    @property
    def pod_target(self) -> PodTarget:
        """The pods that it is about."""
        namespace = self.name.namespace if self.namespaced else None
        return PodTarget(namespace, self.namespace_selector, self.pod_selector, self.containers)

    @classmethod
    def from_object(cls, obj: Object, btf: str = "") -> Trace:
        """From the API object's JSON.

        Args:
            btf: the digest of this node's type information: an object that was compiled for just that kernel is chosen.
        """
        meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        target, report = spec.get("target") or {}, spec.get("report") or {}
        generation = meta.get("generation", 0)
        artifact = _artifact(status, generation, btf)
        # A new generation starts afresh, also before the operator has cleared the times of the old one.
        times = status if status.get("observedGeneration") == generation else {}
        return cls(
            name=TraceName(obj["kind"], meta.get("namespace", ""), meta["name"], Uid(meta["uid"])),
            generation=generation,
            digest=artifact.get("digest"),
            config_map=artifact.get("configMap"),
            signature=artifact.get("signature") or "",
            signing_key=artifact.get("key") or "",
            unsafe_granted=artifact.get("unsafe") is True,
            node_selector=target.get("nodeSelector") or {},
            namespace_selector=Selector.from_object(target.get("namespaceSelector") or {}),
            pod_selector=Selector.from_object(target.get("podSelector") or {}),
            containers=frozenset(target.get("containers") or ()),
            params=spec.get("params") or {},
            args=tuple(spec.get("args") or ()),
            duration=parse_duration(spec.get("duration")),
            # A trace with a schedule does not run itself: the operator makes a trace for every turn.
            suspend=bool(spec.get("suspend") or spec.get("schedule")),
            allow_unsafe=spec.get("allowUnsafe") is True,
            exit_policy="Cluster" if spec.get("exitPolicy") == "Cluster" else "Node",
            interval=max(parse_duration(report.get("interval")) or DEFAULT_INTERVAL, LEAST_INTERVAL),
            top=report.get("top", DEFAULT_TOP),
            recent_lines=report.get("recentLines", DEFAULT_RECENT),
            metrics=Export.from_spec(spec.get("metrics")),
            max_events=(spec.get("limits") or {}).get("maxEventsPerSecond"),
            max_cpu=percent((spec.get("limits") or {}).get("maxCPUPercent")),
            started_at=parse_time(times.get("startedAt")),
            completed_at=parse_time(times.get("completedAt")),
            finished=_holds(status, "Succeeded", generation),
            deleting="deletionTimestamp" in meta,
            desired_nodes=max(1, (status.get("nodes") or {}).get("desired", 1)),
        )


def _artifact(status: Object, generation: int, btf: str) -> Object:
    """The object of this generation: the one for this node's kernel, else the one for all.

    That of the generation before stands in the status until the operator has compiled.
    """
    if status.get("observedGeneration") != generation or not _holds(status, "Compiled", generation):
        return {}
    variants = status.get("variants") or ()
    own = next((variant for variant in variants if btf and variant.get("btf") == btf), None)
    return own or status.get("artifact") or {}


def _holds(status: Object, kind: str, generation: int) -> bool:
    """Whether a condition is True for this generation."""
    conditions = [c for c in status.get("conditions") or () if c.get("type") == kind]
    return any(c.get("status") == "True" and c.get("observedGeneration", generation) == generation for c in conditions)


_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: object) -> float | None:
    """Seconds of `1h30m`, `10s`, `250ms`, as the CRD allows them; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(f"(?:{_PART.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_time(text: object) -> datetime | None:
    """RFC 3339; None for anything else."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as Kubernetes' MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
