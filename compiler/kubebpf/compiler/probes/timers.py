"""interval, profile, software and hardware: programs that a counter of perf_event_open(2) calls.

interval:s:1    once a second, on one CPU          profile:hz:99    99 times a second, on every CPU
interval:5ms    a duration with its unit           software:cs:10   on every tenth context switch
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint, UnknownProbe
from kubebpf.compiler.kernel import perf
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.probes.functions import saved_registers
from kubebpf.compiler.probes.parts import full_text, number_of
from kubebpf.compiler.probes.record import Provider, Target
from kubebpf.compiler.syntax import tree

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
SHORTEST_NS = 1000


_RATES = "s:1 is every second, hz:99 is 99 times a second, 10ms is every 10 ms; a number alone counts nanoseconds."


def _refuse(t: Typing, node: tree.AttachPoint, problem: str, *help_: str) -> Target | None:
    t.complain(BadAttachPoint(span=node.span, problem=problem, help=help_))
    return None


def _check_timer(t: Typing, node: tree.AttachPoint) -> Target | None:
    provider = INTERVAL if node.provider == "interval" else PROFILE
    match node.parts:
        case (unit, count) if unit in UNITS or unit == "hz":
            n = number_of(count)
        case (_, _):
            return _refuse(t, node, f"{node.provider} probe has an invalid unit: use one of us, ms, s, hz")
        case (count,):
            unit, n = "ns", number_of(count)
        case _:
            return _refuse(t, node, f"{node.provider} probe must have a rate: {node.provider}:s:1 or {node.provider}:10ms")
    if n is None or n <= 0:
        return _refuse(t, node, f"{node.provider} probe has an invalid rate: it must be a positive number", _RATES)
    if unit == "hz":
        return Target(provider, full_text(node), node, {"hz": n})
    if n * UNITS[unit] < SHORTEST_NS:
        return _refuse(t, node, f"{node.provider} probe must be at least 1us (1000 nanoseconds)", _RATES)
    return Target(provider, full_text(node), node, {"period_ns": n * UNITS[unit]})


def _check_counter(t: Typing, node: tree.AttachPoint) -> Target | None:
    provider, events = (SOFTWARE, perf.SOFTWARE) if node.provider == "software" else (HARDWARE, perf.HARDWARE)
    if not 1 <= len(node.parts) <= 2:
        return _refuse(
            t, node, f"{node.provider} probe must have an event and at most a count: {node.provider}:{events[0].name}:100"
        )
    event = perf.find(events, node.parts[0])
    if event is None:
        name, known = node.parts[0], perf.names(events)
        t.complain(UnknownProbe(span=node.span, what=f"{node.provider} event", name=name, help=did_you_mean(name, known)))
        return None
    count = number_of(node.parts[1]) if len(node.parts) == 2 and node.parts[1] else event.count
    if count is None or count <= 0:
        return _refuse(t, node, f"{node.provider} count must be a positive number")
    return Target(provider, full_text(node), node, {"event": event.name, "config": event.config, "count": count})


def _section(target: Target) -> str:
    return "perf_event"


INTERVAL = Provider("interval", _check_timer, _section, scoped=False, current_is_cause=False, context=saved_registers)
PROFILE = Provider("profile", _check_timer, _section, context=saved_registers)
SOFTWARE = Provider("software", _check_counter, _section, context=saved_registers)
HARDWARE = Provider("hardware", _check_counter, _section, context=saved_registers)
