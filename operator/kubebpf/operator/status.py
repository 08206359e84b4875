"""The status that a trace should have: a pure function of the trace, the nodes, the reports and the compiler's answer.

    desired_status(Facts(trace, desired=frozenset({"a", "b"}), reports=[...], compiled=Compiled(...), now=now))
    -> {"observedGeneration": 3, "conditions": [...], "nodes": {"summary": "2/2", ...}, "results": {...}, ...}

The same facts give the same status at any time, except that `now` decides when a duration is over. The states, and who may end
a trace: docs/design/2026-11-22-life-of-a-trace.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kubebpf.operator.conditions import (
    ATTACHED,
    COMPILED,
    DEGRADED,
    READY,
    RECONCILING,
    STALLED,
    SUCCEEDED,
    Condition,
    read_condition,
    shorten,
    stamp,
)
from kubebpf.operator.kernels import MOST, NONE, Variants
from kubebpf.operator.model import Json, Trace, TraceSpec, format_time, parse_time
from kubebpf.operator.outcome import Artifact, Outcome, Refused
from kubebpf.operator.results import results_of, size_of
from kubebpf.operator.tally import Tally

GRACE = timedelta(seconds=30)  # for last reports after the end; an agent needs one interval and a write
NODE_ERRORS = 10
NO_PODS = "NoMatchingPods"  # an agent's word for a node where nothing is selected
LACKING = "BinaryMissing"  # some of a node's containers do not have what is probed
NODE_ERROR_LIMIT = 400  # bytes of one node's message


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a status depends on.

    Args:
        tally: the nodes and what they reported, sorted out for the trace's generation and object.
        counted: the nodes whose counts are shown, when they are others: those of the generation before a trace was suspended.
        outcome: of the compilation of this generation.
        now: the operator's clock.
        schedule: of a trace with a schedule, its turns, as in the status.
        grace: for last reports after the end.
        variants: the kernels of the nodes, and the objects that some have of their own.
    """

    trace: Trace
    tally: Tally
    outcome: Outcome
    now: datetime
    counted: Tally | None = None
    schedule: Json | None = None
    grace: timedelta = GRACE
    variants: Variants = NONE

    @property
    def has_object(self) -> bool:
        """Whether there is something that some node can run."""
        return isinstance(self.outcome, Artifact) or bool(self.variants.objects)


@dataclass(frozen=True, slots=True)
class Times:
    """When the present generation started and ended, as far as it did."""

    started: datetime | None = None
    completed: datetime | None = None


def desired_status(facts: Facts) -> Json:
    """The whole status that the trace should have now. Sizes are bounded: about 32 KiB of JSON."""
    trace = facts.trace
    times = _times(facts)
    wanted = _conditions(facts, times)
    status: Json = {
        "observedGeneration": trace.generation,
        "conditions": stamp(wanted, trace.status.get("conditions"), trace.generation, facts.now),
    }
    if isinstance(facts.outcome, Artifact):
        status["artifact"] = facts.outcome.write()
    if facts.variants.objects:
        status["variants"] = [{"btf": btf} | found.write() for btf, found in sorted(facts.variants.objects.items())]
    if times.started:
        status["startedAt"] = format_time(times.started)
    if times.completed:
        status["completedAt"] = format_time(times.completed)
    if facts.schedule:
        status["schedule"] = facts.schedule
    frozen = times.completed is not None or facts.counted is not None
    taken = size_of(status.get("variants", []))
    return status | _nodes(facts, times) | results_of(trace, facts.counted or facts.tally, frozen, taken)


def next_look(facts: Facts, status: Json) -> float | None:
    """Seconds until time alone may change the status: the duration's end or the grace's; None when it cannot."""
    started, completed = parse_time(status.get("startedAt")), parse_time(status.get("completedAt"))
    duration = facts.trace.spec.duration if facts.trace.spec else None
    if completed:
        over = read_condition(status, SUCCEEDED).get("status") != "Unknown"
        return None if over else max((completed + facts.grace - facts.now).total_seconds(), 0.0)
    if started and duration is not None:
        return max((started + timedelta(seconds=duration) - facts.now).total_seconds(), 0.0)
    return None


# -- times


def _same_generation(trace: Trace) -> bool:
    return trace.status.get("observedGeneration") == trace.generation


def _times(facts: Facts) -> Times:
    trace, spec = facts.trace, facts.trace.spec
    kept = trace.status if _same_generation(trace) else {}
    started, completed = parse_time(kept.get("startedAt")), parse_time(kept.get("completedAt"))
    if completed or spec is None or spec.suspend or spec.schedule or not facts.has_object:
        return Times(started, completed)
    if started is None and facts.tally.attached:
        started = _first_start(facts)
    return Times(started, _cut(facts.now) if started and _has_ended(facts, spec, started) else None)


def _first_start(facts: Facts) -> datetime:
    said = facts.tally.first_start()
    # A node's clock can be wrong: what lies outside the trace's life is replaced by the operator's own time.
    return _cut(said if said and facts.trace.created <= said <= facts.now else facts.now)


def _cut(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _has_ended(facts: Facts, spec: TraceSpec, started: datetime) -> bool:
    tally = facts.tally
    if spec.duration is not None and facts.now >= started + timedelta(seconds=spec.duration):
        return True
    if spec.exit_policy == "Cluster" and tally.exit_codes:
        return True
    return bool(tally.completed) and not tally.running and not tally.pending


# -- conditions


def _conditions(facts: Facts, times: Times) -> dict[str, Condition]:
    trace, outcome = facts.trace, facts.outcome
    if not facts.has_object and isinstance(outcome, Refused):
        return _awaiting_types(outcome, len(facts.variants.awaited)) if facts.variants.awaited else _refused(outcome)
    if not facts.has_object:
        return _compiling()
    base: dict[str, Condition] = {COMPILED: _compiled(facts), DEGRADED: _degraded(facts.tally)}
    if trace.spec and trace.spec.suspend:
        return base | _suspended(facts.tally)
    if trace.spec and trace.spec.schedule:
        return base | _scheduled(trace.spec.schedule)
    if times.completed:
        return base | _ended(facts, times.completed)
    return base | _running(facts.tally)


# A message is never empty: API servers exist that take an empty string for null.
NO_FAILURES = Condition("False", "NoFailures", "no node has failed")
PROGRESSING = Condition("False", "Progressing", "work is under way")
SETTLED = Condition("False", "Settled", "nothing is left to do")
RUNNING = Condition("Unknown", "Running", "the trace is running")


def _compiled(facts: Facts) -> Condition:
    before = read_condition(facts.trace.status, COMPILED)
    if "completedAt" in facts.trace.status and _same_generation(facts.trace) and before.get("status") == "True":
        return Condition("True", "Compiled", before["message"])  # of the nodes that there were
    default, objects = facts.outcome, facts.variants.objects
    artifact = default if isinstance(default, Artifact) else None
    said = f"the object has {artifact.size} bytes" if artifact else "the operator's own kernel does not take the program"
    if facts.variants.unlike:
        count = f"{facts.variants.served(default)} of the nodes' {len(facts.variants.kernels)} kernels are served"
        said = f"{said}; {len(objects)} made for other kernels: {count}"
    if facts.variants.left_out:
        said = f"{said}; {MOST} are the most, those of most nodes ({len(facts.variants.left_out)} kernels are left out)"
    warnings = artifact.warnings if artifact else next((one.warnings for _, one in sorted(objects.items())), "")
    return Condition("True", "Compiled", f"{said}\n{warnings}" if warnings else said)


def _awaiting_types(refused: Refused, count: int) -> dict[str, Condition]:
    kernels = "another kernel" if count == 1 else f"{count} other kernels"
    said = f"the operator's own kernel does not have all that the program needs; the types of {kernels} are awaited"
    waiting = Condition("Unknown", "WaitingForKernelTypes", said)
    return _compiling() | {
        COMPILED: Condition("Unknown", waiting.reason, f"{said}\n{refused.message}"),
        ATTACHED: Condition("False", waiting.reason, said),
        READY: waiting,
        RECONCILING: Condition("True", waiting.reason, said),
        SUCCEEDED: waiting,
    }


def _compiling() -> dict[str, Condition]:
    waiting = Condition("Unknown", "Compiling", "the program is being compiled")
    return {
        COMPILED: waiting,
        ATTACHED: Condition("False", "Compiling", waiting.message),
        READY: waiting,
        RECONCILING: Condition("True", "Compiling", waiting.message),
        STALLED: PROGRESSING,
        DEGRADED: NO_FAILURES,
        SUCCEEDED: waiting,
    }


def _refused(outcome: Refused) -> dict[str, Condition]:
    first = outcome.message.split("\n", 1)[0]
    short = shorten(first, 500)
    return {
        COMPILED: Condition("False", outcome.reason, outcome.message),
        ATTACHED: Condition("False", outcome.reason, "there is no object to attach"),
        READY: Condition("False", outcome.reason, short),
        RECONCILING: Condition("False", outcome.reason, short),
        STALLED: Condition("True", outcome.reason, short),
        DEGRADED: NO_FAILURES,
        SUCCEEDED: Condition("Unknown", outcome.reason, short),
    }


def _degraded(tally: Tally) -> Condition:
    if not tally.failures:
        return _limited(tally)
    names = sorted(tally.failures)
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Condition("True", "NodesFailed", f"{len(names)} of {len(tally.desired)} nodes failed: {listed}")


def _limited(tally: Tally) -> Condition:
    """Nodes that are attached and do not count all that is meant."""
    limited = {node: remark for node, remark in sorted(tally.remarks.items()) if remark.reason not in (NO_PODS, LACKING)}
    if not limited:
        return NO_FAILURES
    node, remark = next(iter(limited.items()))
    return Condition(
        "True", remark.reason, shorten(f"{len(limited)} of {len(tally.desired)} nodes: {remark.message} ({node})", 500)
    )


def _suspended(tally: Tally) -> dict[str, Condition]:
    return {
        ATTACHED: Condition("False", "Suspended", "spec.suspend is true"),
        READY: Condition("True", "Suspended", "nothing is attached, as asked"),
        RECONCILING: Condition("False", "Suspended", "spec.suspend is true"),
        STALLED: Condition("False", "Suspended", "spec.suspend is true"),
        SUCCEEDED: Condition("Unknown", "Suspended", "spec.suspend is true"),
    }


def _scheduled(schedule: str) -> dict[str, Condition]:
    said = f"turns run as traces of their own at {schedule} (UTC); status.schedule names them"
    return {
        ATTACHED: Condition("False", "Scheduled", said),
        READY: Condition("True", "Scheduled", said),
        RECONCILING: SETTLED,
        STALLED: SETTLED,
        SUCCEEDED: Condition("Unknown", "Scheduled", said),
    }


def _running(tally: Tally) -> dict[str, Condition]:
    if not tally.desired:
        return _waiting("NoMatchingNodes", "no node matches spec.target.nodeSelector")
    if tally.pending:
        return _waiting("Attaching", f"{len(tally.attached)} of {len(tally.desired)} nodes are attached")
    if not tally.attached:
        return _all_failed(tally)
    whole = len(tally.attached) == len(tally.desired)
    reason = "AllNodesAttached" if whole else "SomeNodesFailed"
    counts = f"{len(tally.attached)} of {len(tally.desired)} nodes are attached"
    if whole and all(tally.remarks.get(node) and tally.remarks[node].reason == NO_PODS for node in tally.attached):
        # Not an error: pods may come.
        reason, counts = NO_PODS, f"{counts}, and no pod matches the target"
    return {
        ATTACHED: Condition("True" if whole else "False", reason, counts),
        READY: Condition("True", reason, counts),
        RECONCILING: SETTLED,
        STALLED: SETTLED,
        SUCCEEDED: RUNNING,
    }


def _waiting(reason: str, message: str) -> dict[str, Condition]:
    return {
        ATTACHED: Condition("False", reason, message),
        READY: Condition("False", reason, message),
        RECONCILING: Condition("True", reason, message),
        STALLED: PROGRESSING,
        SUCCEEDED: RUNNING,
    }


def _all_failed(tally: Tally) -> dict[str, Condition]:
    message = f"none of {len(tally.desired)} nodes could attach; status.nodeErrors says why"
    return {
        ATTACHED: Condition("False", "AllNodesFailed", message),
        READY: Condition("False", "AllNodesFailed", message),
        RECONCILING: Condition("False", "AllNodesFailed", message),
        STALLED: Condition("True", "AllNodesFailed", message),
        SUCCEEDED: Condition("Unknown", "AllNodesFailed", message),
    }


def _ended(facts: Facts, completed: datetime) -> dict[str, Condition]:
    trace, tally = facts.trace, facts.tally
    said = read_condition(trace.status, SUCCEEDED)
    settled = _same_generation(trace) and said.get("status") in ("True", "False")
    if not settled and tally.running and facts.now < completed + facts.grace:
        return _finishing(tally)
    attached = Condition("False", "Completed", "the trace has ended")
    code = max(tally.exit_codes.values(), key=abs, default=0)
    if code == 0 and not (settled and said["status"] == "False"):
        return _terminal(attached, Condition("True", "Completed", "the trace has ended; its results are final"))
    failure = said["message"] if settled and not code else f"exit() gave the code {code}"
    return _terminal(attached, Condition("False", "NonZeroExit", failure))


def _finishing(tally: Tally) -> dict[str, Condition]:
    message = f"the trace has ended; the last reports of {len(tally.running)} nodes are awaited"
    return {
        ATTACHED: Condition("False", "Completed", "the trace has ended"),
        READY: Condition("True", "Finishing", message),
        RECONCILING: Condition("True", "Finishing", message),
        STALLED: PROGRESSING,
        SUCCEEDED: Condition("Unknown", "Finishing", message),
    }


def _terminal(attached: Condition, succeeded: Condition) -> dict[str, Condition]:
    good = succeeded.status == "True"
    return {
        ATTACHED: attached,
        READY: succeeded,
        RECONCILING: Condition("False", succeeded.reason, succeeded.message),
        STALLED: Condition("False" if good else "True", succeeded.reason, succeeded.message),
        SUCCEEDED: succeeded,
    }


# -- nodes


def _nodes(facts: Facts, times: Times) -> Json:
    tally, kept = facts.tally, facts.trace.status
    if times.completed and _same_generation(facts.trace) and _lost_some(kept, tally):
        # Nodes and reports may go once a trace has ended; what they did stays.
        return {name: kept[name] for name in ("nodes", "nodeErrors") if name in kept}
    desired = len(tally.heard) if times.completed else len(tally.desired)
    counts = {
        "desired": desired,
        "attached": len(tally.attached),
        "failed": len(tally.failures),
        "completed": len(tally.completed),
    }
    errors = [
        {
            "node": node,
            "reason": failure.reason,
            "message": shorten(failure.message, NODE_ERROR_LIMIT) or "the node gives no reason",
        }
        for node, failure in sorted(tally.failures.items())[:NODE_ERRORS]
    ]
    nodes: dict[str, Any] = {"nodes": {"summary": f"{len(tally.attached)}/{desired}"} | counts}
    return nodes | ({"nodeErrors": errors} if errors else {})


def _lost_some(kept: Json, tally: Tally) -> bool:
    before = kept.get("nodes")
    return isinstance(before, dict) and (before.get("attached") or 0) > len(tally.attached)
