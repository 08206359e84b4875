"""The typed tree: what inference builds and code generation reads. Names are resolved, every expression has its final type.

@us[comm] = hist((nsecs - @start[tid]) / 1000)
->
Feed(map @us, key=(Call comm,), function="hist", arguments=(Binary("/", ...),))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.layouts import Layout
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types.model import Array, Field, Struct, Type

if TYPE_CHECKING:
    from kubebpf.compiler.builtins.record import Builtin
    from kubebpf.compiler.probes.record import Target


NOWHERE = Span(0, 0)


@dataclass(slots=True, eq=False)
class Variable:
    """A scratch variable of one probe; identity is the object's, because scopes may reuse a name."""

    name: str
    type: Type
    span: Span


@dataclass(slots=True, eq=False)
class MapInfo:
    """A map of the program: its key is None when scalar. `kind` is a declared map kind ("hash", "lruhash", …) or ""."""

    name: str
    key: Type | None
    value: Type
    kind: str = ""
    max_entries: int = 0
    span: Span = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Expr:
    """A typed expression."""

    span: Span
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Expr):
    """An integer, boolean or enum constant. `literal` is True for numbers as written, which take the sign of their partner."""

    value: int
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Expr):
    """A string constant: its bytes without the NUL."""

    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVariable(Expr):
    """`$x`."""

    variable: Variable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMap(Expr):
    """`@m` or `@m[key]`: 0 or empty when the key is absent. An aggregate is summed over the CPUs when its type is an integer."""

    map: MapInfo
    key: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapName(Expr):
    """A map as an argument of print, clear, len, ….."""

    map: MapInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTime(Expr):
    """A value that the node writes before the program is loaded; see the manifest's constants."""

    kind: str
    arg: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(Expr):
    """`-`, `~`, `!`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Expr):
    """Arithmetic, bit operations, shifts on integers; pointer arithmetic is already scaled. `signed` decides / % >>."""

    op: str
    left: Expr
    right: Expr
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare(Expr):
    """`== != < <= > >=` on integers and pointers; `signed` decides the order."""

    op: str
    left: Expr
    right: Expr
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareBytes(Expr):
    """`==`, `!=` on strings, arrays, buffers, tuples: by value. The operands have one type, or both are strings of any size."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical(Expr):
    """`&&`, `||`: the right side is evaluated only when needed."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional(Expr):
    """`a ? b : c`, `if` as an expression."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Convert(Expr):
    """A change of type that keeps the value where it fits: integers and bools among each other, strings to a larger capacity,
    tuples member by member, integers to arrays of the same size."""

    operand: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Expr):
    """`pointer->field`, read from memory: `object` is a pointer to a struct, or a struct that lies in memory."""

    object: Expr
    struct: Struct
    field: Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Dereference(Expr):
    """`*pointer`."""

    pointer: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOf(Expr):
    """`&$x` and `&@m`: where a variable lies, where the value of a scalar map lies, or the map itself when it has keys."""

    target: Variable | MapInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Element(Expr):
    """`array[index]` or `pointer[index]`; `array` is None for pointers."""

    object: Expr
    index: Expr
    array: Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Expr):
    """`tuple.N`, or a record's field."""

    object: Expr
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory(Expr):
    """A value that generated code has made already; only code generation makes this node. `memory` is its operand."""

    memory: object


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeTuple(Expr):
    """A tuple or record value; `type` is a Tuple or a Record."""

    elements: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument(Expr):
    """`args.name` of a probe, reached by what the provider says in `access`."""

    access: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Expr):
    """A builtin with its typed arguments; `extra` is whatever its check wants to hand to its emit function."""

    builtin: Builtin
    arguments: tuple[Expr, ...]
    extra: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Expr):
    """`++` and `--` on a variable, a map or a map's key; the value is the old one unless `prefix`."""

    target: ReadVariable | ReadMap
    by: int
    prefix: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOf(Expr):
    """`sizeof` of a kernel struct: a CO-RE relocation."""

    struct: Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetOf(Expr):
    """`offsetof` in a kernel struct: a CO-RE relocation for each step."""

    steps: tuple[tuple[Struct, Field], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockValue(Expr):
    """`{ statements; value }`."""

    statements: tuple[Statement, ...]
    value: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad(Expr):
    """An expression that already has its diagnostic: nothing more is said about what is built on it."""


@dataclass(slots=True, eq=False)
class Function:
    """A function of the text; its body is typed behind the calls that name it."""

    name: str
    parameters: tuple[Variable, ...]
    returns: Type
    span: Span
    body: Block | None = None
    external: bool = False  # an imported file of BPF C has it
    known: bool = True  # whether the type of its result is


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke(Expr):
    """`f(a, b)`, where the text has an `fn f`; each argument has its parameter's type."""

    function: Function
    arguments: tuple[Expr, ...]


# --- Statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A typed statement."""

    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariable(Statement):
    """`$x = value`; the value has the variable's type. None: declared only, so zeroed."""

    variable: Variable
    value: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMap(Statement):
    """`@m[key] = value`."""

    map: MapInfo
    key: Expr | None
    value: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed(Statement):
    """`@m[key] = count()` and its kin. `time`: nanoseconds that tseries takes for now; None asks the clock."""

    map: MapInfo
    key: Expr | None
    argument: Expr | None
    time: Expr | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(Statement):
    """An expression for its effect; `discarded` tells `f();` from `_ = f();`."""

    value: Expr
    discarded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Statement):
    """Statements in order."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Statement):
    """`if`."""

    condition: Expr
    then: Block
    otherwise: Block | None


@dataclass(frozen=True, slots=True, kw_only=True)
class While(Statement):
    """`while`."""

    condition: Expr
    body: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ForRange(Statement):
    """`for ($i : start..end)`."""

    variable: Variable
    start: Expr
    end: Expr
    body: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ForMap(Statement):
    """`for ($kv : @map)`."""

    variable: Variable
    map: MapInfo
    body: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump(Statement):
    """`break`, `continue`."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(Statement):
    """`return`, with the value of a test probe."""

    value: Expr | None


# --- The program ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """One body at one attach point. When the predicate is false, the body does not run."""

    target: Target
    predicate: Expr | None
    body: Block
    span: Span


@dataclass(frozen=True, slots=True)
class Program:
    """The whole typed program. `strings` are the texts of the manifest that values refer to by number, `folded` the
    parameters whose values are in it."""

    probes: tuple[Probe, ...]
    maps: tuple[MapInfo, ...]
    strings: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    linked: tuple[bytes, ...] = ()  # LLVM bitcode of the imported files of BPF C
    layouts: tuple[Layout, ...] = ()  # what the kernel's layout has to be
