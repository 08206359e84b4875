"""Diagnostics of loops, jumps and functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class WhileDeprecated(Complaint):
    """`while` still works, but `for` says how often it goes round."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "While loops are deprecated and may be removed in the future."


@dataclass(frozen=True, kw_only=True)
class JumpOutsideLoop(Complaint):
    """`break` or `continue` where no loop is."""

    title: ClassVar[str] = "'{kind}' statement is not allowed in a {where}"
    kind: str
    where: str


@dataclass(frozen=True, kw_only=True)
class LoopShadows(Complaint):
    """A loop whose variable has the name of one that is visible already."""

    title: ClassVar[str] = "Loop declaration shadows existing variable: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class RangeNotInteger(Complaint):
    """`for ($i : 0.."x")`."""

    title: ClassVar[str] = "Loop range requires an integer for the {which} value"
    which: str


@dataclass(frozen=True, kw_only=True)
class NotIterated(Complaint):
    """A loop over a map that has no keys, or whose values cannot be handed out."""

    title: ClassVar[str] = "{problem}"
    problem: str


@dataclass(frozen=True, kw_only=True)
class ReturnNotInteger(Complaint):
    """A probe that returns something else than a number."""

    title: ClassVar[str] = "Probe return values can only be integers. Found {found}"
    found: str


@dataclass(frozen=True, kw_only=True)
class WrongReturn(Complaint):
    """A function that returns what it does not say, or nothing on some path."""

    title: ClassVar[str] = "Function {name} is of type {declared}, cannot return {found}"
    name: str
    declared: str
    found: str


@dataclass(frozen=True, kw_only=True)
class BadFunction(Complaint):
    """A function that cannot be: defined twice, calling itself, or named as a builtin."""

    title: ClassVar[str] = "{problem}"
    problem: str


@dataclass(frozen=True, kw_only=True)
class WrongParameter(Complaint):
    """A call's argument that does not go into the parameter."""

    title: ClassVar[str] = "{name}() takes {declared} as its parameter {parameter}, not {found}"
    name: str
    parameter: str
    declared: str
    found: str


@dataclass(frozen=True, kw_only=True)
class OutsideProbe(Complaint):
    """A value of the probe, asked for in a function, which any probe may call."""

    title: ClassVar[str] = "Builtin __builtin_{name} not supported outside probe"
    name: str


@dataclass(frozen=True, kw_only=True)
class InForLoop(Complaint):
    """Something of the program's context, asked for in a `for` body."""

    title: ClassVar[str] = "'{name}' builtin is not allowed in a for-loop"
    name: str
