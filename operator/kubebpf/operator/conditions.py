"""Conditions by the Kubernetes API conventions, and what makes a set of them readable for kstatus.

Every condition that a trace can have is declared here with its meaning. All of them are always present, so that no tool takes
a new object for a current one.

Sources: KEP-1623 (fields of a condition), sigs.k8s.io/cli-utils pkg/kstatus (Reconciling and Stalled are abnormal-true).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from kubebpf.operator.model import format_time

Truth = Literal["True", "False", "Unknown"]

COMPILED = "Compiled"
"""The program became an object. False: the message has every complaint with line, column and a caret. True: its
warnings likewise, after a line about the object."""
ATTACHED = "Attached"
"""Every desired node traces, or has traced to the end."""
READY = "Ready"
"""Compiled, and attached wherever it can be; also when finished or suspended. What `kubectl wait` looks at."""
RECONCILING = "Reconciling"
"""Work is under way and will go on by itself: compiling, attaching, waiting for last reports."""
STALLED = "Stalled"
"""Nothing will happen until a person changes something: the program, the selector's nodes, the permission."""
DEGRADED = "Degraded"
"""Some nodes failed or sent reports that cannot be read; the results lack them."""
SUCCEEDED = "Succeeded"
"""Unknown while it runs. True once it has ended and the results are final; False when exit() gave a code other than 0."""

TYPES = (COMPILED, ATTACHED, READY, RECONCILING, STALLED, DEGRADED, SUCCEEDED)

MESSAGE_LIMIT = 8 * 1024  # bytes; only Compiled has a long message: complaints, or warnings beside an object


@dataclass(frozen=True, slots=True)
class Condition:
    """What a condition should say now; times and generations are put on by `stamp`."""

    status: Truth
    reason: str
    message: str


Wanted = Mapping[str, Condition]


def stamp(wanted: Wanted, previous: object, generation: int, now: datetime) -> list[dict[str, Any]]:
    """Conditions as they stand in a status, in the order of TYPES.

    lastTransitionTime moves only when `status` does (API conventions, "typical status properties"); the same wish over the same
    previous conditions therefore gives the same bytes at any later time.

    Args:
        previous: the conditions of the present status, as read; anything malformed counts as absent.
        generation: of the trace.
        now: for conditions whose status is new.
    """
    old = _by_type(previous)
    return [_stamped(name, wanted[name], old.get(name, {}), generation, now) for name in TYPES]


def _stamped(name: str, wanted: Condition, old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    kept = old.get("lastTransitionTime") if old.get("status") == wanted.status else None
    return {
        "type": name,
        "status": wanted.status,
        "observedGeneration": generation,
        "lastTransitionTime": kept or format_time(now),
        "reason": wanted.reason,
        "message": shorten(wanted.message, MESSAGE_LIMIT),
    }


def read_condition(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The condition of that type in a status, {} when there is none."""
    return _by_type(status.get("conditions")).get(name, {})


def _by_type(raw: object) -> dict[str, Mapping[str, Any]]:
    rows = raw if isinstance(raw, list) else []
    return {row["type"]: row for row in rows if isinstance(row, Mapping) and isinstance(row.get("type"), str)}


def shorten(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, cut at a whole line where possible, saying how much was left out."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    head = data[: max(limit - 32, 0)]
    cut = head.rfind(b"\n")
    head = head[:cut] if cut > limit // 2 else head
    return f"{head.decode('utf-8', 'ignore')}\n({len(data) - len(head)} bytes omitted)"
