"""Probes without a place in the kernel: the tracer runs their programs itself, by BPF_PROG_TEST_RUN.

begin, end                before the first and after the last other probe, once on each node
self:signal:SIGUSR1       whenever the tracer gets the signal
test:NAME                 with --test: it passes when it returns 0
bench:NAME                with --bench: how long a run takes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes.record import Provider, Target
from kubebpf.compiler.syntax import tree

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

SIGNALS = ("SIGUSR1",)
_TAKES = {"begin": 0, "end": 0, "self": 2, "test": 1, "bench": 1}


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    wanted, found = _TAKES[node.provider], len(node.parts)
    problem = f"{node.provider} probe type requires {wanted} argument{'s' * (wanted != 1)}, found {found}"
    if found == wanted:
        problem = _trigger(node.parts) if node.provider == "self" else ""
    if found == wanted and not all(node.parts):
        problem = f"{node.provider} probes must have a name"
    if problem:
        hint = (f"Write self:signal:{SIGNALS[0]}.",) if node.provider == "self" else ()
        t.complain(BadAttachPoint(span=node.span, problem=problem, help=hint))
        return None
    parts: dict[str, str | int] = {}
    if node.provider == "self":
        parts = {"signal": node.parts[1]}
    elif wanted:
        parts = {"name": node.parts[0]}
    return Target(RECORDS[node.provider], ":".join((node.provider, *node.parts)), node, parts)


def _trigger(parts: tuple[str, ...]) -> str:
    """What is wrong with what a self probe waits for."""
    if parts[0] != "signal":
        return f"{parts[0]} is not a supported trigger"
    return "" if parts[1] in SIGNALS else f"{parts[1]} is not a supported signal"


def _raw(target: Target) -> str:
    return "raw_tp"  # loaded as a raw tracepoint and run by BPF_PROG_TEST_RUN; attached to nothing


def _packet(target: Target) -> str:
    return "xdp"  # the kernel runs these many times in one call, and takes the time


def _record(name: str) -> Provider:
    section = _packet if name == "bench" else _raw
    return Provider(name, _check, section, scoped=False, current_is_cause=False, stops=name == "self")


RECORDS = {name: _record(name) for name in _TAKES}
BEGIN, END = RECORDS["begin"], RECORDS["end"]
