"""Addresses: kaddr, percpu_kaddr, kptr, uptr, container_of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, literal_string, wrong_argument
from kubebpf.compiler.complaints.typing import WrongArgument
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand
from kubebpf.compiler.passes import casts
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, VOID, Pointer, Space

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


# --- kernel symbols ---------------------------------------------------------------------------------------------------


def _symbol(t: Typing, node: tree.Call) -> str | None:
    """The symbol that a call names, or `$N` for a parameter that only the node knows; None after a diagnostic."""
    first = node.arguments[0]
    if isinstance(first, tree.Call) and first.name == "str" and len(first.arguments) == 1:
        first = first.arguments[0]
        if isinstance(first, tree.PositionalParameter):
            return f"${first.index}"
    return literal_string(t, node, 0)


def _check_kaddr(t: Typing, node: tree.Call) -> typed.Expr:
    """Each node has its own address (KASLR), and puts it into the program before it is loaded."""
    name = _symbol(t, node)
    return t.bad(node) if name is None else typed.LoadTime(span=node.span, type=U64, kind="kaddr", arg=name)


def _check_percpu(t: Typing, node: tree.Call) -> typed.Expr:
    name = literal_string(t, node, 0)
    cpu = integer(t, node, 1) if len(node.arguments) > 1 else None
    if name is None or isinstance(cpu, typed.Bad):
        return t.bad(node)
    if not name.isidentifier():
        return t.bad(node, WrongArgument(span=node.span, name=node.name, wanted="a symbol's name", found=repr(name)))
    variable = name, t.view.variable(name) or U64
    return call(t, node, Pointer(U64, Space.KERNEL), () if cpu is None else (convert(cpu, U64),), variable)


def _emit_percpu(code: Code, node: typed.Call) -> Operand:
    """The helper gives 0 for a CPU that cannot be. The verifier knows that, and would refuse any use of the pointer before a
    test; out of memory it is a number like any other, and what is read at 0 is 0."""
    assert isinstance(node.extra, tuple)
    f = code.f
    variable = Operand(code.module.kernel_variable(*node.extra), "ptr")
    if node.arguments:
        cpu = f.cast("trunc", code.scalar(node.arguments[0]), "i32")
        pointer = f.call_pointer(Helper.PER_CPU_PTR, variable, cpu)
    else:
        pointer = f.call_pointer(Helper.THIS_CPU_PTR, variable)
    place = code.large(8)
    f.do(f"store volatile {pointer}, {place}, align 8")
    return f.load("i64", place, align=8, volatile=True)


# --- address spaces ---------------------------------------------------------------------------------------------------


def _marks(space: Space) -> object:
    def check(t: Typing, node: tree.Call) -> typed.Expr:
        value = t.value(node.arguments[0])
        if isinstance(value, typed.Bad):
            return value
        if isinstance(value.type, Pointer):
            return typed.Convert(span=node.span, type=Pointer(value.type.target, space), operand=value)
        if is_integer(value):
            return typed.Convert(span=node.span, type=Pointer(VOID, space), operand=convert(value, U64))
        return t.bad(node, wrong_argument(node, value, "a pointer or an integer"))

    return check


# --- container_of -----------------------------------------------------------------------------------------------------


def _check_container_of(t: Typing, node: tree.Call) -> typed.Expr:
    """The struct around a member that a pointer points to: as far in front of it as the node's kernel lays it out."""
    pointer, struct, path = t.value(node.arguments[0]), node.arguments[1], _path(node.arguments[2])
    if isinstance(pointer, typed.Bad):
        return pointer
    if not isinstance(pointer.type, Pointer):
        found = str(pointer.type)
        return t.bad(node, WrongArgument(span=pointer.span, name=node.name, wanted="a pointer to a member", found=found))
    if path is None:
        wanted = "a member's name as the third argument"
        return t.bad(node, WrongArgument(span=node.arguments[2].span, name=node.name, wanted=wanted, found="something else"))
    type_ = casts.operand_type(t, struct)
    offset = casts.offsetof_of(t, tree.Offsetof(struct, path, span=node.span))
    if type_ is None or isinstance(offset, typed.Bad):
        return t.bad(node)
    result = Pointer(type_, pointer.type.space)
    return typed.Binary(span=node.span, type=result, op="-", left=pointer, right=offset, signed=False)


def _path(node: tree.Expr | tree.TypeSyntax) -> tuple[str, ...] | None:
    match node:
        case tree.Identifier(name=name) | tree.NamedType(name=name):
            return (name,)
        case tree.FieldAccess(object=inner, name=name):
            before = _path(inner)
            return None if before is None else (*before, name)
        case _:
            return None


ALL = (
    Builtin("kaddr", _check_kaddr, takes=(1, 1)),
    Builtin("percpu_kaddr", _check_percpu, _emit_percpu, takes=(1, 2)),
    Builtin("kptr", _marks(Space.KERNEL), takes=(1, 1)),  # type: ignore[arg-type]
    Builtin("uptr", _marks(Space.USER), takes=(1, 1)),  # type: ignore[arg-type]
    Builtin("container_of", _check_container_of, takes=(3, 3)),
)
