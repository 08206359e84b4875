"""The diagnostics of name resolution and type checking, one dataclass each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class UnknownIdentifier(Complaint):
    """A bare name that nothing defines. Constants of the kernel's enums are such names."""

    title: ClassVar[str] = "Unknown identifier: '{name}'"
    name: str
    of_kernel: bool = True


@dataclass(frozen=True, kw_only=True)
class UnknownFunction(Complaint):
    """A call of something that is no helper."""

    title: ClassVar[str] = "Unknown function: '{name}'"
    name: str


@dataclass(frozen=True, kw_only=True)
class TypeAsArgument(Complaint):
    """`f(typeof(x))` of a function that works with values."""

    title: ClassVar[str] = "A value is wanted here, not a type"


@dataclass(frozen=True, kw_only=True)
class UndefinedVariable(Complaint):
    """A scratch variable read before any assignment in scope."""

    title: ClassVar[str] = "Undefined or undeclared variable: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class Redeclared(Complaint):
    """`let $x` of a variable that is visible already."""

    title: ClassVar[str] = "Variable {name} was already declared. Variable shadowing is not allowed."
    name: str


@dataclass(frozen=True, kw_only=True)
class UndefinedMap(Complaint):
    """A map that is read and never assigned."""

    title: ClassVar[str] = "Undefined map: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class NeverAssigned(Complaint):
    """A value of a map that the program only reads."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "{name} is read, but nothing assigns it: its value is always 0"
    name: str


@dataclass(frozen=True, kw_only=True)
class AssignMismatch(Complaint):
    """An assignment of a type that does not go with the earlier ones."""

    title: ClassVar[str] = (
        "Type mismatch for {name}: trying to assign value of type '{found}' when {what} already has a type '{expected}'"
    )
    name: str
    what: str
    found: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class KeyMismatch(Complaint):
    """A key of a type that does not go with the map's other keys."""

    title: ClassVar[str] = (
        "Argument mismatch for {name}: trying to access with arguments: '{found}' when map expects arguments: '{expected}'"
    )
    name: str
    found: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class NoKey(Complaint):
    """A key that is no value."""

    title: ClassVar[str] = "The key of {name} has no value"
    name: str


@dataclass(frozen=True, kw_only=True)
class KeyMissing(Complaint):
    """A keyed map used without a key."""

    title: ClassVar[str] = (
        "{name} used as a map without an explicit key (scalar map), previously used with an explicit key (non-scalar map)"
    )
    name: str


@dataclass(frozen=True, kw_only=True)
class KeyUnexpected(Complaint):
    """A scalar map used with a key."""

    title: ClassVar[str] = (
        "{name} used as a map with an explicit key (non-scalar map), previously used without an explicit key (scalar map)"
    )
    name: str


@dataclass(frozen=True, kw_only=True)
class OperatorMismatch(Complaint):
    """An operator whose operands do not fit it or each other."""

    title: ClassVar[str] = "Type mismatch for '{op}': comparing {left} with {right}"
    op: str
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class OperatorUnusable(Complaint):
    """An operator on a type that it does not take."""

    title: ClassVar[str] = "The {op} operator can not be used on expressions of type '{type}'"
    op: str
    type: str


@dataclass(frozen=True, kw_only=True)
class FoldError(Complaint):
    """Constant arithmetic that has no value."""

    title: ClassVar[str] = "unable to fold literals due to {why}"
    why: str


@dataclass(frozen=True, kw_only=True)
class BadCondition(Complaint):
    """A condition that is neither true nor false."""

    title: ClassVar[str] = "Invalid condition: a value of type '{type}' is neither true nor false"
    type: str


@dataclass(frozen=True, kw_only=True)
class NoFraction(Complaint):
    """`1.5`."""

    title: ClassVar[str] = "there are no fractions: BPF computes with integers only"


@dataclass(frozen=True, kw_only=True)
class ContextInKey(Complaint):
    """`ctx` as a key, or in one."""

    title: ClassVar[str] = "context cannot be part of a map key"


@dataclass(frozen=True, kw_only=True)
class TernaryMismatch(Complaint):
    """The two values of `?:` or of an `if` expression have no common type."""

    title: ClassVar[str] = "Ternary operator must return the same type: have '{left}' and '{right}'"
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class NoSuchField(Complaint):
    """A field that the struct does not have."""

    title: ClassVar[str] = "{type} does not contain a field named '{name}'"
    type: str
    name: str


@dataclass(frozen=True, kw_only=True)
class NoFields(Complaint):
    """A `.` on something that has no fields."""

    title: ClassVar[str] = "Can not access field '{name}' on expression of type '{type}'"
    type: str
    name: str


@dataclass(frozen=True, kw_only=True)
class NoIndex(Complaint):
    """A `.N` or `[i]` on something that has no such part."""

    title: ClassVar[str] = "Can not access index '{index}' on expression of type '{type}'"
    index: str
    type: str


@dataclass(frozen=True, kw_only=True)
class IndexOutOfBounds(Complaint):
    """A constant index beyond the array."""

    title: ClassVar[str] = "The index {index} is out of bounds for array of size {length}"
    index: int
    length: int


@dataclass(frozen=True, kw_only=True)
class NegativeIndex(Complaint):
    """An index that is negative, or that may be."""

    title: ClassVar[str] = "The array index operator [] only accepts non-negative integer indices. Got: {type}"
    type: str


@dataclass(frozen=True, kw_only=True)
class NotInEnum(Complaint):
    """A constant cast to an enum that has no such value."""

    title: ClassVar[str] = "{type} has no constant with the value {value}"
    type: str
    value: int


@dataclass(frozen=True, kw_only=True)
class ThroughPointer(Complaint):
    """A path of offsetof that leaves the struct through a pointer."""

    title: ClassVar[str] = "offsetof stops at '{name}', which is a pointer: what it points to lies elsewhere"
    name: str


@dataclass(frozen=True, kw_only=True)
class AssignedInType(Complaint):
    """A map assigned in an expression that is only asked for its type."""

    title: ClassVar[str] = "Map assignments not allowed inside of typeof or typeinfo"


@dataclass(frozen=True, kw_only=True)
class NotDereferenceable(Complaint):
    """`*x` of something that is no pointer."""

    title: ClassVar[str] = "Can not dereference type '{type}'. {hint}"
    type: str
    hint: str = "It is not a pointer."


@dataclass(frozen=True, kw_only=True)
class UnknownType(Complaint):
    """A type name that nobody knows."""

    title: ClassVar[str] = 'Cannot resolve unknown type "{name}"'
    name: str
    of_kernel: bool = True


@dataclass(frozen=True, kw_only=True)
class BadCast(Complaint):
    """A cast between types that do not convert."""

    title: ClassVar[str] = 'Cannot cast from "{found}" to "{wanted}"'
    found: str
    wanted: str


@dataclass(frozen=True, kw_only=True)
class WrongArgumentCount(Complaint):
    """A call with too few or too many arguments."""

    title: ClassVar[str] = "{name}() requires {wanted} ({found} provided)"
    name: str
    wanted: str
    found: int


@dataclass(frozen=True, kw_only=True)
class WrongArgument(Complaint):
    """An argument of a type that the helper does not take."""

    title: ClassVar[str] = "{name}() only supports {wanted} ({found} provided)"
    name: str
    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class NeedsLiteral(Complaint):
    """An argument that has to be known when the program is compiled."""

    title: ClassVar[str] = "{name}() expects {wanted} literal ({found} provided)"
    name: str
    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class FormatCount(Complaint):
    """A format string and its arguments disagree in number."""

    title: ClassVar[str] = "{problem} for format string ({found} supplied, {wanted} expected)"
    problem: str
    found: int
    wanted: int


@dataclass(frozen=True, kw_only=True)
class FormatMismatch(Complaint):
    """A conversion that does not take the argument's type."""

    title: ClassVar[str] = "{name}: %{conversion} specifier expects a value of type {wanted} ({found} supplied)"
    name: str
    conversion: str
    wanted: str
    found: str


@dataclass(frozen=True, kw_only=True)
class AggregateMisused(Complaint):
    """A map function anywhere but as the assigned value of a map."""

    title: ClassVar[str] = "{name}() must be assigned directly to a map"
    name: str


@dataclass(frozen=True, kw_only=True)
class AggregateCopied(Complaint):
    """`@y = @x` where @x is an aggregate."""

    title: ClassVar[str] = (
        "Map value '{type}' cannot be assigned from one map to another. "
        "The function that returns this type must be called directly e.g. `{map} = {call};`."
    )
    type: str
    map: str
    call: str


@dataclass(frozen=True, kw_only=True)
class AggregateToVariable(Complaint):
    """`$y = @x` where @x is an aggregate that has no single number."""

    title: ClassVar[str] = "Map value '{type}' cannot be assigned to a scratch variable."
    type: str


@dataclass(frozen=True, kw_only=True)
class NeedsMap(Complaint):
    """A helper that takes a map was given something else."""

    title: ClassVar[str] = "{name}() expects a map to be provided"
    name: str


@dataclass(frozen=True, kw_only=True)
class NeedsKeyedMap(Complaint):
    """A helper that takes a map with keys was given a scalar one."""

    title: ClassVar[str] = "call to {name}() expects a map with explicit keys (non-scalar map)"
    name: str


@dataclass(frozen=True, kw_only=True)
class NotPrintable(Complaint):
    """A value that print cannot print."""

    title: ClassVar[str] = "{type} type passed to print() is not printable"
    type: str


@dataclass(frozen=True, kw_only=True)
class WrongProbe(Complaint):
    """A builtin or helper that the probe's type does not offer."""

    title: ClassVar[str] = '{name} can not be used with "{provider}" probes'
    name: str
    provider: str


@dataclass(frozen=True, kw_only=True)
class CurrentIsNotTheCause(Complaint):
    """A namespaced trace reads the current task in a probe that fires in whatever task is running."""

    title: ClassVar[str] = (
        "{name} reads the task that happens to run on this CPU, which in {provider} probes may belong to anybody: "
        "a namespaced trace may not use it here"
    )
    name: str
    provider: str


@dataclass(frozen=True, kw_only=True)
class UnsafeNotAllowed(Complaint):
    """An unsafe helper without permission."""

    title: ClassVar[str] = "{name}() is an unsafe function being used in safe mode"
    name: str


@dataclass(frozen=True, kw_only=True)
class WriteNotAllowed(Complaint):
    """write_user() without permission, in upstream's words for it."""

    title: ClassVar[str] = "{name}() is unsafe. To use you need the --unsafe flag"
    name: str


@dataclass(frozen=True, kw_only=True)
class UnknownProbe(Complaint):
    """An attach point that this kernel does not have."""

    title: ClassVar[str] = "No matches for {what} {name}."
    what: str
    name: str


@dataclass(frozen=True, kw_only=True)
class BadAttachPoint(Complaint):
    """An attach point whose parts make no sense for its provider."""

    title: ClassVar[str] = "{problem}"
    problem: str


@dataclass(frozen=True, kw_only=True)
class MixedSigns(Complaint):
    """Signed and unsigned 64-bit numbers met."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "Implicit conversion between '{left}' and '{right}' to 'int64' may change the value"
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class ValueDiscarded(Complaint):
    """A statement whose value nobody reads."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "Return value discarded."


@dataclass(frozen=True, kw_only=True)
class ConstantTooLarge(Complaint):
    """A literal that its declared type cannot hold."""

    title: ClassVar[str] = "Type mismatch for {name}: the value {value} does not fit in '{type}'"
    name: str
    value: int
    type: str


@dataclass(frozen=True, kw_only=True)
class ProgramTooLarge(Complaint):
    """A program that keeps more values, or larger ones, than the kernel has room for."""

    title: ClassVar[str] = "This program needs {needed} {what}, and {limit} is the most that it can have"
    what: str
    needed: int
    limit: int


@dataclass(frozen=True, kw_only=True)
class UnrollCount(Complaint):
    """unroll() with a count that makes no sense or too large a program."""

    title: ClassVar[str] = "unroll {bound} value is {limit}. {found} provided"
    bound: str
    limit: int
    found: int


@dataclass(frozen=True, kw_only=True)
class AggregateHasNoNumber(Complaint):
    """A histogram or stats where a single value is wanted."""

    title: ClassVar[str] = "Map value '{type}' is not a single value: it can not be part of a key, tuple or record"
    type: str


@dataclass(frozen=True, kw_only=True)
class Unresolved(Complaint):
    """A value whose type nothing tells, such as a variable that is read and only ever declared."""

    title: ClassVar[str] = "Could not resolve the type of this expression: nothing assigns it a value"


@dataclass(frozen=True, kw_only=True)
class Unreachable(Complaint):
    """Statements behind exit() or return."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "Unreachable statement."


@dataclass(frozen=True, kw_only=True)
class UnusedMap(Complaint):
    """A declared map that nothing uses."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "Unused map: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class ProbeSkipped(Complaint):
    """An attach point that this kernel does not have, in a program with `missing_probes = warn`."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = "No matches for {what} {name}. Skipping."
    what: str
    name: str


@dataclass(frozen=True, kw_only=True)
class CauseUnknown(Complaint):
    """A trace of pods at a probe that never runs for the task that is its cause."""

    title: ClassVar[str] = "{name} fires in interrupts, whoever is interrupted: a trace of pods cannot tell whose event it is"
    name: str


@dataclass(frozen=True, kw_only=True)
class SeesWholeNode(Complaint):
    """A trace of pods with an iterator."""

    title: ClassVar[str] = "{name} goes through all that the node has, of every pod: a trace of pods may not"
    name: str


@dataclass(frozen=True, kw_only=True)
class CauseUncertain(Complaint):
    """A namespaced trace at a tracepoint that fires in interrupts: the current task, by which the scope goes, is anybody's."""

    severity: ClassVar[Literal["error", "warning"]] = "warning"
    title: ClassVar[str] = (
        "{name} fires in whatever task is interrupted: events are counted when that task happens to be in scope, "
        "not when its pod is the cause"
    )
    name: str
