"""What an offline check takes to exist: it is said, and not judged any further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class TypeAssumed(Complaint):
    """A type that neither the program nor what is known of a kernel defines."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    assumes: ClassVar[bool] = True
    title: ClassVar[str] = "{name} is not known here: it is taken to exist, and what is done with it is not checked"
    name: str


@dataclass(frozen=True, kw_only=True)
class FunctionAssumed(Complaint):
    """A call of a function that may come from elsewhere."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    assumes: ClassVar[bool] = True
    title: ClassVar[str] = "{name}() is not known here: it is taken to exist, and what it gives is not checked"
    name: str


@dataclass(frozen=True, kw_only=True)
class MapAssumed(Complaint):
    """A map that is read and never assigned: a script that imports this one may do it."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    assumes: ClassVar[bool] = True
    title: ClassVar[str] = "Nothing here assigns {name}: what is done with its value is not checked"
    name: str


@dataclass(frozen=True, kw_only=True)
class HeaderAssumed(Complaint):
    """A header that is not where the check runs."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    assumes: ClassVar[bool] = True
    title: ClassVar[str] = "There is no header '{name}' here: it is taken to exist, and what it may define is not checked"
    name: str


@dataclass(frozen=True, kw_only=True)
class StructAssumed(Complaint):
    """A member of what lies at an address that is a plain number."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    assumes: ClassVar[bool] = True
    title: ClassVar[str] = "Which struct lies at this address is not known here: that it has a member {name} is not checked"
    name: str
    help: tuple[str, ...] = ("Cast the number to a pointer to the struct.",)
