"""Types as written become types of the model; casts, sizeof and offsetof are checked against them.

(int32)retval, (struct task_struct *)arg0, (uint8[4])x, sizeof(struct sock), offsetof(struct task_struct, pid)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.offline import StructAssumed, TypeAssumed
from kubebpf.compiler.complaints.typing import (
    AssignedInType,
    BadCast,
    NoSuchField,
    NotInEnum,
    ThroughPointer,
    UndefinedMap,
    UnknownType,
)
from kubebpf.compiler.passes.conversions import convert, decay
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.passes.members import find_field, struct_of
from kubebpf.compiler.passes.size import too_large
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import below
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    BOOL,
    I8,
    U64,
    VOID,
    Aggregate,
    Array,
    Bool,
    Buffer,
    EnumType,
    Field,
    Int,
    Origin,
    Pointer,
    Resolved,
    Space,
    String,
    Struct,
    Tuple,
    Type,
    sizeof,
)
from kubebpf.compiler.types.promote import is_integral

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

NAMES: dict[str, Type] = {
    **{f"{'' if signed else 'u'}int{bits}": Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (True, False)},
    "bool": BOOL,
    "void": VOID,
    "min_t": Aggregate("min"),
    "max_t": Aggregate("max"),
    "sum_t": Aggregate("sum"),
    "count_t": Aggregate("count", signed=False),
    "avg_t": Aggregate("avg"),
    "stats_t": Aggregate("stats"),
    "username_t": Resolved("username", 8),
    "inet": Resolved("inet", 24),
    "macaddr_t": Resolved("macaddr", 6),
    "ksym_t": Resolved("ksym", 8),
    "usym_t": Resolved("usym", 16),
    **{f"u{kind}_t": Aggregate(kind, signed=False) for kind in ("min", "max", "sum", "avg", "stats")},
}
# C's spellings of the same, as programs that come from C write them.
C_NAMES: dict[str, Type] = {
    "char": Int(8, True, "char"),
    "short": Int(16, True),
    "int": Int(32, True),
    "long": Int(64, True),
    "unsigned": Int(32, False),
    "size_t": Int(64, False),
    **{f"{sign}int{bits}_t": Int(bits, not sign) for bits in (8, 16, 32, 64) for sign in ("", "u")},
}


def type_of(t: Typing, node: tree.TypeSyntax) -> Type | None:
    """The type that a piece of syntax names; None after a diagnostic."""
    match node:
        case tree.NamedType():
            return _named(t, node)
        case tree.PointerType(target=target):
            inner = type_of(t, target)
            return inner and Pointer(inner)
        case tree.ArrayType():
            return _array(t, node)
        case tree.TupleType(elements=elements):
            types = [type_of(t, e) for e in elements]
            whole = Tuple(tuple(e for e in types if e is not None))
            if None in types:
                return None
            if complaint := too_large(whole, node.span):
                t.complain(complaint)
                return None
            return whole
        case tree.TypeofType(operand=operand):
            if assigned := assigned_map(node):
                t.complain(AssignedInType(span=assigned.span))
                return None
            return operand_type(t, operand)


def _named(t: Typing, node: tree.NamedType) -> Type | None:
    found = _lookup(t, node)
    if found is None:
        own = () if node.keyword else (*NAMES, *C_NAMES)
        misspelt = did_you_mean(node.name, (*own, *(t.view.program.names() if t.view.program else ())))
        known = node.name in t.macros and not node.keyword
        t.lacks(_unknown(t, node), TypeAssumed(span=node.span, name=_spelling(node)), certain=bool(misspelt) or known)
    return found


def _undefined(t: Typing, operand: tree.Expr | tree.TypeSyntax) -> UnknownType | None:
    """What is wrong with the name of a type whose definition is needed; None for one that is there, and for what is no name."""
    if isinstance(operand, tree.Identifier) and not t.is_builtin(operand.name):
        operand = tree.NamedType(operand.name, span=operand.span)
    if not isinstance(operand, tree.NamedType) or _lookup(t, operand) is not None:
        return None
    return _unknown(t, operand)


def _unknown(t: Typing, node: tree.NamedType) -> UnknownType:
    macro = node.name in t.macros and not node.keyword
    if macro:
        near: tuple[str, ...] = (f"{node.name} is a macro: none is expanded where a type can stand.",)
    else:
        near = t.hint(node.span, node.name, lambda: t.view.type_names(node.keyword, NAMES))
    return UnknownType(span=node.span, name=_spelling(node), help=near, of_kernel=not macro)


def _spelling(node: tree.NamedType) -> str:
    return f"{node.keyword} {node.name}".strip()


def _lookup(t: Typing, node: tree.NamedType) -> Type | None:
    match node.keyword:
        case "struct":
            return t.view.struct(node.name)
        case "union":
            return t.view.union(node.name)
        case "enum":
            return t.view.enum(node.name)
    if node.name == "string":
        return String(t.settings.max_strlen)
    if node.name == "buffer":
        return Buffer(t.settings.max_strlen)
    return NAMES.get(node.name) or t.view.typedef(node.name) or t.view.struct(node.name) or C_NAMES.get(node.name)


def _array(t: Typing, node: tree.ArrayType) -> Type | None:
    length = None if node.length is None else t.expr(node.length)
    if length is not None and not isinstance(length, typed.Constant):
        t.complain(UnknownType(span=node.span, name="an array whose length is no constant", of_kernel=False))
        return None
    n = 0 if length is None else length.value
    if isinstance(node.element, tree.NamedType) and node.element.name in ("string", "buffer"):
        return String(n) if node.element.name == "string" else Buffer(n)
    element = type_of(t, node.element)
    if isinstance(element, Resolved) and element.kind == "inet":
        return element  # an address has room for both families, whatever length is written
    return element and Array(element, n)


def assigned_map(node: tree.Node) -> tree.Assign | None:
    """The assignment to a map in an operand that is never evaluated, only asked for its type."""
    for inner in below(node):
        if isinstance(inner, tree.Assign) and isinstance(inner.target, tree.Map | tree.MapAccess):
            return inner
    return None


def operand_type(t: Typing, operand: tree.Expr | tree.TypeSyntax) -> Type | None:
    """The type that sizeof, offsetof or typeof is about."""
    if isinstance(operand, tree.NamedType | tree.PointerType | tree.ArrayType | tree.TupleType | tree.TypeofType):
        return type_of(t, operand)
    if isinstance(operand, tree.Map):
        return _map_type(t, operand)
    # A bare name may be a variable-like builtin or a type: what the kernel knows as a type is one, unless a builtin has the name.
    if isinstance(operand, tree.Identifier) and not t.is_builtin(operand.name):
        return type_of(t, tree.NamedType(operand.name, span=operand.span))
    expr = t.expr(operand)
    if t.final:
        t.asked.append(expr)
    return None if isinstance(expr, typed.Bad) else expr.type


def _map_type(t: Typing, node: tree.Map) -> Type | None:
    """A map by its name alone stands for its keys; a scalar map for its value."""
    slots = t.slots.map(node.name)
    found = slots.key.type if slots.keyed else slots.value.type
    if found is None:
        t.complain(UndefinedMap(span=node.span, name=node.name))
    return found


def sizeof_of(t: Typing, node: tree.Sizeof) -> typed.Expr:
    """`sizeof(T)`: of a kernel struct it is a relocation, because nodes differ."""
    found = operand_type(t, node.operand)
    if found is None:
        return t.bad(node)
    if isinstance(found, Struct) and found.origin is Origin.BTF:
        return typed.SizeOf(span=node.span, type=U64, struct=found)
    return typed.Constant(span=node.span, type=U64, value=sizeof(found), literal=True)


def offsetof_of(t: Typing, node: tree.Offsetof) -> typed.Expr:
    """`offsetof(T, a.b)`: in a kernel struct it is a relocation. It asks for a definition, so T is never taken to exist."""
    if (unknown := _undefined(t, node.operand)) is not None:
        return t.bad(node, unknown)
    found = operand_type(t, node.operand)
    if found is None:
        return t.bad(node)
    if t.view.anything_exists and isinstance(node.operand, tree.Unary) and isinstance(found, Int):
        return t.bad(node, StructAssumed(span=node.span, name=".".join(node.path)))
    steps: list[tuple[Struct, Field]] = []
    fixed, current = 0, found
    for name in node.path:
        if steps and isinstance(current, Pointer):
            return t.bad(node, ThroughPointer(span=node.span, name=steps[-1][1].name))
        struct = struct_of(current)
        field = None if struct is None else find_field(struct, name)
        if struct is None or field is None:
            kernel = struct is not None and struct.origin is Origin.BTF
            return t.bad(node, NoSuchField(span=node.span, type=str(current), name=name, of_kernel=kernel))
        steps.append((struct, field))
        fixed, current = fixed + field.offset, field.type
    if steps[0][0].origin is Origin.BTF:
        return typed.OffsetOf(span=node.span, type=U64, steps=tuple(steps))
    return typed.Constant(span=node.span, type=U64, value=fixed, literal=True)


def cast(t: Typing, node: tree.Cast) -> typed.Expr:
    """`(T)operand`. Only a number that an enum has may be cast to it, which asks for its definition."""
    if isinstance(node.type, tree.NamedType) and node.type.keyword == "enum" and (unknown := _undefined(t, node.type)):
        return t.bad(node, unknown)
    to = type_of(t, node.type)
    operand = decay(t.expr(node.operand))
    if to is None or isinstance(operand, typed.Bad):
        return t.bad(node)
    return cast_to(t, node, operand, to)


def _of_kernel(t: Typing, enum: EnumType) -> bool:
    """Whether an enum is the kernel's, not the program's own."""
    return t.view.program is None or t.view.program.enum(enum.name) is None


def cast_to(t: Typing, node: tree.Node, operand: typed.Expr, to: Type) -> typed.Expr:
    """An explicit conversion of a typed expression."""
    found = operand.type
    if isinstance(to, Pointer) and (is_integral(found) or isinstance(found, Pointer)):
        if isinstance(found, Int) and found.signed and found.bits < 64:
            operand = convert(operand, Int(found.bits, False))  # as upstream: an address is not extended by a sign
        return typed.Convert(span=node.span, type=_pointer(t, to, found), operand=operand)
    if isinstance(to, Pointer) and isinstance(found, String):
        return typed.Convert(span=node.span, type=Pointer(to.target, Space.KERNEL), operand=operand)  # the program's own memory
    if isinstance(to, Int | EnumType | Bool) and _to_number(operand, to):
        if isinstance(operand, typed.Constant):
            value = convert_constant(operand, to)
            if isinstance(to, EnumType) and operand.literal and value not in (v for _, v in to.values):
                return t.bad(node, NotInEnum(span=node.span, type=str(to), value=value, of_kernel=_of_kernel(t, to)))
            return typed.Constant(span=node.span, type=to, value=value)
        return typed.Convert(span=node.span, type=to, operand=operand)
    if isinstance(to, Array):
        return _to_array(t, node, operand, to)
    if isinstance(to, String) and isinstance(found, String | Array) and sizeof(found) <= to.size:
        return typed.Convert(span=node.span, type=to, operand=operand)
    if found == to:
        return operand
    if isinstance(to, Resolved) and to.kind == "username" and is_integral(found):
        return typed.Convert(span=node.span, type=to, operand=convert(operand, U64))
    return t.bad(node, BadCast(span=node.span, found=str(found), wanted=str(to)))


def convert_constant(operand: typed.Constant, to: Int | EnumType | Bool) -> int:
    """The constant's value in the wanted type."""
    done = convert(operand, to)
    assert isinstance(done, typed.Constant)
    return done.value


def _pointer(t: Typing, to: Pointer, found: Type) -> Pointer:
    if isinstance(found, Pointer):
        return Pointer(to.target, found.space)
    assert t.context is not None
    return Pointer(to.target, t.context.default_space)


def _to_number(operand: typed.Expr, to: Type) -> bool:
    found = operand.type
    if is_integral(found) or isinstance(found, Pointer):
        return True
    if isinstance(to, Bool) and isinstance(found, String):
        return True
    return isinstance(found, Array) and is_integral(found.element) and sizeof(found) == sizeof(to)


def _to_array(t: Typing, node: tree.Node, operand: typed.Expr, to: Array) -> typed.Expr:
    found = operand.type
    element = sizeof(to.element)
    source = 8 if isinstance(operand, typed.Constant) and operand.literal else sizeof(found)
    if not to.length and element and source % element == 0:
        to = Array(to.element, source // element)
    if isinstance(found, String) and to.element in (I8, Int(8, False)) and sizeof(found) <= sizeof(to):
        return typed.Convert(span=node.span, type=to, operand=operand)
    if is_integral(found) and not isinstance(found, Bool) and is_integral(to.element) and sizeof(found) <= sizeof(to) <= 8:
        if isinstance(found, Int) and found.signed and not (isinstance(operand, typed.Constant) and operand.literal):
            operand = convert(operand, Int(found.bits, False))  # as upstream: the bytes behind the number are 0
        return typed.Convert(span=node.span, type=to, operand=operand)
    if isinstance(found, Array) and sizeof(found) == sizeof(to):
        return typed.Convert(span=node.span, type=to, operand=operand)
    return t.bad(node, BadCast(span=node.span, found=str(found), wanted=str(to)))
