"""What a BpfTraceReport holds and how often it is written: pure functions of a session's state.

status = report_status(state, limits)     -> the JSON of status: 32 KiB at most, the smallest keys dropped first and counted

The form is fixed in docs/design/2026-11-22-values-and-reports.md.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from kubebpf.agent.cluster.trace import GROUP_VERSION, Object, TraceName, format_time
from kubebpf.compiler.artifact.order import ordered
from kubebpf.compiler.artifact.state import MapState, to_json
from kubebpf.compiler.artifact.values import Pod, readable

REPORT_BYTES = 32 * 1024
# Of a report that is full of keys, this much is for the last lines.
RECENT_BYTES = 8 * 1024
WRITES_PER_SECOND = 50.0
LINE_CHARS = 2048

TRACE_LABEL = "kubebpf.dev/trace-uid"
NODE_LABEL = "kubebpf.dev/node"
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

Phase = Literal["Pending", "Attached", "Failed", "Completed"]


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line.

    Args:
        kind: what printed it: printf, errorf, warnf, print, time, join, cat.
        pod: where the event came from one.
    """

    time: datetime
    kind: str
    text: str
    pod: Pod | None = None

    @classmethod
    def from_json(cls, said: Object) -> Line | None:
        """From the form in `recent`; None for what is not of that form."""
        try:
            pod = Pod(said["namespace"], said["pod"], "", said.get("container") or "") if "pod" in said else None
            return cls(datetime.fromisoformat(said["time"]), said["kind"], said["text"], pod)
        except (KeyError, TypeError, ValueError):
            return None

    def as_json(self) -> Object:
        """The form in `recent`."""
        said = {"time": format_time(self.time), "kind": self.kind, "text": readable(self.text)[:LINE_CHARS]}
        if self.pod is None:
            return said
        where = {"namespace": self.pod.namespace, "pod": self.pod.name}
        return said | where | ({"container": self.pod.container} if self.pod.container else {})


@dataclass(frozen=True, slots=True)
class Lost:
    """What was lost since the session began; `missed` are probes that did not run, and stacks that were not captured."""

    events: int = 0
    map_full: int = 0
    missed: int = 0

    def as_json(self) -> Object:
        """The form in reports."""
        return {"events": str(self.events), "mapFull": str(self.map_full), "missed": str(self.missed)}


@dataclass(frozen=True, slots=True)
class State:
    """This node's part of a trace, cumulative since the session began.

    Args:
        session: changes when counting restarts from zero.
        maps: complete.
        recent: the last lines, oldest first.
    """

    generation: int
    digest: str
    session: str
    phase: Phase
    reason: str = ""
    message: str = ""
    probes: int = 0
    started_at: datetime | None = None
    exit_code: int | None = None
    maps: Sequence[MapState] = ()
    recent: Sequence[Line] = ()
    lost: Lost = field(default_factory=Lost)


def report_name(trace: TraceName, node: str) -> str:
    """The name of a report object. The hash keeps two nodes, and two traces whose names begin alike, apart."""
    return f"{trace.name[:200]}-{hashlib.sha256(f'{trace.uid}/{node}'.encode()).hexdigest()[:10]}"


def node_label(node: str) -> str:
    """A node's name as a label value. Names may have 253 characters, label values 63."""
    return node if _LABEL_VALUE.fullmatch(node) else hashlib.sha256(node.encode()).hexdigest()[:40]


def report_object(trace: TraceName, node: str, namespace: str) -> Object:
    """The report as it is created, without status.

    Args:
        namespace: the trace's own, or the system namespace for a ClusterBpfTrace.
    """
    owner = {"apiVersion": GROUP_VERSION, "kind": trace.kind, "name": trace.name, "uid": trace.uid}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "BpfTraceReport",
        "metadata": {
            "name": report_name(trace, node),
            "namespace": namespace,
            "labels": {TRACE_LABEL: trace.uid, NODE_LABEL: node_label(node)},
            "ownerReferences": [owner | {"blockOwnerDeletion": False}],
        },
        "spec": {"trace": trace.as_json(), "node": node},
    }


def report_status(state: State, top: int, recent_lines: int, limit: int = REPORT_BYTES) -> Object:
    """The status of a report, without the time of its writing (an unchanged state must give an equal status).

    Args:
        top: keys of a map to keep.
        recent_lines: printed lines to keep.
        limit: bytes of JSON.
    """
    base = _base(state)
    recent = [line.as_json() for line in state.recent[-recent_lines:]] if recent_lines else []
    room = limit - size(base | {"maps": [], "recent": []})
    maps = fit_maps([top_keys(m, top) for m in state.maps], room - min(size(recent), RECENT_BYTES))
    return base | {"maps": maps, "recent": fit_lines(recent, room - size(maps))}


def _base(state: State) -> Object:
    # A merge patch keeps what it does not name: members that ended must be named with null.
    return {
        "generation": state.generation,
        "digest": state.digest,
        "session": state.session,
        "phase": state.phase,
        "reason": state.reason or None,
        "message": state.message[:4096] or None,
        "probes": state.probes,
        "startedAt": format_time(state.started_at) if state.started_at else None,
        "exitCode": state.exit_code,
        "lost": state.lost.as_json(),
    }


def size(value: object) -> int:
    """Bytes of a value as JSON, as the API server stores it."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def top_keys(state: MapState, top: int) -> Object:
    """A map in JSON with its largest `top` keys, largest first; the others are added to `dropped`.

    >>> top_keys(MapState("@", "count", entries=(Entry(("a",), Count(1)), Entry(("b",), Count(2)))), 1)["entries"]
    [{'key': [{'str': 'b'}], 'count': '2'}]
    """
    entries = ordered(state)[::-1]
    dropped = state.dropped + max(0, len(entries) - top)
    return to_json(replace(state, entries=tuple(entries[:top]), dropped=dropped))


def fit_maps(maps: Sequence[Object], room: int) -> list[Object]:
    """Drop entries until the maps need no more than `room` bytes: always the last (smallest) one of the map that is largest.

    Maps without any entry may still be larger than `room`; their names are kept.
    """
    over = size(maps) - room
    fitted = [m | {"entries": list(m["entries"])} for m in maps]
    heap = [(-size(m["entries"]), i) for i, m in enumerate(fitted) if m["entries"]]
    heapq.heapify(heap)
    while over > 0 and heap:
        negative, i = heapq.heappop(heap)
        m = fitted[i]
        # With its comma; a last entry has none, and the count of dropped ones may grow by a digit.
        saved = size(m["entries"].pop()) + (1 if m["entries"] else 0)
        digits = len(str(m["dropped"]))
        m["dropped"] += 1
        over -= saved - (len(str(m["dropped"])) - digits)
        if m["entries"]:
            heapq.heappush(heap, (negative + saved, i))
    return fitted


def fit_lines(lines: Sequence[Object], room: int) -> list[Object]:
    """The newest lines that need no more than `room` bytes with their commas."""
    kept: list[Object] = []
    for line in reversed(lines):
        room -= size(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept[::-1]


def interval_seconds(base: float, nodes_of_traces: Sequence[int], writes_per_second: float = WRITES_PER_SECOND) -> float:
    """Seconds between two writes of one report, so that all reports of a cluster together stay under the budget.

    Args:
        base: what the trace asks for.
        nodes_of_traces: for every running trace of the cluster, the number of its nodes. Their sum is the number of reports.

    >>> interval_seconds(10.0, [5000])
    100.0
    """
    return max(base, sum(nodes_of_traces) / writes_per_second)
