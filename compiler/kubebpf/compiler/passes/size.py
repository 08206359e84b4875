"""How large a program may be: said before anything expensive is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.options import Settings
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import children

MAX_NODES = 100_000  # a probe of the largest tools has a few hundred
MAX_PARTS = 128  # of a tuple, a record, a call: what the processor writes without a loop


@dataclass(frozen=True, kw_only=True)
class TooManyProbes(Complaint):
    """More attach points than the config block allows."""

    title: ClassVar[str] = "The program has {found} attach points, and max_probes is {limit}"
    found: int
    limit: int


@dataclass(frozen=True, kw_only=True)
class ProgramTooBig(Complaint):
    """Valid, but larger than anything that could be loaded."""

    title: ClassVar[str] = "The program is too large: more than {limit} expressions and statements"
    limit: int


@dataclass(frozen=True, kw_only=True)
class TooManyParts(Complaint):
    """A tuple of a thousand elements."""

    title: ClassVar[str] = "{found} values in one {what}: {limit} are the most"
    what: str
    found: int
    limit: int


def check_size(program: tree.Program, settings: Settings, report: Report) -> None:
    """Complain about a program that is too large, its macros expanded. No recursion."""
    points = [point for probe in program.probes for point in probe.attach_points]
    if len(points) > settings.max_probes:
        span, help_ = points[settings.max_probes].span, ("max_probes in the config block allows more",)
        report.add(TooManyProbes(span=span, found=len(points), limit=settings.max_probes, help=help_))
        return
    waiting: list[tree.Node] = [*program.functions, *program.probes]
    seen = 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            report.add(ProgramTooBig(span=node.span, limit=MAX_NODES))
            return
        what, parts = _parts(node)
        if parts > MAX_PARTS:
            report.add(TooManyParts(span=node.span, what=what, found=parts, limit=MAX_PARTS))
            return
        waiting.extend(children(node))


def _parts(node: tree.Node) -> tuple[str, int]:
    match node:
        case tree.Tuple(elements):
            return "tuple", len(elements)
        case tree.Record(fields):
            return "record", len(fields)
        case tree.Call(arguments=arguments):
            return "call", len(arguments)
        case _:
            return "", 0
