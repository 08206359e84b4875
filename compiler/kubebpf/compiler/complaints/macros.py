"""The diagnostics of macros and imports: what is decided before anything has a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class MacroRedefined(Complaint):
    """Two macros of one name that take the same kinds of arguments."""

    title: ClassVar[str] = "Redefinition of macro: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class ParameterTwice(Complaint):
    """`macro f($x, $x)`."""

    title: ClassVar[str] = "{kind} for macro argument has already been used: {name}"
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class MacroRecursion(Complaint):
    """A macro that would expand for ever."""

    title: ClassVar[str] = "Recursive macro call detected. Call chain: {chain}"
    chain: str


@dataclass(frozen=True, kw_only=True)
class NoSuchOverload(Complaint):
    """A call that fits no definition of the macro."""

    title: ClassVar[str] = "Call to {name}() has arguments that do not match any definition."
    name: str


@dataclass(frozen=True, kw_only=True)
class UnhygienicMap(Complaint):
    """A macro's body names a map of the program."""

    title: ClassVar[str] = "Unhygienic access to map: {name}. Maps must be passed into the macro as arguments."
    name: str


@dataclass(frozen=True, kw_only=True)
class ReturnInMacro(Complaint):
    """`return` would leave the probe that calls the macro."""

    title: ClassVar[str] = "'return' statement is not allowed in a macro"


@dataclass(frozen=True, kw_only=True)
class MacroWithoutValue(Complaint):
    """`$x = f()` where the body of f ends with a statement."""

    title: ClassVar[str] = "{name}() is used as a value, but the macro has none: its body ends with a statement"
    name: str


@dataclass(frozen=True, kw_only=True)
class TypeExpected(Complaint):
    """A macro's parameter stands for a type, and a value was given."""

    title: ClassVar[str] = "{name} stands where a type has to be, but is a value here; pass typeof(...)"
    name: str


@dataclass(frozen=True, kw_only=True)
class ValueExpected(Complaint):
    """A macro's parameter stands for a value, and a type was given."""

    title: ClassVar[str] = "{name} stands where a value has to be, but is a type here"
    name: str


@dataclass(frozen=True, kw_only=True)
class NotAFieldPath(Complaint):
    """`off(typeof(T), f().b)`: what replaces a field's name has to be one."""

    title: ClassVar[str] = (
        "FieldAccess expressions must be made up entirely of idents (e.g. a.b.c) to replace the second argument in `offsetof`"
    )


@dataclass(frozen=True, kw_only=True)
class ExpansionTooLarge(Complaint):
    """Macros that call macros grow exponentially."""

    title: ClassVar[str] = "the macros of this program expand to more than {limit} {what}"
    what: str
    limit: int
