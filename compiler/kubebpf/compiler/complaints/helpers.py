"""The diagnostics of the helpers' own rules, one dataclass each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class NotAString(Complaint):
    """A value that no string helper takes."""

    title: ClassVar[str] = "{name}() expects a string, an array of int8 or a pointer to int8 ({found} provided)"
    name: str
    found: str


@dataclass(frozen=True, kw_only=True)
class NegativeLength(Complaint):
    """A length or count below zero."""

    title: ClassVar[str] = "{name}() requires a non-negative literal ({found} provided)"
    name: str
    found: str


@dataclass(frozen=True, kw_only=True)
class LengthMissing(Complaint):
    """buf() of a pointer, which does not say how much there is."""

    title: ClassVar[str] = "buf() expects a length argument for {type}: only arrays and strings say how long they are"
    type: str


@dataclass(frozen=True, kw_only=True)
class BadAddress(Complaint):
    """Text that is no IP address."""

    title: ClassVar[str] = "pton() expects an IPv4 or IPv6 address: {text!r} is none"
    text: str


@dataclass(frozen=True, kw_only=True)
class WrongBytes(Complaint):
    """An array of another size than the helper's."""

    title: ClassVar[str] = "{name}() argument must be {wanted} in size ({found} provided)"
    name: str
    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class AssertionFailed(Complaint):
    """static_assert() of something false."""

    title: ClassVar[str] = "static_assert failed: {text}"
    text: str


@dataclass(frozen=True, kw_only=True)
class NotConstant(Complaint):
    """A condition that is only known at run time, where it has to be known now."""

    title: ClassVar[str] = "{name}() expects a condition that is known when the program is compiled"
    name: str


@dataclass(frozen=True, kw_only=True)
class UnknownSignal(Complaint):
    """A signal that Linux does not have."""

    title: ClassVar[str] = "{found} is not a valid signal: a name such as SIGKILL or a number from 1 to 64 is"
    found: str


@dataclass(frozen=True, kw_only=True)
class NeedsVariable(Complaint):
    """find() without a variable to put the value in."""

    title: ClassVar[str] = "find() expects a variable as its third argument, for the value that it finds"


@dataclass(frozen=True, kw_only=True)
class BadMode(Complaint):
    """A mode that a helper does not have."""

    title: ClassVar[str] = "Invalid {what}: {found} (expects: {wanted})"
    what: str
    found: str
    wanted: str
