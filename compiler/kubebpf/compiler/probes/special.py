"""begin and end: they run once on each node, in the tracer itself, before the first and after the last other probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes.record import Provider, Target
from kubebpf.compiler.syntax import tree

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    if node.parts:
        t.complain(BadAttachPoint(span=node.span, problem=f"{node.provider} probes take no further parts"))
        return None
    return Target(BEGIN if node.provider == "begin" else END, node.provider, node)


def _section(target: Target) -> str:
    return "raw_tp"  # loaded as a raw tracepoint and run by BPF_PROG_TEST_RUN; attached to nothing


BEGIN = Provider("begin", _check, _section, scoped=False, current_is_cause=False, stops=False)
END = Provider("end", _check, _section, scoped=False, current_is_cause=False, stops=False)
