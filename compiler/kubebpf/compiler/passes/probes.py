"""The type rules of probes: every attach point is checked by its provider and gets a body of its own, because arguments
differ."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.base import Complaint, Note, Report
from kubebpf.compiler.complaints.probes import NameTwice, NoAttachPoints, ProbeRemoved
from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.kernel import perf
from kubebpf.compiler.passes.choices import condition
from kubebpf.compiler.probes.parts import has_wildcard
from kubebpf.compiler.probes.record import Context, Provider, Target
from kubebpf.compiler.probes.registry import PROVIDERS
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def type_probe(t: Typing, node: tree.Probe) -> list[typed.Probe]:
    """The typed bodies of a probe, one an attach point that passed its check."""
    t.absent = 0
    _check_alone(t, node)
    targets = [target for a in node.attach_points for target in check_attach_point(t, a)]
    if t.settings.missing_probes == "warn" and not any(targets):
        t.complain(ProbeRemoved(span=node.span))
    if t.settings.missing_probes == "error" and t.absent == len(targets):
        points = node.attach_points
        t.complain(NoAttachPoints(span=replace(points[0].span, end=points[-1].span.end)))
    return [_type_body(t, node, target) for target in targets if target is not None]


def _check_alone(t: Typing, node: tree.Probe) -> None:
    """An iterator's program walks one kind of object, so it has one attach point."""
    for point in node.attach_points[1:]:
        if "iter" in (point.provider, node.attach_points[0].provider):
            hint = "Write a probe for each."
            t.complain(BadAttachPoint(span=point.span, problem="iter probe only supports one attach point", help=(hint,)))


def check_attach_point(t: Typing, node: tree.AttachPoint) -> list[Target | None]:
    """The attach point as its provider understands it, or None after a diagnostic. A wildcard over providers stands for every one
    that the rest makes sense for.

    t*point:sched:sched_switch     tracepoint:sched:sched_switch
    *ware:*                        every event of software and hardware
    """
    if node.span in t.apart and any(map(has_wildcard, node.parts)):
        return [target for point in _apart(node, t.apart[node.span]) for target in check_attach_point(t, point)]
    providers = providers_of(node)
    if "*" not in node.provider:
        return [provider.check(t, node) for provider in providers]
    found: list[Target] = []
    said: list[Complaint] = []
    absent = 0
    for provider in providers:
        for point in _events(replace(node, provider=provider.name)):
            trial = copy(t)
            trial.report = Report(t.report.sources)
            target = provider.check(trial, point)
            found += [target] if target else []
            said += trial.report.complaints
            absent = max(absent, trial.absent - t.absent)
    if found:
        return list(found)
    for complaint in said:
        t.complain(complaint)
    t.absent += absent
    return [None]


def _apart(node: tree.AttachPoint, names: tuple[str, ...]) -> list[tree.AttachPoint]:
    """An attach point for each match of a wildcard, when one program cannot serve all."""
    front = node.parts[:-1] if len(node.parts) == 2 and not has_wildcard(node.parts[0]) else ()
    parts = [tuple(name.split(":")) if ":" in name else (*front, name) for name in names]
    return [replace(node, parts=p, text=":".join((node.provider, *p))) for p in parts]


def _events(node: tree.AttachPoint) -> list[tree.AttachPoint]:
    """A counter's events, where the pattern goes over these, too."""
    tables = {"software": perf.SOFTWARE, "hardware": perf.HARDWARE}
    if node.provider not in tables or not node.parts or "*" not in node.parts[0]:
        return [node]
    names = [event.name for event in tables[node.provider] if fnmatchcase(event.name, node.parts[0])]
    rest = node.parts[1:]
    return [replace(node, parts=(name, *rest), text=":".join((node.provider, name, *rest))) for name in names]


def providers_of(node: tree.AttachPoint) -> list[Provider]:
    """The records behind a provider's name, which the parser found to be one or to match some."""
    return [PROVIDERS[name] for name in PROVIDERS if fnmatchcase(name, node.provider)]


def check_names(t: Typing, probes: tuple[tree.Probe, ...]) -> None:
    """Each test and each benchmark has a name of its own: results go by it."""
    seen: dict[tuple[str, ...], tree.AttachPoint] = {}
    for node in (a for probe in probes for a in probe.attach_points if a.provider in ("test", "bench")):
        first = seen.setdefault((node.provider, *node.parts), node)
        if first is not node and node.parts:
            notes = (Note(text="first used here", span=first.span),)
            t.report.add(NameTwice(span=node.span, provider=node.provider, name=node.parts[0], notes=notes))


def _type_body(t: Typing, node: tree.Probe, target: Target) -> typed.Probe:
    t.context, t.body = Context(target), node.body.span
    with t.scope():
        predicate = None if node.predicate is None else condition(t, node.predicate)
        body = t.statements(node.body.statements, node.body.span)
    return typed.Probe(target=target, predicate=predicate, body=body, span=node.span)
