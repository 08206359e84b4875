"""The type rules of probes: every attach point is checked by its provider and gets a body of its own, because arguments
differ."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.base import Note
from kubebpf.compiler.complaints.probes import NameTwice, NoAttachPoints, ProbeRemoved
from kubebpf.compiler.passes.choices import condition
from kubebpf.compiler.probes.record import Context, Provider, Target
from kubebpf.compiler.probes.registry import PROVIDERS
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def type_probe(t: Typing, node: tree.Probe) -> list[typed.Probe]:
    """The typed bodies of a probe, one an attach point that passed its check."""
    t.absent = 0
    targets = [target for a in node.attach_points for target in check_attach_point(t, a)]
    if t.settings.missing_probes == "warn" and not any(targets):
        t.complain(ProbeRemoved(span=node.span))
    if t.settings.missing_probes == "error" and t.absent == len(targets):
        points = node.attach_points
        t.complain(NoAttachPoints(span=replace(points[0].span, end=points[-1].span.end)))
    return [_type_body(t, node, target) for target in targets if target is not None]


def check_attach_point(t: Typing, node: tree.AttachPoint) -> list[Target | None]:
    """The attach point as its provider understands it, or None after a diagnostic; one for each provider that a wildcard in
    its name stands for: `t*point:sched:sched_switch`."""
    return [provider.check(t, replace(node, provider=provider.name)) for provider in providers_of(node)]


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
    t.context = Context(target)
    with t.scope():
        predicate = None if node.predicate is None else condition(t, node.predicate)
        body = t.statements(node.body.statements, node.body.span)
    return typed.Probe(target=target, predicate=predicate, body=body, span=node.span)
