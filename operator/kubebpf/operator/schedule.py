"""Traces that run again and again: `spec.schedule` makes a trace of its own for every turn, as a CronJob makes Jobs.

    turn(schedule, after=…, now=…)  -> Turn(due=2026-11-22T10:00, next=2026-11-22T11:00)

The turn's trace is named after its time, so that a turn happens once, whoever looks how often. Times are UTC. A turn that finds
the one before still running is left out; one that nobody was there to start is made up for during five minutes, and then left
out too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError

from kubebpf.operator.conditions import SUCCEEDED, read_condition
from kubebpf.operator.model import API_VERSION, Json, Trace, TraceKey

LATE = timedelta(minutes=5)
# Of the parent's spec, what its turns do not have.
OWN = ("schedule", "historyLimit", "suspend")


@dataclass(frozen=True, slots=True)
class Turn:
    """Turns around now.

    Args:
        due: the latest one that has come and is not too late; None when there is none.
        next: the first one after now.
    """

    due: datetime | None
    next: datetime


def turn(schedule: str, after: datetime, now: datetime) -> Turn:
    """The turns of a schedule.

    Args:
        schedule: five fields of cron(5).
        after: turns until then have been dealt with.

    Raises:
        CronSimError: it is no schedule.
    """
    now = now.astimezone(UTC)
    times = CronSim(schedule, max(after.astimezone(UTC), now - LATE))
    due = None
    for moment in times:
        if moment > now:
            return Turn(due, moment)
        due = moment
    raise CronSimError("it never comes")


def schedule_problem(schedule: str) -> str:
    """What is wrong with a schedule; "" when nothing is."""
    try:
        turn(schedule, datetime.now(UTC), datetime.now(UTC))
    except CronSimError as error:
        return f"not a schedule of five cron fields in UTC, for example */15 * * * *: {error}"
    return ""


def turn_name(name: str, at: datetime) -> str:
    """The name of a turn's trace: the minutes since 1970 are what a CronJob's Jobs have, too."""
    return f"{name[:220]}-{int(at.timestamp()) // 60}"


def turn_object(body: Mapping[str, Any], key: TraceKey, at: datetime, annotations: Mapping[str, str]) -> Json:
    """The trace of a turn.

    Args:
        body: of the parent.
        annotations: what the turn's trace is to have.
    """
    owner = {"apiVersion": API_VERSION, "kind": key.kind, "name": key.name, "uid": key.uid, "controller": True}
    meta = body.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), "kubebpf.dev/schedule": key.name[:63].rstrip("-.")}
    made: Json = {"name": turn_name(key.name, at), "labels": labels, "ownerReferences": [owner]}
    made |= {"namespace": key.namespace} if key.scoped else {}
    made |= {"annotations": dict(annotations)} if annotations else {}
    return {"apiVersion": API_VERSION, "kind": key.kind, "metadata": made, "spec": turn_spec(body.get("spec") or {})}


def turn_spec(spec: Mapping[str, Any]) -> Json:
    """The parent's spec as its turns have it."""
    return {name: value for name, value in spec.items() if name not in OWN}


def is_over(trace: Trace) -> bool:
    """Whether a trace has ended for good."""
    return read_condition(trace.status, SUCCEEDED).get("status") in ("True", "False")


def surplus(turns: Iterable[Trace], limit: int) -> list[Trace]:
    """The ended turns beyond the `limit` newest, oldest first."""
    over = sorted((trace for trace in turns if is_over(trace)), key=lambda trace: (trace.created, trace.key.name))
    return over[: max(len(over) - limit, 0)]
