"""A node's part of a trace, read from the status of its report.

read_state({"phase": "Attached", "generation": 3, "digest": "sha256:…", "maps": []}, "a").phase  ->  "Attached"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubebpf.operator.merge import Maps, read_maps
from kubebpf.operator.model import PHASES, Phase, Report, is_int, parse_time
from kubebpf.operator.values import BadValueError, Json, read_count

REPORT_LIMIT = 512 * 1024  # bytes of JSON; agents keep to 32 KiB
LINES_LIMIT = 500
LOSSES = ("events", "mapFull", "missed")
_LINE_TEXTS = {"kind": 32, "text": 8192, "namespace": 63, "pod": 253, "container": 63}


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line; `time` is as the node wrote it."""

    time: str
    moment: datetime
    node: str
    texts: tuple[tuple[str, str], ...]

    def write(self) -> Json:
        """The JSON form in a status."""
        return {"time": self.time, "node": self.node} | dict(self.texts)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which state of which object a report is about."""

    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """What one node says. Times are None when it says none or none that can be read."""

    node: str
    phase: Phase
    reason: str
    message: str
    started_at: datetime | None
    observed_at: datetime | None
    exit_code: int | None
    maps: Maps
    recent: tuple[Line, ...]
    lost: Mapping[str, int]


def read_identity(status: Mapping[str, Any]) -> Identity:
    """Generation and digest of a report, 0 and "" when it has none yet."""
    generation, digest = status.get("generation"), status.get("digest")
    return Identity(generation if is_int(generation) else 0, digest if isinstance(digest, str) else "")


def read_report(report: Report) -> NodeState:
    """The state in a report.

    Raises:
        BadValueError: as read_state, or it is too large.
    """
    if report.size > REPORT_LIMIT:
        raise BadValueError(f"it has {report.size} bytes, more than {REPORT_LIMIT}")
    return read_state(report.status, report.node)


def read_state(status: Mapping[str, Any], node: str) -> NodeState:
    """The state in a report's status.

    Raises:
        BadValueError: something in it has the wrong type, an unknown kind or an impossible number; the text says what.
    """
    phase = status.get("phase", "Pending")
    if phase not in PHASES:
        raise BadValueError(f"the unknown phase {str(phase)[:40]!r}")
    exit_code = status.get("exitCode")
    if exit_code is not None and (not is_int(exit_code) or abs(exit_code) >= 2**31):
        raise BadValueError("exitCode is no 32-bit number")
    return NodeState(
        node=node,
        phase=phase,
        reason=_text(status, "reason", 256),
        message=_text(status, "message", 16384),
        started_at=parse_time(status.get("startedAt")),
        observed_at=parse_time(status.get("observedAt")),
        exit_code=exit_code,
        maps=read_maps(status.get("maps") or [], node),
        recent=_read_lines(status.get("recent") or [], node),
        lost=_read_lost(status.get("lost") or {}),
    )


def _text(raw: Mapping[str, Any], name: str, limit: int) -> str:
    text = raw.get(name) or ""
    if not isinstance(text, str) or len(text) > limit:
        raise BadValueError(f"{name} is no string of at most {limit} characters")
    return text


def _read_lines(raw: object, node: str) -> tuple[Line, ...]:
    if not isinstance(raw, list) or len(raw) > LINES_LIMIT or not all(isinstance(line, Mapping) for line in raw):
        raise BadValueError(f"recent is no list of at most {LINES_LIMIT} lines")
    return tuple(_read_line(line, node) for line in raw)


def _read_line(raw: Mapping[str, Any], node: str) -> Line:
    moment = parse_time(raw.get("time"))
    if moment is None:
        raise BadValueError("a line of recent has no RFC 3339 time")
    texts = [(name, _text(raw, name, limit)) for name, limit in _LINE_TEXTS.items()]
    return Line(raw["time"], moment, node, tuple((name, text) for name, text in texts if text or name == "text"))


def _read_lost(raw: object) -> Mapping[str, int]:
    if not isinstance(raw, Mapping):
        raise BadValueError("lost is no object")
    return {name: read_count(raw.get(name, "0")) for name in LOSSES}
