"""The diagnostics of positional parameters, getopt() and places that need a value known at compile time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint, Severity


@dataclass(frozen=True, kw_only=True)
class BadParameter(Complaint):
    """A parameter that was given does not fit its use."""

    title: ClassVar[str] = "{why}"
    why: str


@dataclass(frozen=True, kw_only=True)
class ParameterMissing(Complaint):
    """`$1` of a run without parameters: 0, or an empty string."""

    severity: ClassVar[Severity] = "warning"
    title: ClassVar[str] = "Positional parameter ${index} is empty or not provided."
    index: int


@dataclass(frozen=True, kw_only=True)
class OptionNeedsLiteral(Complaint):
    """getopt() with something else than literals."""

    title: ClassVar[str] = "{which} argument to 'getopt' must be {wanted}."
    which: str
    wanted: str


@dataclass(frozen=True, kw_only=True)
class OptionDiffers(Complaint):
    """One option with two defaults or two descriptions."""

    title: ClassVar[str] = (
        "Command line option '{name}' needs to have the same {what} in all places it is used. Previously: {before}"
    )
    name: str
    what: str
    before: str


@dataclass(frozen=True, kw_only=True)
class NotComptime(Complaint):
    """`comptime` of something that depends on the run."""

    title: ClassVar[str] = "Unable to resolve comptime expression: it is only known at run time"


@dataclass(frozen=True, kw_only=True)
class CountUnknown(Complaint):
    """`unroll ($n)`."""

    title: ClassVar[str] = "unroll needs a count that is known now: a number, or a parameter such as $1"


@dataclass(frozen=True, kw_only=True)
class TooManyCopies(Complaint):
    """Unrolls in unrolls."""

    title: ClassVar[str] = "{found} copies of one body by unroll inside unroll: {limit} are the most"
    found: int
    limit: int
