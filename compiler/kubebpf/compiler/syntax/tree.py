"""The syntax tree: what the parser builds and the printer prints. Every node is frozen and carries its span.

begin { @x[1] = $y + 2 }
->
Probe((AttachPoint("begin")), predicate=None,
      body=Block((Assign(MapAccess(Map("@x"), Integer(1)), "=", Binary("+", Variable("$y"), Integer(2))),)))
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kubebpf.compiler.syntax.span import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Anything with a place in the text. Spans do not take part in equality, so that printing and parsing round-trips."""

    span: Span = field(default=Span(0, 0), compare=False, repr=False)


# --- Types as written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamedType(Node):
    """`uint64`, `string`, `task_struct` (keyword ""), `struct task_struct` (keyword "struct"), `string[16]` is ArrayType."""

    name: str
    keyword: str = ""  # "", "struct", "union" or "enum"


@dataclass(frozen=True, slots=True)
class PointerType(Node):
    """`T*`."""

    target: TypeSyntax


@dataclass(frozen=True, slots=True)
class ArrayType(Node):
    """`T[N]`, or `T[]` with length None. For string, buffer and inet the length is the capacity in bytes."""

    element: TypeSyntax
    length: Expr | None


@dataclass(frozen=True, slots=True)
class TypeofType(Node):
    """`typeof(expr)` or `typeof(type)` where a type is expected."""

    operand: Expr | TypeSyntax


@dataclass(frozen=True, slots=True)
class TupleType(Node):
    """`(T1, T2)` where a type is expected."""

    elements: tuple[TypeSyntax, ...]


TypeSyntax = NamedType | PointerType | ArrayType | TypeofType | TupleType


# --- Expressions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Integer(Node):
    """An integer literal, its value already scaled by a duration suffix (`10ms` is 10,000,000).

    `text` is the literal as written, for the printer and for messages."""

    value: int
    text: str = field(default="", compare=False)
    duration: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class String(Node):
    """A string literal; `value` has its escapes resolved. Bytes that are not UTF-8 stand as surrogate escapes."""

    value: str


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A bare name: a builtin (`pid`), an enum constant, a macro without arguments, a macro parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """A scratch variable; `name` includes the `$`."""

    name: str


@dataclass(frozen=True, slots=True)
class Map(Node):
    """A map; `name` includes the `@`."""

    name: str


@dataclass(frozen=True, slots=True)
class MapAccess(Node):
    """`@m[key]`. `@m[a, b]` has a Tuple key, like `@m[(a, b)]`."""

    map: Map
    key: Expr


@dataclass(frozen=True, slots=True)
class PositionalParameter(Node):
    """`$1`: index 1. `$#` is ParameterCount."""

    index: int


@dataclass(frozen=True, slots=True)
class ParameterCount(Node):
    """`$#`."""


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`op` is one of `! ~ - + * &`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Increment(Node):
    """`op` is `++` or `--`; `prefix` tells `++x` from `x++`. The target is a Variable, a Map or a MapAccess."""

    op: str
    target: Expr
    prefix: bool


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`op` is one of `|| && | ^ & == != < <= > >= << >> + - * / %`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Ternary(Node):
    """`condition ? then : otherwise`; `a ?: b` has `then` None."""

    condition: Expr
    then: Expr | None
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class FieldAccess(Node):
    """`object.name`, or `object->name` (`arrow`)."""

    object: Expr
    name: str
    arrow: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class TupleAccess(Node):
    """`object.0`."""

    object: Expr
    index: int


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`object[index]`, where the object is not a map."""

    object: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """`(type)operand`."""

    type: TypeSyntax
    operand: Expr


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    """`(a, b)`, `(a,)` or `()`."""

    elements: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Record(Node):
    """`(a = 1, b = 2)`: named fields in order."""

    fields: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`name(arguments)`. An argument is an expression, or a type where the callee takes one (`sizeof`, macros with `typeof`).

    `typed` is the type argument list that some callees take before the parentheses; empty otherwise."""

    name: str
    arguments: tuple[Expr | TypeSyntax, ...]
    name_span: Span = field(default=Span(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Sizeof(Node):
    """`sizeof(type)` or `sizeof(expression)`."""

    operand: Expr | TypeSyntax


@dataclass(frozen=True, slots=True)
class Offsetof(Node):
    """`offsetof(type-or-expression, a.b.c)`."""

    operand: Expr | TypeSyntax
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Typeinfo(Node):
    """`typeinfo(type-or-expression)`."""

    operand: Expr | TypeSyntax


@dataclass(frozen=True, slots=True)
class Comptime(Node):
    """`comptime expr`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class BlockExpr(Node):
    """`{ statements; value }`: no semicolon behind the value."""

    statements: tuple[Statement, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class IfExpr(Node):
    """`if (c) { a } else { b }` used as a value: every branch is a block expression (or a further IfExpr behind else)."""

    condition: Expr
    then: BlockExpr
    otherwise: BlockExpr | IfExpr
    comptime: bool = False


Expr = (
    Integer
    | Boolean
    | String
    | Identifier
    | Variable
    | Map
    | MapAccess
    | PositionalParameter
    | ParameterCount
    | Unary
    | Increment
    | Binary
    | Ternary
    | FieldAccess
    | TupleAccess
    | Index
    | Cast
    | Tuple
    | Record
    | Call
    | Sizeof
    | Offsetof
    | Typeinfo
    | Comptime
    | BlockExpr
    | IfExpr
)


# --- Statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block(Node):
    """`{ … }` as a statement: a scope of its own."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class ExprStatement(Node):
    """An expression whose value is dropped."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Discard(Node):
    """`_ = expr`."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`target op value`; `op` is `=` or one of `+= -= *= /= %= &= |= ^= <<= >>=`."""

    target: Variable | Map | MapAccess | Expr
    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Let(Node):
    """`let $v`, `let $v: T`, `let $v = e`, `let $v: T = e`."""

    variable: Variable
    type: TypeSyntax | None
    value: Expr | None


@dataclass(frozen=True, slots=True)
class If(Node):
    """`if (c) {…} else …`; `otherwise` is a Block, a further If, or None. `comptime` for `if comptime (c)`."""

    condition: Expr
    then: Block
    otherwise: Block | If | None
    comptime: bool = False


@dataclass(frozen=True, slots=True)
class While(Node):
    """`while (c) {…}`."""

    condition: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`a..b` behind `for`: half-open."""

    start: Expr
    end: Expr


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for ($v : iterable) {…}`: the iterable is a Range, or an expression (a Map)."""

    variable: Variable
    iterable: Range | Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Unroll(Node):
    """`unroll(n) {…}`."""

    count: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Break(Node):
    """`break`."""


@dataclass(frozen=True, slots=True)
class Continue(Node):
    """`continue`."""


@dataclass(frozen=True, slots=True)
class Return(Node):
    """`return` or `return value`."""

    value: Expr | None


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`import "path"`: at the top of a program, or (standard library only) as a statement."""

    path: str


@dataclass(frozen=True, slots=True)
class Comment(Node):
    """A comment, `beside` the statement in front of it or on lines of its own; "" is a blank line. The formatter makes these; the
    parser never does."""

    text: str
    beside: bool = False


Statement = (
    Comment | Block | ExprStatement | Discard | Assign | Let | If | While | For | Unroll | Break | Continue | Return | Import
)


# --- The program ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CDefinition(Node):
    """C text at the head of a program (`#include`, `#define`, `struct x {…};`), as written."""

    text: str


@dataclass(frozen=True, slots=True)
class ConfigEntry(Node):
    """One `name = value` of the config block."""

    name: str
    value: int | bool | str


@dataclass(frozen=True, slots=True)
class Config(Node):
    """`config = { … }`."""

    entries: tuple[ConfigEntry, ...]


@dataclass(frozen=True, slots=True)
class MapDeclaration(Node):
    """`let @m = hash(16);`"""

    map: Map
    kind: str
    max_entries: Expr


@dataclass(frozen=True, slots=True)
class MacroParameter(Node):
    """A macro's parameter: `$v` and `@m` are taken by reference, a bare name by expression, `typeof(T)` as a type."""

    name: str
    is_type: bool = False


@dataclass(frozen=True, slots=True)
class Macro(Node):
    """`macro name(parameters) { … }`; the body is a BlockExpr when the macro has a value, else a Block."""

    name: str
    parameters: tuple[MacroParameter, ...]
    body: Block | BlockExpr


@dataclass(frozen=True, slots=True)
class FunctionParameter(Node):
    """`$name: type`."""

    name: str
    type: TypeSyntax


@dataclass(frozen=True, slots=True)
class Function(Node):
    """`fn name($a: T, …): R { … }`."""

    name: str
    parameters: tuple[FunctionParameter, ...]
    returns: TypeSyntax | None
    body: Block


@dataclass(frozen=True, slots=True)
class AttachPoint(Node):
    """One attach point as written: `tracepoint:syscalls:sys_enter_read` has provider `tracepoint` and the two further parts.

    Parts are split at `:` outside quotes; quotes are removed. `text` is the whole attach point as written, without a name.
    `name` is the `name=` in front of it, or ""."""

    provider: str
    parts: tuple[str, ...]
    text: str = field(default="", compare=False)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Probe(Node):
    """Attach points, a predicate, a body."""

    attach_points: tuple[AttachPoint, ...]
    predicate: Expr | None
    body: Block


@dataclass(frozen=True, slots=True)
class Program(Node):
    """A whole text, its pieces in the order in which the grammar demands them."""

    c_definitions: tuple[CDefinition, ...] = ()
    config: Config | None = None
    imports: tuple[Import, ...] = ()
    map_declarations: tuple[MapDeclaration, ...] = ()
    macros: tuple[Macro, ...] = ()
    functions: tuple[Function, ...] = ()
    probes: tuple[Probe, ...] = ()
    shebang: str = field(default="", compare=False)
