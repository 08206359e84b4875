"""Kubernetes Events of a trace's life: each told once, however often it is looked at and whoever restarts.

    happenings(trace, status)  ->  [Happening("Normal", "Compiled", …), Happening("Warning", "NodeFailed", …, node="b")]

What should have been told follows from the status alone. An Event's name follows from trace, generation, reason and node, so
telling it again finds it there; the same thing happening again counts up (`series` in a core/v1 Event is its `count`).

Clusters may limit Events to a burst of 25 and then one in 300 s an object (kube-apiserver's EventRateLimit): so does this.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kubebpf.operator.api import Api, ApiError, ConflictError
from kubebpf.operator.conditions import COMPILED, READY, SUCCEEDED, read_condition, shorten
from kubebpf.operator.model import API_VERSION, Json, Trace, TraceKey, format_time, parse_time
from kubebpf.operator.state import LOSSES
from kubebpf.operator.work import Bucket

logger = logging.getLogger(__name__)

COMPONENT = "kubebpf-operator"
NOTE_LIMIT = 1000  # bytes; the API server takes 1024
BURST, PERIOD = 25, 300.0
# Older happenings are not told again after a restart: they were told a second later at most, unless the operator ended just then.
RECENT = timedelta(minutes=2)
SYSTEM_EVENTS = "default"  # where Events of cluster-scoped objects live


@dataclass(frozen=True, slots=True)
class Happening:
    """Something worth an Event.

    Args:
        since: when it happened; the same thing at another time counts the Event up. "" for what is told once a generation.
        node: when it is about one node.
    """

    kind: str
    reason: str
    note: str
    since: str
    node: str = ""


def happenings(trace: Trace, status: Mapping[str, Any]) -> Iterator[Happening]:
    """What the status of a trace says has happened in its present generation."""
    if status.get("observedGeneration") != trace.generation:
        return
    for condition, truth, kind, reason in _TOLD:
        said = read_condition(status, condition)
        if said.get("status") == truth and (reason or said["reason"]) in _REASONS:
            name = reason or said["reason"]
            yield Happening(kind, _REASONS[name], said["message"] or name, said["lastTransitionTime"])
    for error in status.get("nodeErrors") or ():
        yield Happening("Warning", "NodeFailed", f"{error['node']}: {error['reason']}: {error['message']}", "", error["node"])
    lost = status.get("lost") or {}
    if lost.get("total", "0") != "0":
        yield Happening("Warning", "LostEvents", ", ".join(f"{name}: {lost[name]}" for name in LOSSES if name in lost), "")


# (condition, its status, type of the Event, reason; "" takes the condition's own).
_TOLD = (
    (COMPILED, "True", "Normal", "Compiled"),
    (COMPILED, "False", "Warning", ""),
    (READY, "True", "Normal", ""),
    (SUCCEEDED, "True", "Normal", "Completed"),
    (SUCCEEDED, "False", "Warning", "NonZeroExit"),
)
_REASONS = {
    "Compiled": "Compiled",
    "CompileFailed": "CompileFailed",
    "CompilerLimit": "CompileFailed",
    "ObjectTooLarge": "CompileFailed",
    "UnsafeNotAllowed": "CompileFailed",
    "InvalidSpec": "InvalidSpec",
    "AllNodesAttached": "Attached",
    "SomeNodesFailed": "Attached",
    "Suspended": "Suspended",
    "Completed": "Completed",
    "NonZeroExit": "Completed",
}


class Recorder:
    """Tells happenings. What it remembers only saves requests."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._told: dict[str, dict[str, tuple[str | None, int]]] = {}  # when it was since; how often it was told
        self._buckets: dict[str, Bucket] = {}

    async def tell(self, trace: Trace, status: Mapping[str, Any], now: datetime) -> None:
        """Tell what has not been told. Trouble with Events never stops a trace."""
        told = self._told.setdefault(trace.key.uid, {})
        for happening in _distinct(happenings(trace, status)):
            name = _name(trace, happening)
            since, count = told.get(name, (None, 0))
            if since == happening.since or not self._may(trace.key.uid, happening, now):
                continue
            told[name] = happening.since, count + 1
            try:
                await self._post(trace, happening, name, count + 1, now)
            except ApiError as error:
                # Tried again at the next look, as often as the bucket lets.
                told[name] = since, count
                logger.warning("an Event (%s of %s) was not written: %s", happening.reason, trace.key.name, error)

    def forget(self, uid: str) -> None:
        """The trace is gone."""
        self._told.pop(uid, None)
        self._buckets.pop(uid, None)

    def _may(self, uid: str, happening: Happening, now: datetime) -> bool:
        since = parse_time(happening.since)
        if since is not None and now - since > RECENT:
            return False
        return self._buckets.setdefault(uid, Bucket(BURST, PERIOD)).take()

    async def _post(self, trace: Trace, happening: Happening, name: str, count: int, now: datetime) -> None:
        namespace = trace.key.namespace or SYSTEM_EVENTS
        if count > 1:
            again = {"count": count, "lastTimestamp": happening.since, "message": shorten(happening.note, NOTE_LIMIT)}
            await self._api.patch_event(namespace, name, again)
            return
        try:
            await self._api.create_event(namespace, _body(trace, happening, name, happening.since or format_time(now)))
        except ConflictError:
            logger.debug("the Event %s was told before the restart", name)


def _distinct(found: Iterator[Happening]) -> list[Happening]:
    """Ready and Succeeded both say Completed: once is enough."""
    return list({(happening.reason, happening.node): happening for happening in found}.values())


def _name(trace: Trace, happening: Happening) -> str:
    parts = (trace.key.uid, str(trace.generation), happening.reason, happening.node)
    return f"{trace.key.name[:200]}.{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:16]}"


def _body(trace: Trace, happening: Happening, name: str, when: str) -> Json:
    return {
        "metadata": {"name": name, "namespace": trace.key.namespace or SYSTEM_EVENTS},
        "involvedObject": reference(trace.key) | {"resourceVersion": trace.resource_version},
        "type": happening.kind,
        "reason": happening.reason,
        "message": shorten(happening.note, NOTE_LIMIT),
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
        "source": {"component": COMPONENT} | ({"host": happening.node} if happening.node else {}),
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }


def reference(key: TraceKey) -> Json:
    """An ObjectReference to a trace."""
    namespace = {"namespace": key.namespace} if key.namespace else {}
    return {"apiVersion": API_VERSION, "kind": key.kind, "name": key.name, "uid": key.uid} | namespace
