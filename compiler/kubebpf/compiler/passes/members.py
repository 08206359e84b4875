"""The type rules of everything that follows a value into memory: fields, indices, `*`, pointer arithmetic.

curtask.real_parent.tgid    -> Member(Member(curtask, task_struct.real_parent), task_struct.tgid): int32
args.filename               -> Argument(…): int8*
@t.1, $pair.0               -> Part(…)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from kubebpf.compiler.complaints.offline import StructAssumed
from kubebpf.compiler.complaints.typing import (
    IndexOutOfBounds,
    NegativeIndex,
    NoFields,
    NoFraction,
    NoIndex,
    NoSuchField,
    NotDereferenceable,
    OperatorMismatch,
    OperatorUnusable,
    UndefinedMap,
    UndefinedVariable,
)
from kubebpf.compiler.passes.conversions import convert, decay, is_integer
from kubebpf.compiler.passes.hints import did_you_mean, fields_hint
from kubebpf.compiler.passes.places import refused_here
from kubebpf.compiler.probes.record import Register
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    I8,
    I64,
    U64,
    Array,
    Field,
    FunctionType,
    Int,
    Origin,
    Pointer,
    Record,
    Space,
    String,
    Struct,
    Tuple,
    Type,
    Void,
    flat_fields,
    sizeof,
)
from kubebpf.compiler.types.promote import as_int, is_integral

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def field_access(t: Typing, node: tree.FieldAccess) -> typed.Expr:
    """`object.name` and `object->name`."""
    if isinstance(node.object, tree.Identifier | tree.Call) and node.object.name == "args":
        return _argument(t, node)
    object_ = t.expr(node.object)
    if isinstance(object_, typed.Bad):
        return t.bad(node)
    if t.view.anything_exists and isinstance(object_, typed.Argument) and isinstance(object_.access, Register):
        return t.bad(node, StructAssumed(span=node.span, name=node.name))
    if isinstance(object_.type, Record):
        return _record_field(t, node, object_, object_.type)
    struct = struct_of(object_.type)
    if struct is None:
        return t.bad(node, NoFields(span=node.span, type=str(object_.type), name=node.name))
    return member(t, node, object_, struct, node.name)


def _argument(t: Typing, node: tree.FieldAccess) -> typed.Expr:
    assert t.context is not None
    refused = refused_here(t, node.object, f"args.{node.name}", "args")
    return refused or t.context.argument(t, node, node.name)


def struct_of(t: Type) -> Struct | None:
    """The struct that a value is, or points to."""
    if isinstance(t, Pointer):
        t = t.target
    return t if isinstance(t, Struct) else None


def member(t: Typing, node: tree.Node, object_: typed.Expr, struct: Struct, name: str) -> typed.Expr:
    """The named field of a struct, found through anonymous members as in C."""
    struct = _own(t, struct)
    found = find_field(struct, name)
    if found is None:
        near = fields_hint(name, [f.name for f in flat_fields(struct)])
        kernel = struct.origin is Origin.BTF
        return t.bad(node, NoSuchField(span=node.span, type=str(struct), name=name, help=near, of_kernel=kernel))
    space = _space_of(object_)
    type_ = value_type(found.type, space)
    return typed.Member(span=node.span, type=type_, object=object_, struct=struct, field=found)


def _own(t: Typing, struct: Struct) -> Struct:
    """The program's own definition of a kernel struct, when it has one: it hides the kernel's."""
    if t.view.program is None or struct.origin is not Origin.BTF or not struct.name:
        return struct
    own = t.view.program.struct(struct.name) if struct.kind == "struct" else t.view.program.union(struct.name)
    return own or struct


def _space_of(object_: typed.Expr) -> Space:
    if isinstance(object_.type, Pointer):
        return object_.type.space
    if isinstance(object_, typed.Member | typed.Element):
        return _space_of(object_.object)
    return _space_of(object_.pointer) if isinstance(object_, typed.Dereference) else Space.KERNEL


def value_type(t: Type, space: Space) -> Type:
    """The type of a member when it is read: an array of char is a string; a pointer found in user memory points to user
    memory."""
    match t:
        case Array(element=Int(role="char"), length=n) if n:
            return String(n)
        case Pointer(target=target, space=own):
            return Pointer(target, Space.USER if Space.USER in (space, own) else Space.KERNEL)
        case _:
            return t


def find_field(struct: Struct, name: str) -> Field | None:
    """A field by name, with its offsets counted from the outermost struct; anonymous members are looked through."""
    return next((f for f in flat_fields(struct) if f.name == name), None)


def _record_field(t: Typing, node: tree.FieldAccess, object_: typed.Expr, record: Record) -> typed.Expr:
    names = [n for n, _ in record.fields]
    if node.name not in names:
        complaint = NoSuchField(span=node.span, type=str(record), name=node.name, help=fields_hint(node.name, names))
        return t.bad(node, complaint)
    i = names.index(node.name)
    if _is_written(object_):
        return object_.elements[i]
    return typed.Part(span=node.span, type=record.fields[i][1], object=object_, index=i)


def tuple_access(t: Typing, node: tree.TupleAccess) -> typed.Expr:
    """`tuple.N`."""
    object_ = t.expr(node.object)
    if isinstance(object_, typed.Bad):
        return t.bad(node)
    if isinstance(node.object, tree.Typeinfo) and isinstance(object_, typed.MakeTuple) and node.index < len(object_.elements):
        return object_.elements[node.index]  # a tuple in older releases
    if isinstance(node.object, tree.Integer):
        return t.bad(node, NoFraction(span=node.span))
    if not isinstance(object_.type, Tuple) or node.index >= len(object_.type.elements):
        return t.bad(node, NoIndex(span=node.span, index=str(node.index), type=str(object_.type)))
    return _part(node, object_, node.index)


def _part(node: tree.Node, object_: typed.Expr, index: int) -> typed.Expr:
    """An element of a tuple; of one that is written down, and has no effects, the element itself."""
    assert isinstance(object_.type, Tuple)
    if _is_written(object_):
        return object_.elements[index]
    return typed.Part(span=node.span, type=object_.type.elements[index], object=object_, index=index)


def _is_written(object_: typed.Expr) -> TypeGuard[typed.MakeTuple]:
    """Whether a tuple or record is made of constants."""
    return isinstance(object_, typed.MakeTuple) and all(isinstance(e, typed.Constant | typed.Text) for e in object_.elements)


def index(t: Typing, node: tree.Index) -> typed.Expr:
    """`array[i]`, `pointer[i]`, `"text"[i]`."""
    object_, at = t.expr(node.object), decay(t.expr(node.index))
    if isinstance(object_, typed.Bad) or isinstance(at, typed.Bad):
        return t.bad(node)
    if not is_integer(at):
        return t.bad(node, OperatorUnusable(span=node.index.span, op="[]", type=str(at.type)))
    if _may_be_negative(t, at):
        return t.bad(node, NegativeIndex(span=node.span, type=str(at.type)))
    match object_.type:
        case Tuple(elements=elements) if isinstance(at, typed.Constant) and 0 <= at.value < len(elements):
            return _part(node, object_, at.value)
        case Array(element=element, length=length):
            return _array_element(t, node, object_, at, element, length)
        case String(size=size) if isinstance(object_, typed.Text) and isinstance(at, typed.Constant) and at.value < size:
            character = int.from_bytes(object_.value[at.value : at.value + 1], "little", signed=True)
            return typed.Constant(span=node.span, type=I8, value=character, literal=True)
        case String(size=size):
            return _array_element(t, node, object_, at, I8, size)
        case Pointer(target=target) if not isinstance(target, Void | FunctionType):
            read = value_type(target, object_.type.space)
            return typed.Element(span=node.span, type=read, object=object_, index=convert(at, I64), array=None)
        case _:
            return t.bad(node, NoIndex(span=node.span, index="…", type=str(object_.type)))


def _may_be_negative(t: Typing, at: typed.Expr) -> bool:
    """Whether an index has a signed type, and is not only ever given numbers that are none."""
    if isinstance(at, typed.Constant):
        return at.value < 0
    return as_int(at.type).signed and not t.is_flexible(at) and as_int(at.type).bits < 64


def _array_element(t: Typing, node: tree.Index, object_: typed.Expr, at: typed.Expr, element: Type, length: int) -> typed.Expr:
    if isinstance(at, typed.Constant) and length and not 0 <= at.value < length:
        return t.bad(node, IndexOutOfBounds(span=node.span, index=at.value, length=length))
    read = value_type(element, _space_of(object_))
    array = Array(element, length)
    return typed.Element(span=node.span, type=read, object=object_, index=convert(at, U64), array=array)


def dereference(t: Typing, node: tree.Unary) -> typed.Expr:
    """`*pointer`; a plain integer is taken for a pointer to uint64, as upstream does for kaddr()."""
    pointer = decay(t.expr(node.operand))
    if isinstance(pointer, typed.Bad):
        return pointer
    if isinstance(pointer.type, Int):
        pointer = convert(pointer, Pointer(U64, Space.KERNEL))
    if not isinstance(pointer.type, Pointer):
        return t.bad(node, NotDereferenceable(span=node.span, type=str(pointer.type)))
    target = pointer.type.target
    if isinstance(target, Void | FunctionType):
        return t.bad(
            node, NotDereferenceable(span=node.span, type=str(pointer.type), hint="Cast it to a pointer to what is there.")
        )
    return typed.Dereference(span=node.span, type=value_type(target, pointer.type.space), pointer=pointer)


def address_of(t: Typing, node: tree.Unary) -> typed.Expr:
    """`&$x` and `&@m`. The program's own memory is the kernel's: it is read like any of its memory."""
    match node.operand:
        case tree.Variable():
            found = t.lookup(node.operand.name)
            if found is None:
                near = did_you_mean(node.operand.name, t.visible_variables())
                return t.bad(node, UndefinedVariable(span=node.operand.span, name=node.operand.name, help=near))
            if isinstance(found.type, Void):
                t.unresolved = t.unresolved or node.span
                return t.bad(node)
            return _address(node, found.type, found)
        case tree.Map(name=name):
            slot = t.slots.map(name).value
            if slot.type is None:
                return t.bad(node, UndefinedMap(span=node.operand.span, name=name))
            return _address(node, slot.type, t.map(name, node.operand.span))
    operand = t.expr(node.operand)
    return t.bad(node, OperatorUnusable(span=node.span, op="&", type=str(operand.type)))


def _address(node: tree.Unary, target: Type, found: typed.Variable | typed.MapInfo) -> typed.Expr:
    return typed.AddressOf(span=node.span, type=Pointer(target, Space.KERNEL, growing=True), target=found)


def _size_of(node: tree.Node, target: Type) -> typed.Expr:
    """The distance of two elements: of kernel structs it is the node's."""
    if isinstance(target, Struct) and target.origin is Origin.BTF and target.name and target.size:
        return typed.SizeOf(span=node.span, type=I64, struct=target)
    return typed.Constant(span=node.span, type=I64, value=max(sizeof(target), 1))


def pointer_arithmetic(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    """`pointer + n`, `n + pointer`, `pointer - n`: counted in elements."""
    if op == "+" and isinstance(right.type, Pointer):
        left, right = right, left
    mismatch = OperatorMismatch(span=node.span, op=op, left=str(left.type), right=str(right.type))
    if op not in ("+", "-") or not isinstance(left.type, Pointer) or not is_integral(right.type):
        return t.bad(node, mismatch)
    size = _size_of(node, left.type.target)
    step = typed.Binary(span=right.span, type=I64, op="*", left=convert(right, I64), right=size, signed=True)
    return typed.Binary(span=node.span, type=left.type, op=op, left=left, right=step, signed=True)
