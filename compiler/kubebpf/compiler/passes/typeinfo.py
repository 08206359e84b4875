"""What programs ask about types: `typeinfo(x)`, and conditions under comptime that depend on it.

typeinfo(comm)                            -> (btf_id = 0, base_type = "string", full_type = "string[16]")
if comptime (typeinfo($x).full_type == "uint64") { … }

Such a condition is decided when inference has come to rest without it, one at a time in the order of the text. What it asked
about is fixed from then on: an assignment that would enlarge that type is an error, because the answer would no longer be true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import AssignedInType
from kubebpf.compiler.passes.casts import assigned_map, operand_type
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import below
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    U64,
    Aggregate,
    Array,
    Bool,
    Buffer,
    EnumType,
    Int,
    Pointer,
    Record,
    Resolved,
    String,
    Struct,
    Tuple,
    Type,
)

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def typeinfo_of(t: Typing, node: tree.Typeinfo) -> typed.Expr:
    """`typeinfo(x)`: a record of constants."""
    if assigned := assigned_map(node):
        return t.bad(node, AssignedInType(span=assigned.span))
    found = operand_type(t, node.operand)
    if found is None:
        return t.bad(node)
    number = typed.Constant(span=node.span, type=U64, value=0)
    texts = (_text(node, base_name(found)), _text(node, full_name(found)))
    names = ("btf_id", "base_type", "full_type")
    elements = (number, *texts)
    fields = tuple((name, e.type) for name, e in zip(names, elements, strict=True))
    return typed.MakeTuple(span=node.span, type=Record(fields), elements=elements)


def _text(node: tree.Node, text: str) -> typed.Text:
    data = text.encode(errors="surrogateescape")
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


def base_name(t: Type) -> str:
    """What kind of type it is."""
    match t:
        case Int() | EnumType():
            return "int"
        case Bool():
            return "bool"
        case String():
            return "string"
        case Buffer():
            return "buffer"
        case Pointer():
            return "pointer"
        case Array():
            return "array"
        case Struct():
            return "c_type"
        case Tuple():
            return "tuple"
        case Record():
            return "record"
        case Aggregate(kind=kind):
            return f"{'' if t.signed or kind == 'count' else 'u'}{kind}_t"
        case Resolved(kind=kind):
            return kind
        case _:
            return str(t)


def full_name(t: Type) -> str:
    """The whole type; a pointer's star stands apart, as in C."""
    return f"{full_name(t.target)} *" if isinstance(t, Pointer) else str(t)


# --- Conditions that ask about types ----------------------------------------------------------------------------------


def asks_about_types(node: tree.Node) -> bool:
    """Whether an expression has a typeinfo in it."""
    return isinstance(node, tree.Typeinfo) or any(isinstance(inner, tree.Typeinfo) for inner in below(node))


def fix_types(t: Typing, node: tree.Node) -> None:
    """Fix the types of all variables and maps that a condition asks about."""
    for inner in below(node):
        if not isinstance(inner, tree.Typeinfo):
            continue
        for name in below(inner):
            if isinstance(name, tree.Variable) and (variable := t.lookup(name.name)) is not None:
                t.slot(variable).fixed = True
            elif isinstance(name, tree.Map):
                slots = t.slots.map(name.name)
                slots.key.fixed = slots.value.fixed = True
