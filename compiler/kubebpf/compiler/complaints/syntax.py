"""The diagnostics of the lexer and the parser, one class each.

begin { print(1) print(2) }   ->   Expected(span=<the second print>, what="';'")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class Expected(Complaint):
    """Something else stands where the grammar wants `what`."""

    title: ClassVar[str] = "syntax: expected {what}"
    what: str


# --- Tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UnexpectedCharacter(Complaint):
    """A character that starts no token."""

    title: ClassVar[str] = "syntax: unexpected character {character!r}"
    character: str


@dataclass(frozen=True, kw_only=True)
class NamelessVariable(Complaint):
    """`$` without a name or a number."""

    title: ClassVar[str] = "syntax: expected identifier after '$'"


@dataclass(frozen=True, kw_only=True)
class ParameterOutOfRange(Complaint):
    """`$0`, or a number too large to count parameters."""

    title: ClassVar[str] = "syntax: param {text} is out of integer range [1, 9223372036854775807]"
    text: str


@dataclass(frozen=True, kw_only=True)
class UnterminatedString(Complaint):
    """The line ends before the string does."""

    title: ClassVar[str] = "syntax: unterminated string"


@dataclass(frozen=True, kw_only=True)
class UnterminatedComment(Complaint):
    """`/*` without `*/`."""

    title: ClassVar[str] = "syntax: unterminated comment"


@dataclass(frozen=True, kw_only=True)
class InvalidEscape(Complaint):
    r"""`\q`, or `\x` without a digit."""

    title: ClassVar[str] = "syntax: invalid escape sequence '{escape}'"
    escape: str


@dataclass(frozen=True, kw_only=True)
class OctalEscapeOutOfRange(Complaint):
    r"""`\777` does not fit a byte."""

    title: ClassVar[str] = "syntax: octal escape sequence out of range '{escape}'"
    escape: str


@dataclass(frozen=True, kw_only=True)
class TrailingUnderscore(Complaint):
    """`1_`: underscores separate digits."""

    title: ClassVar[str] = "syntax: trailing underscore in integer literal"


@dataclass(frozen=True, kw_only=True)
class InvalidInteger(Complaint):
    """`5e`, `0x`, `089`: not a number in any base."""

    title: ClassVar[str] = "syntax: invalid integer literal: {text}"
    text: str


@dataclass(frozen=True, kw_only=True)
class InvalidIntegerSuffix(Complaint):
    """`1lul`: neither a C suffix nor a unit of time."""

    title: ClassVar[str] = "syntax: invalid integer suffix '{suffix}'"
    suffix: str


@dataclass(frozen=True, kw_only=True)
class InvalidCoefficient(Complaint):
    """`10e6`: the number before the `e` is one digit, as in `1e7`."""

    title: ClassVar[str] = "syntax: coefficient part of scientific literal must be 1-9: {text}"
    text: str


@dataclass(frozen=True, kw_only=True)
class IntegerOverflow(Complaint):
    """The value does not fit 64 bits."""

    title: ClassVar[str] = "syntax: overflow error, maximum value is 18446744073709551615: {text}"
    text: str


# --- Expressions and statements ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InvalidIncrement(Complaint):
    """`++5`, `$x.y++`."""

    title: ClassVar[str] = "syntax: increment/decrement requires a variable or map"


@dataclass(frozen=True, kw_only=True)
class InvalidAddressOf(Complaint):
    """`&1`, `&$x.y`."""

    title: ClassVar[str] = "syntax: address-of operator (&) can only be used on a map or variable"


@dataclass(frozen=True, kw_only=True)
class ImmutableTarget(Complaint):
    """`$t.0 = 1`, `$r.a = 1`."""

    title: ClassVar[str] = (
        "syntax: Tuples and records are immutable once created. Consider creating a new value and assigning it instead."
    )


@dataclass(frozen=True, kw_only=True)
class InvalidTarget(Complaint):
    """`$x[0] = 1`: only variables, maps and map entries can be assigned to."""

    title: ClassVar[str] = "syntax: invalid assignment target"


@dataclass(frozen=True, kw_only=True)
class DuplicateField(Complaint):
    """`(a = 1, a = 2)`."""

    title: ClassVar[str] = "syntax: Named argument list already contains name: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class BlockWithoutValue(Complaint):
    """`$x = { $y = 1; }`: nothing to assign."""

    title: ClassVar[str] = "syntax: this block is used as a value but does not end with an expression"


@dataclass(frozen=True, kw_only=True)
class IfWithoutValue(Complaint):
    """`$x = if (c) { 1 }`: every branch of an `if` used as a value needs one, and so does `else`."""

    title: ClassVar[str] = "syntax: this if is used as a value but not every branch of it has one"


@dataclass(frozen=True, kw_only=True)
class TypeWhereValueExpected(Complaint):
    """`$x = typeof(y)`: types stand in casts, declarations, sizeof and arguments only."""

    title: ClassVar[str] = "syntax: a type cannot be used as a value"


@dataclass(frozen=True, kw_only=True)
class NotIterable(Complaint):
    """`for ($i : 5)`."""

    title: ClassVar[str] = "syntax: expected map or range in for loop"


# --- The program ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MisplacedConfig(Complaint):
    """The config block stands behind a probe or a function."""

    title: ClassVar[str] = "syntax: config must appear before probes and functions"


@dataclass(frozen=True, kw_only=True)
class DuplicateConfig(Complaint):
    """Two config blocks."""

    title: ClassVar[str] = "syntax: duplicate config block"


@dataclass(frozen=True, kw_only=True)
class MisplacedImport(Complaint):
    """An import stands behind a probe or a function."""

    title: ClassVar[str] = "syntax: root imports must appear before probes and functions"


@dataclass(frozen=True, kw_only=True)
class MisplacedCDefinition(Complaint):
    """C text stands behind something that is not C text."""

    title: ClassVar[str] = "syntax: C definitions must appear before {what}"
    what: str


@dataclass(frozen=True, kw_only=True)
class UnterminatedCDefinition(Complaint):
    """`struct x {` without its `}`."""

    title: ClassVar[str] = "syntax: this {keyword} definition is not closed"
    keyword: str


@dataclass(frozen=True, kw_only=True)
class RootLet(Complaint):
    """`let $x` outside of a block."""

    title: ClassVar[str] = "syntax: root-level let statements need to be map declarations, e.g. let @a = hash(2);"


@dataclass(frozen=True, kw_only=True)
class BuiltinAsMacroParameter(Complaint):
    """`macro m(pid) {…}`."""

    title: ClassVar[str] = "syntax: builtin '{name}' can't be used as a macro argument"
    name: str


@dataclass(frozen=True, kw_only=True)
class UnknownProvider(Complaint):
    """`kprob:f`."""

    title: ClassVar[str] = "Invalid probe type: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class NoProvider(Complaint):
    """`:f`: nothing in front of the first colon."""

    title: ClassVar[str] = "No attach points for probe"


# --- Limits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NestedTooDeeply(Complaint):
    """Parentheses, blocks or operators nest deeper than any program needs."""

    title: ClassVar[str] = "syntax: nested too deeply (more than {limit} levels)"
    limit: int


@dataclass(frozen=True, kw_only=True)
class NotText(Complaint):
    """Half of a surrogate pair, which JSON can hold and no file."""

    title: ClassVar[str] = "syntax: this is no character"


@dataclass(frozen=True, kw_only=True)
class ProgramTooLong(Complaint):
    """The text is longer than any program needs."""

    title: ClassVar[str] = "syntax: the program is longer than {limit} characters"
    limit: int


@dataclass(frozen=True, kw_only=True)
class TooManyErrors(Complaint):
    """The parser stops here: the rest would not help anybody."""

    title: ClassVar[str] = "syntax: too many errors, stopped after {limit}"
    limit: int
