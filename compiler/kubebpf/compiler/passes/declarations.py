"""`let @m = lruhash(100);`: the kind and size of a map, told before its use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.typing import UnusedMap
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.passes.typing import Typing
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Aggregate

MOST_ENTRIES = (1 << 32) - 1  # max_entries of a map is a u32
KINDS = ("hash", "lruhash", "percpuhash", "percpulruhash")


@dataclass(frozen=True, kw_only=True)
class BadDeclaration(Complaint):
    """A map declaration that makes no sense."""

    title: ClassVar[str] = "{problem}"
    problem: str


def declare_maps(t: Typing, declarations: tuple[tree.MapDeclaration, ...]) -> None:
    """Give the slots of declared maps their kind and size."""
    for node in declarations:
        slots = t.slots.map(node.map.name)
        if slots.kind:
            t.report.add(BadDeclaration(span=node.span, problem=f"{node.map.name} was already declared"))
        elif node.kind not in KINDS:
            help_ = did_you_mean(node.kind, KINDS) or (f"The kinds are {', '.join(KINDS)}.",)
            t.report.add(BadDeclaration(span=node.span, problem=f"Invalid bpf map type: {node.kind}", help=help_))
        elif not 0 < (size := _size(t, node.max_entries)) <= MOST_ENTRIES:
            problem = f"The size of a map must be a number from 1 to {MOST_ENTRIES}"
            t.report.add(BadDeclaration(span=node.span, problem=problem))
        else:
            slots.kind, slots.max_entries, slots.span = node.kind, size, node.span


def _size(t: Typing, node: tree.Expr) -> int:
    """A size as written, or as a `#define` or an enum gives it; 0 for what is no number."""
    value = t.expr(node)
    return value.value if isinstance(value, typed.Constant) else 0


def check_declared(t: Typing, declarations: tuple[tree.MapDeclaration, ...]) -> None:
    """What can be said of declared maps once all types are known: per-CPU kinds are for map functions, and for nothing else."""
    for node in declarations:
        slots = t.slots.map(node.map.name)
        if slots.span != node.span:
            continue  # the declaration itself was refused
        value = slots.value.type
        if value is None:
            if node.map.name not in t.maps and node.span.file == 0:  # a library may offer more than is used
                t.complain(UnusedMap(span=node.span, name=node.map.name))
            continue
        per_cpu = node.kind.startswith("percpu")
        if per_cpu != isinstance(value, Aggregate):
            kinds = " or ".join(k for k in KINDS if k.startswith("percpu") != per_cpu)
            problem = f"Incompatible types: a map of kind {node.kind} can not hold '{value}'; use {kinds}"
            t.complain(BadDeclaration(span=node.span, problem=problem))
