"""Which traces should run on this node, and what to do about the difference: pure functions of what is known.

wish(trace, node, now)                  -> Run(identity) | Stop("Suspended") | Wait()
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kubebpf.agent.cluster.trace import Trace, Uid


@dataclass(frozen=True, slots=True)
class Node:
    """This node, as its Node object says; `labels` is None until it was seen, `uid` is "" while there is no such object."""

    name: str
    labels: dict[str, str] | None = None
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a session the same one. Whatever of a trace changes makes a new generation and starts counting afresh; the
    digest changes alone when a newer operator compiles again."""

    uid: Uid
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class Run:
    """A session of this identity should be attached."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing of this trace should run here.

    Args:
        why: Deleted, Suspended, Elsewhere, Finished.
        keep_report: whether what was counted still interests.
    """

    why: str
    keep_report: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet decided (the operator compiles, or found errors): what runs goes on."""


Wish = Run | Stop | Wait


def wish(trace: Trace | None, node: Node) -> Wish:
    """What should be of a trace on this node; None for a trace that is gone."""
    if trace is None or trace.deleting:
        return Stop("Deleted", keep_report=False)
    if trace.finished or trace.completed_at is not None:
        return Stop("Finished", keep_report=True)
    if trace.suspend:
        return Stop("Suspended", keep_report=True)
    if trace.node_selector and node.labels is None:
        return Wait()
    if not selects(trace.node_selector, node):
        return Stop("Elsewhere", keep_report=False)
    if trace.digest is None or trace.config_map is None:
        return Wait()
    return Run(Identity(trace.name.uid, trace.generation, trace.digest))


def selects(selector: dict[str, str], node: Node) -> bool:
    """Whether a node has all the labels. A node without an object has none."""
    labels = node.labels or {}
    return all(labels.get(key) == value for key, value in selector.items())


def ends_at(trace: Trace, attached_at: datetime) -> datetime | None:
    """When this node's part of a trace with a duration is over: counted from the first node that attached.

    A node whose clock is behind ends when the operator says so; one without an API server by its own clock.

    Args:
        attached_at: when this node attached.

    Returns:
        None when the trace has no duration.
    """
    if trace.duration is None:
        return None
    first = min(attached_at, trace.started_at) if trace.started_at else attached_at
    return first + timedelta(seconds=trace.duration)
