"""What the nodes of a trace report, sorted out: who is desired, who is attached, who failed, whose counts are merged.

tally = take(trace, digest, nodes, reports)
tally.attached -> {"a", "b"}      tally.failures -> {"c": Failure("VerifierRejected", "…")}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kubebpf.operator.kernels import NONE, UNFIT, Variants
from kubebpf.operator.merge import Maps, disagreement
from kubebpf.operator.model import Node, Report, Trace, TraceSpec, report_name, selected
from kubebpf.operator.outcome import Artifact, Refused
from kubebpf.operator.state import NodeState, read_identity, read_report
from kubebpf.operator.values import BadValueError

AHEAD = timedelta(minutes=5)  # that a node's clock may be before the operator's


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a node does not count."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The nodes of one generation of a trace.

    Args:
        desired: the nodes that should trace.
        states: of the desired nodes that reported about this generation and object, readable and in agreement.
        failures: of nodes that say they failed, or whose report cannot be used.
        generation: that the reports are about.
    """

    desired: frozenset[str] = frozenset()
    states: Mapping[str, NodeState] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    generation: int = 0

    def _in(self, *phases: str) -> frozenset[str]:
        return frozenset(node for node, state in self.states.items() if state.phase in phases)

    @property
    def attached(self) -> frozenset[str]:
        """Nodes that trace or have traced to the end."""
        return self._in("Attached", "Completed")

    @property
    def running(self) -> frozenset[str]:
        """Nodes that trace now."""
        return self._in("Attached")

    @property
    def completed(self) -> frozenset[str]:
        """Nodes that have traced to the end."""
        return self._in("Completed")

    @property
    def pending(self) -> frozenset[str]:
        """Desired nodes of which nothing final is known yet."""
        return self.desired - self.attached - self.failures.keys()

    @property
    def heard(self) -> frozenset[str]:
        """Nodes that attached or failed."""
        return self.attached | self.failures.keys()

    @property
    def remarks(self) -> Mapping[str, Failure]:
        """What attached nodes have to say: no pod matches there, or not all that is meant can be counted."""
        return {node: Failure(s.reason, s.message) for node, s in self.states.items() if s.phase == "Attached" and s.reason}

    @property
    def exit_codes(self) -> Mapping[str, int]:
        """By node, where exit() ran."""
        return {node: state.exit_code for node, state in self.states.items() if state.exit_code is not None}

    @property
    def merging(self) -> Sequence[NodeState]:
        """The states whose maps are merged, by node: a failed node's counts up to its failure are as true as others."""
        return [self.states[node] for node in sorted(self.states)]

    def first_start(self) -> datetime | None:
        """The earliest start that an attached node reported."""
        return min((s.started_at for s in self.states.values() if s.started_at and s.phase != "Failed"), default=None)


def take(
    trace: Trace,
    digest: str,
    nodes: Iterable[Node],
    reports: Iterable[Report],
    generation: int | None = None,
    now: datetime | None = None,
    read: Callable[[Report], NodeState] = read_report,
    variants: Variants = NONE,
    refused: Refused | None = None,
) -> Tally:
    """Sort out the reports of one trace.

    Args:
        digest: of the default object; reports about another one are old and do not count. "" when there is none.
        nodes: all nodes of the cluster.
        reports: those that name the trace's uid (others are skipped).
        generation: whose reports to count; the trace's own by default.
        now: what is far beyond it comes from a wrong clock and is not used; None: nothing is.
        read: gives a report's state, or raises BadValueError.
        variants: the objects for other kernels, which count likewise.
        refused: why there is no default object.
    """
    if trace.spec is None:
        return Tally()
    wanted = generation if generation is not None else trace.generation
    kernel_of = variants.kernel_of()
    digests = variants.digests(digest)
    current = _current(trace, digests, wanted, reports)
    old = {node for node, report in current.items() if _is_outdated(report, variants.objects.get(kernel_of.get(node, "")))}
    desired = _desired(trace.spec, nodes, current.keys())
    states, failures = _read([current[node] for node in sorted(current) if node in desired - old], now, read)
    if digests:
        for node in desired:
            _judge_kernel(node, kernel_of.get(node, ""), digest, variants, refused, states, failures)
    return Tally(desired, states, failures, wanted)


def _is_outdated(report: Report, own: Artifact | None) -> bool:
    """Whether the report says that the default object fails, where the node has an object of its own now."""
    said = report.head
    return own is not None and said.get("phase") == "Failed" and said.get("digest") not in (own.digest, None, "")


def _judge_kernel(
    node: str,
    kernel: str,
    digest: str,
    variants: Variants,
    refused: Refused | None,
    states: dict[str, NodeState],
    failures: dict[str, Failure],
) -> None:
    """Say of a node that lacks an object for its kernel why; nothing when that is about to come."""
    if kernel in variants.objects or (node in states and states[node].phase != "Failed"):
        return  # what it reports about is an object that counts, whatever is known of its kernel now
    unfit = node in failures and failures[node].reason in UNFIT
    if digest and not unfit:
        return
    why = variants.refused.get(kernel) or (None if digest else refused)
    if kernel in variants.awaited:
        why = None
        states.pop(node, None)
        failures.pop(node, None)
    if why:
        failures[node] = Failure(why.reason, why.first_line())


def _current(trace: Trace, digests: Set[str], generation: int, reports: Iterable[Report]) -> dict[str, Report]:
    chosen: dict[str, Report] = {}
    for report in sorted(reports, key=lambda report: (_is_own(trace, report), report.name), reverse=True):
        identity = read_identity(report.head)
        # A Failed report may lack the digest: the object could not be fetched or verified.
        fits = identity.digest in digests or (not identity.digest and report.head.get("phase") == "Failed")
        if report.trace_uid == trace.key.uid and identity.generation == generation and digests and fits:
            chosen.setdefault(report.node, report)
    return chosen


def _is_own(trace: Trace, report: Report) -> bool:
    # Of two reports that name the same node, the one with the node's own name counts.
    return report.name == report_name(trace.key.name, trace.key.uid, report.node)


def _desired(spec: TraceSpec, nodes: Iterable[Node], reporting: Iterable[str]) -> frozenset[str]:
    known = frozenset(reporting)
    return frozenset(node.name for node in nodes if selected(node, spec) and (node.ready or node.name in known))


def _read(
    reports: Iterable[Report], now: datetime | None, read: Callable[[Report], NodeState]
) -> tuple[dict[str, NodeState], dict[str, Failure]]:
    states: dict[str, NodeState] = {}
    failures: dict[str, Failure] = {}
    for report in reports:
        try:
            state = read(report)
            _check_times(state, now)
        except BadValueError as error:
            failures[report.node] = Failure("BadReport", f"the report cannot be used: {error}")
            continue
        states[report.node] = state
        if state.phase == "Failed":
            failures[report.node] = Failure(state.reason or "Unknown", state.message)
    for node, why in _outvoted(states).items():
        del states[node]
        failures[node] = Failure("BadReport", f"the report disagrees with those of other nodes: {why}")
    return states, failures


def _check_times(state: NodeState, now: datetime | None) -> None:
    # Its times would be shown as everyone's newest, and its lines would push out those of all other nodes.
    times = [line.moment for line in state.recent] + ([state.observed_at] if state.observed_at else [])
    latest = max(times, default=None)
    if now and latest and latest > now + AHEAD:
        raise BadValueError(f"it comes from the future ({latest:%Y-%m-%dT%H:%M:%SZ}): the node's clock is wrong")


def _outvoted(states: Mapping[str, NodeState]) -> dict[str, str]:
    """Nodes whose maps have another form than those of the majority: one bad report must not push the good ones out."""
    agreed = _majority(states)
    return {node: why for node, state in states.items() if (why := disagreement(agreed, state.maps))}


def _majority(states: Mapping[str, NodeState]) -> Maps:
    # Of equal parties the one with the first node in alphabetical order wins, which `max` over the sorted nodes gives.
    votes: dict[str, dict[str, list[str]]] = {}
    for node in sorted(states):
        for name, item in states[node].maps.items():
            votes.setdefault(name, {}).setdefault(repr(item.schema), []).append(node)
    winners = {name: max(by.values(), key=len) for name, by in votes.items()}
    return {name: states[nodes[0]].maps[name] for name, nodes in winners.items()}
