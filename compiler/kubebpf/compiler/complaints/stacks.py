"""The diagnostics of stacks and symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class UnknownStackMode(Complaint):
    """`kstack(bob)`."""

    title: ClassVar[str] = "{name}: {found} is no stack mode. Known modes: {modes}"
    name: str
    found: str
    modes: str


@dataclass(frozen=True, kw_only=True)
class BadStackLimit(Complaint):
    """A number of frames that no stack can have."""

    title: ClassVar[str] = "{name}: invalid limit value {found}: a stack has 0 to {most} frames"
    name: str
    found: int
    most: int


@dataclass(frozen=True, kw_only=True)
class BuildIdOfKernel(Complaint):
    """`kstack(build_id)`."""

    title: ClassVar[str] = "'build_id' stack mode can only be used for ustack: the kernel is one file, of one build"


@dataclass(frozen=True, kw_only=True)
class NoDwarfUnwinding(Complaint):
    """`dw_ustack`."""

    title: ClassVar[str] = (
        "dw_ustack is not available: it unwinds with the call frame tables of one binary, which a program that is compiled once "
        "for many nodes and containers does not know"
    )


@dataclass(frozen=True, kw_only=True)
class NotAStackOrMap(Complaint):
    """len() of a value that has no elements."""

    title: ClassVar[str] = "len() expects a map, ustack, or kstack ({found} provided)"
    found: str
