"""How large a program may be: said before anything expensive is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.options import Settings
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import children
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types.model import Type, parts

MAX_NODES = 100_000  # a probe of the largest tools has a few hundred
MAX_MAPS = 1024  # of a program; one probe can use 64 (MAX_USED_MAPS, include/linux/bpf_verifier.h)
MAX_PARTS = 128  # of a tuple, a record, a call: what the processor writes without a loop
MAX_VALUES = 1024  # of a tuple with tuples in it


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


@dataclass(frozen=True, kw_only=True)
class TooManyMaps(Complaint):
    """More maps than any kernel would make for one program."""

    title: ClassVar[str] = "The program has more than {limit} maps"
    limit: int


@dataclass(frozen=True, kw_only=True)
class TypeTooLarge(Complaint):
    """Tuples of tuples of tuples: each step doubles what a value holds."""

    title: ClassVar[str] = "A tuple or record with {found} values in it, those inside its own counted: {limit} are the most"
    found: int
    limit: int


def too_large(type_: Type, span: Span) -> TypeTooLarge | None:
    """The complaint about a tuple or record that holds too much. Its members have been asked before."""
    found = parts(type_)
    return TypeTooLarge(span=span, found=found, limit=MAX_VALUES) if found > MAX_VALUES else None


def check_size(program: tree.Program, settings: Settings, report: Report) -> None:
    """Complain about a program that is too large, its macros expanded. No recursion."""
    points = [point for probe in program.probes for point in probe.attach_points]
    if len(points) > settings.max_probes:
        span, help_ = points[settings.max_probes].span, ("max_probes in the config block allows more",)
        report.add(TooManyProbes(span=span, found=len(points), limit=settings.max_probes, help=help_))
        return
    waiting: list[tree.Node] = [*program.functions, *program.probes]
    seen = 0
    maps: set[str] = set()
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            report.add(ProgramTooBig(span=node.span, limit=MAX_NODES))
            return
        what, found = _parts(node)
        if found > MAX_PARTS:
            report.add(TooManyParts(span=node.span, what=what, found=found, limit=MAX_PARTS))
            return
        if isinstance(node, tree.Map):
            maps.add(node.name)
        if len(maps) > MAX_MAPS:
            report.add(TooManyMaps(span=node.span, limit=MAX_MAPS))
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
