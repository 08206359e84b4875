"""Traces, nodes and reports as typed values, read tolerantly: what is wrong becomes a value, never an exception.

    parse_trace({"kind": "BpfTrace", "spec": {"program": "begin { exit(); }", "duration": "1m"}, ...}).spec.duration
    -> 60.0

The API server checks the schema, but an old CRD, a newer one or a client that writes to etcd must not stop the operator.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NewType, TypeGuard

from kubebpf.operator.exported import Named, read_metrics, spec_problems

Json = dict[str, Any]
Uid = NewType("Uid", str)
NodeName = NewType("NodeName", str)

GROUP = "kubebpf.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
REVIEW = "kubebpf.dev/unsafe-review"  # an annotation
PROGRAM_LIMIT = 65536  # bytes; as in the CRD
# Of a report's status: which state of which object it is about. A change of one of them is looked at once.
HEAD = ("phase", "generation", "digest", "reason", "exitCode", "session")

Phase = Literal["Pending", "Attached", "Failed", "Completed"]
PHASES: tuple[Phase, ...] = ("Pending", "Attached", "Failed", "Completed")


@dataclass(frozen=True, slots=True)
class TraceKey:
    """Which object. Traces are told apart by uid: one made again under the same name is another one."""

    kind: str
    namespace: str
    name: str
    uid: Uid

    @property
    def scoped(self) -> bool:
        """Whether it sees only the pods of its namespace."""
        return self.kind == "BpfTrace"


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """What a trace asks for.

    Args:
        selects_pods: only some pods of a node are meant, so that the object needs a scope whatever the trace's kind.
        duration: in seconds from the first attach; None: no end.
        recent_lines: printed lines to keep in the status.
        top: keys to keep of a map.
        metrics: maps to show as metrics.
        ttl: seconds that the trace is kept once it has ended; None: until somebody deletes it.
        schedule: when turns of it run, cron(5) in UTC; "": it runs itself, now.
        history: ended turns that are kept.
    """

    program: str
    params: tuple[tuple[str, str], ...] = ()
    args: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()
    selects_pods: bool = False
    duration: float | None = None
    suspend: bool = False
    allow_unsafe: bool = False
    exit_policy: Literal["Node", "Cluster"] = "Node"
    recent_lines: int = 50
    top: int = 20
    metrics: tuple[Named, ...] = ()
    ttl: float | None = None
    schedule: str = ""
    history: int = 3


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as the API server shows it.

    Args:
        spec: None when it cannot be read; `problems` then says why.
        status: as it stands, to compare with.
        owner: the uid of the object that controls it; "" when there is none.
        review: the annotation about unsafe helpers, see review.py.
        spec_digest: of the spec as it is written.
    """

    key: TraceKey
    generation: int
    created: datetime
    deleting: bool
    spec: TraceSpec | None
    problems: tuple[str, ...] = ()
    status: Json = field(default_factory=dict)
    resource_version: str = ""
    review: str = ""
    owner: str = ""
    spec_digest: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as far as targeting needs it."""

    name: NodeName
    labels: Mapping[str, str]
    ready: bool
    deleting: bool
    uid: Uid = Uid("")


@dataclass(frozen=True, slots=True)
class BpfNode:
    """What a node's agent has told of its kernel.

    Args:
        btf: the digest of the kernel's types; "" when it has none, or a digest that is none.
        asked: what the operator has asked the agent to upload, "" for nothing.
    """

    name: NodeName
    btf: str
    asked: str
    uid: Uid = Uid("")


@dataclass(frozen=True, slots=True)
class Report:
    """A report object: whose it is, and its status as written; `state.read_state` reads that.

    Args:
        head: the members of the status that say what it is about (HEAD).
        packed: the status, compressed: there are thousands of reports, and as objects of Python they take fifty times as much.
        size: bytes of the status as JSON.
    """

    namespace: str
    name: str
    trace_key: TraceKey
    node: NodeName
    head: Json
    packed: bytes = b""
    uid: Uid = Uid("")
    size: int = 0

    @property
    def status(self) -> Json:
        """The status, unpacked at each call."""
        return _dict(json.loads(zlib.decompress(self.packed))) if self.packed else {}

    @property
    def trace_uid(self) -> Uid:
        """Of the trace that it is about."""
        return self.trace_key.uid


def parse_trace(body: Mapping[str, Any]) -> Trace:
    """A trace from its object; always gives one, with `spec` None when it is unusable."""
    meta = _dict(body.get("metadata"))
    spec, problems = parse_spec(body.get("spec"))
    return Trace(
        key=TraceKey(_str(body.get("kind")), _str(meta.get("namespace")), _str(meta.get("name")), Uid(_str(meta.get("uid")))),
        generation=_int(meta.get("generation"), 0),
        created=parse_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        deleting=bool(meta.get("deletionTimestamp")),
        spec=spec,
        problems=problems,
        status=_dict(body.get("status")),
        resource_version=_str(meta.get("resourceVersion")),
        review=_str(_dict(meta.get("annotations")).get(REVIEW)),
        owner=_owner(meta.get("ownerReferences")),
        spec_digest=spec_digest(body.get("spec")),
    )


def _owner(references: object) -> str:
    found = [_dict(reference) for reference in references] if isinstance(references, list) else []
    return next((_str(reference.get("uid")) for reference in found if reference.get("controller") is True), "")


def spec_digest(spec: object) -> str:
    """SHA-256 of a spec's canonical JSON, in hex."""
    plain = json.dumps(spec, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def parse_spec(raw: object) -> tuple[TraceSpec | None, tuple[str, ...]]:
    """A spec and what is wrong with it; None when something is."""
    if not isinstance(raw, Mapping):
        return None, ("spec is missing",)
    target, report = _dict(raw.get("target")), _dict(raw.get("report"))
    problems = tuple(_spec_problems(raw, target, report))
    if problems:
        return None, problems
    duration = raw.get("duration")
    return TraceSpec(
        program=raw["program"],
        params=tuple(sorted(_dict(raw.get("params")).items())),
        args=tuple(raw.get("args") or ()),
        config=tuple(sorted(_dict(raw.get("config")).items())),
        node_selector=tuple(sorted(_dict(target.get("nodeSelector")).items())),
        selects_pods=_selects_pods(target),
        duration=parse_duration(duration) if duration is not None else None,
        suspend=bool(raw.get("suspend")),
        allow_unsafe=raw.get("allowUnsafe") is True,
        exit_policy="Cluster" if raw.get("exitPolicy") == "Cluster" else "Node",
        recent_lines=min(_int(report.get("recentLines"), 50), 500),
        top=_int(report.get("top"), 20),
        metrics=read_metrics(raw.get("metrics")),
        ttl=raw.get("ttlSecondsAfterFinished"),
        schedule=_str(raw.get("schedule")),
        history=_int(raw.get("historyLimit"), 3),
    ), ()


def _selects_pods(target: Json) -> bool:
    """Whether the target leaves some pods of a node out; an empty selector selects all, as everywhere in Kubernetes."""
    selectors = [_dict(target.get(name)) for name in ("podSelector", "namespaceSelector")]
    return bool(target.get("containers") or any(s.get("matchLabels") or s.get("matchExpressions") for s in selectors))


def _selector_problems(target: Json) -> list[str]:
    """What is wrong with the label selectors: the schema cannot say which operator needs values (apimachinery, pkg/labels)."""
    problems = list[str]()
    for name in ("podSelector", "namespaceSelector"):
        raw = target.get(name)
        selector = _dict(raw)
        if raw is not None and not isinstance(raw, Mapping):
            problems.append(f"spec.target.{name}: not a label selector")
        if not all(map(is_label_key, _dict(selector.get("matchLabels")))):
            problems.append(f"spec.target.{name}.matchLabels: a key that no label can have")
        if not _all_strings(_dict(selector.get("matchLabels"))):
            problems.append(f"spec.target.{name}.matchLabels: keys and values must be strings")
        problems += [
            f"spec.target.{name}.matchExpressions: {problem}"
            for expression in selector.get("matchExpressions") or ()
            if (problem := _expression_problem(_dict(expression)))
        ]
    return problems


def _expression_problem(expression: Json) -> str:
    key, operator, values = expression.get("key"), expression.get("operator"), expression.get("values") or []
    if not key or not isinstance(key, str):
        return "a requirement without a key"
    if not is_label_key(key):
        return f"{key[:80]!r} is no key that a label can have"
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return f"{key}: values must be a list of strings"
    match operator:
        case "In" | "NotIn":
            return "" if values else f"{key}: {operator} needs values"
        case "Exists" | "DoesNotExist":
            return f"{key}: {operator} takes no values" if values else ""
        case _:
            return f"{key}: no operator {operator!r}"


def _spec_problems(raw: Mapping[str, Any], target: Json, report: Json) -> list[str]:
    program, duration = raw.get("program"), raw.get("duration")
    args = raw.get("args") or []
    checks = (
        (isinstance(program, str) and bool(program.strip()), "spec.program: a program is needed"),
        (len(str(program).encode("utf-8", "surrogatepass")) <= PROGRAM_LIMIT, f"spec.program: more than {PROGRAM_LIMIT} bytes"),
        (_positive(duration), "spec.duration: not a duration such as 90s, 5m or 1h30m"),
        (raw.get("exitPolicy", "Node") in ("Node", "Cluster"), "spec.exitPolicy: neither Node nor Cluster"),
        (_all_strings(_dict(raw.get("params"))), "spec.params: names and values must be strings"),
        (_all_strings(_dict(raw.get("config"))), "spec.config: names and values must be strings"),
        (isinstance(args, list) and all(isinstance(a, str) for a in args), "spec.args: not a list of strings"),
        (_all_strings(_dict(target.get("nodeSelector"))), "spec.target.nodeSelector: keys and values must be strings"),
        (all(map(is_label_key, _dict(target.get("nodeSelector")))), "spec.target.nodeSelector: a key that no label can have"),
        (_positive(report.get("interval")), "spec.report.interval: not a duration such as 10s or 1m"),
        (_int(report.get("top"), 20) > 0, "spec.report.top: not a positive number"),
        (_int(report.get("recentLines"), 50) >= 0, "spec.report.recentLines: a negative number"),
        (_int(raw.get("ttlSecondsAfterFinished"), 0) >= 0, "spec.ttlSecondsAfterFinished: a negative number"),
        (_int(raw.get("historyLimit"), 3) >= 0, "spec.historyLimit: a negative number"),
        (not raw.get("schedule") or duration is not None, "spec.schedule: a trace with a schedule needs a duration"),
    )
    return [problem for good, problem in checks if not good] + _selector_problems(target) + spec_problems(raw.get("metrics"))


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def is_label_key(key: object) -> bool:
    """Whether labels can have that key (apimachinery, IsQualifiedName): another one selects nothing, ever."""
    return isinstance(key, str) and _LABEL_KEY.fullmatch(key) is not None


def _positive(duration: object) -> bool:
    return duration is None or (parse_duration(duration) or 0) > 0


def parse_node(body: Mapping[str, Any]) -> Node:
    """A node; one without a Ready condition (no kubelet has spoken yet, or a test's) counts as ready."""
    meta = _dict(body.get("metadata"))
    conditions = _dict(body.get("status")).get("conditions") or []
    said = [c.get("status") for c in conditions if isinstance(c, Mapping) and c.get("type") == "Ready"]
    return Node(
        name=NodeName(_str(meta.get("name"))),
        labels=_dict(meta.get("labels")),
        ready=all(status == "True" for status in said),
        deleting=bool(meta.get("deletionTimestamp")),
        uid=Uid(_str(meta.get("uid"))),
    )


def parse_bpf_node(body: Mapping[str, Any]) -> BpfNode:
    """What is known of a node's kernel."""
    meta, status = _dict(body.get("metadata")), _dict(body.get("status"))
    btf = _str(_dict(status.get("btf")).get("digest"))
    asked = _str(_dict(body.get("spec")).get("uploadBTF"))
    return BpfNode(NodeName(_str(meta.get("name"))), btf if _DIGEST.fullmatch(btf) else "", asked, Uid(_str(meta.get("uid"))))


def selected(node: Node, spec: TraceSpec) -> bool:
    """Whether the node's labels match the trace's nodeSelector and the node is there to stay."""
    return not node.deleting and all(node.labels.get(key) == value for key, value in spec.node_selector)


def parse_report(body: Mapping[str, Any]) -> Report | None:
    """A report, or None when it names no trace or node."""
    meta, spec = _dict(body.get("metadata")), _dict(body.get("spec"))
    trace = _dict(spec.get("trace"))
    uid, node = _str(trace.get("uid")), _str(spec.get("node"))
    if not uid or not node:
        return None
    names = _str(meta.get("namespace")), _str(meta.get("name"))
    key = TraceKey(_str(trace.get("kind")), _str(trace.get("namespace")), _str(trace.get("name")), Uid(uid))
    status = _dict(body.get("status"))
    text = json.dumps(status, ensure_ascii=False, default=dict).encode("utf-8", "surrogatepass")
    head = {name: status.get(name) for name in HEAD}
    return Report(*names, key, NodeName(node), head, zlib.compress(text, 1), Uid(_str(meta.get("uid"))), len(text))


def report_part(body: Mapping[str, Any]) -> tuple[Uid, str, tuple[object, ...]] | None:
    """Of a report's object: the uid of its trace, its node, and the head of its status; None when it names no trace or node."""
    spec, status = _dict(body.get("spec")), _dict(body.get("status"))
    uid, node = _str(_dict(spec.get("trace")).get("uid")), _str(spec.get("node"))
    return (Uid(uid), node, tuple(status.get(name) for name in HEAD)) if uid and node else None


def report_name(trace_name: str, uid: str, node: str) -> str:
    """The name of the report of one trace and node: docs/design/2026-11-22-values-and-reports.md."""
    return f"{trace_name[:200]}-{hashlib.sha256(f'{uid}/{node}'.encode()).hexdigest()[:10]}"


def config_map_name(digest: str) -> str:
    """The name of the ConfigMap that holds the object of a digest `sha256:<hex>`."""
    return f"kubebpf-{digest.removeprefix('sha256:')[:40]}"


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def parse_duration(text: object) -> float | None:
    """Seconds of a duration such as `1h30m`, as Go's time.ParseDuration reads it; None for anything else.

    >>> parse_duration("1h30m"), parse_duration("250ms"), parse_duration("5 minutes")
    (5400.0, 0.25, None)
    """
    if not isinstance(text, str) or len(text) > 32 or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return None
    seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text)))
    return seconds if math.isfinite(seconds) else None


def parse_time(text: object) -> datetime | None:
    """A moment from RFC 3339 text with a zone; None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dict(value: object) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _int(value: object, default: int) -> int:
    return value if is_int(value) else default


def is_int(value: object) -> TypeGuard[int]:
    """An integer that is no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _all_strings(mapping: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, str) for key, value in mapping.items())
