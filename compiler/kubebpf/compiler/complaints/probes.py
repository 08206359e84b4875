"""The diagnostics about what a probe gives its program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class NoFunctionHere(Complaint):
    """`func` in a probe that is not at a function."""

    title: ClassVar[str] = "The func builtin can not be used with '{provider}' probes: they are not at a function"
    provider: str


@dataclass(frozen=True, kw_only=True)
class UnknownRegister(Complaint):
    """`reg()` of a register that the nodes' processor does not have."""

    title: ClassVar[str] = "'{name}' is not a valid register on this architecture ({arch})"
    name: str
    arch: str


@dataclass(frozen=True, kw_only=True)
class MatchesDiffer(Complaint):
    """`args` or `retval` of a probe with a wildcard whose matches do not have it in common."""

    title: ClassVar[str] = "{what} is not the same in all matches of {pattern}: {problem}"
    what: str
    pattern: str
    problem: str
    of_kernel: bool = True


@dataclass(frozen=True, kw_only=True)
class ProbeRemoved(Complaint):
    """With `missing_probes = warn`, a probe of which no attach point is there."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "Probe has no valid attach points. It is being removed which may cause issues with program behavior."


@dataclass(frozen=True, kw_only=True)
class NameTwice(Complaint):
    """Two tests or two benchmarks of one name."""

    title: ClassVar[str] = "'{name}' is the name of more than one {provider} probe"
    provider: str
    name: str


@dataclass(frozen=True, kw_only=True)
class NoAttachPoints(Complaint):
    """A probe none of whose attach points is there; each was said before."""

    title: ClassVar[str] = "Probe has no valid attach points."
    help: tuple[str, ...] = ('If that is expected on some nodes, begin with: config = { missing_probes = "warn" }',)
    of_kernel: bool = True  # as what was said of each
