"""The type rules of probes: every attach point is checked by its provider and gets a body of its own, because arguments
differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.probes import ProbeRemoved
from kubebpf.compiler.complaints.typing import NotBuiltYet
from kubebpf.compiler.passes.choices import condition
from kubebpf.compiler.probes.record import Context, Target
from kubebpf.compiler.probes.registry import PROVIDERS
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def type_probe(t: Typing, node: tree.Probe) -> list[typed.Probe]:
    """The typed bodies of a probe, one an attach point that passed its check."""
    targets = [check_attach_point(t, a) for a in node.attach_points]
    if t.settings.missing_probes == "warn" and not any(targets):
        t.complain(ProbeRemoved(span=node.span))
    return [_type_body(t, node, target) for target in targets if target is not None]


def check_attach_point(t: Typing, node: tree.AttachPoint) -> Target | None:
    """The attach point as its provider understands it; None after a diagnostic."""
    provider = PROVIDERS.get(node.provider)
    if provider is None:
        t.complain(NotBuiltYet(span=node.span, what=f"The probe type '{node.provider}'"))
        return None
    return provider.check(t, node)


def _type_body(t: Typing, node: tree.Probe, target: Target) -> typed.Probe:
    t.context = Context(target)
    with t.scope():
        predicate = None if node.predicate is None else condition(t, node.predicate)
        body = t.statements(node.body.statements, node.body.span)
    return typed.Probe(target=target, predicate=predicate, body=body, span=node.span)
