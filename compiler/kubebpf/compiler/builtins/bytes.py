"""What helpers about strings and memory have in common: which expressions hold bytes, and where these lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.strings import STR, Read
from kubebpf.compiler.complaints.helpers import NotAString
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I8, Array, Int, Pointer, Space, String, Type, sizeof
from kubebpf.compiler.types.promote import is_scalar

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


def is_text(t: Type) -> bool:
    """Whether a value is a string: one of the language's or an array of 8-bit integers."""
    return isinstance(t, String) or (isinstance(t, Array) and isinstance(t.element, Int) and t.element.bits == 8)


def text_argument(t: Typing, node: tree.Call, index: int) -> typed.Expr:
    """An argument that has to be a string, an array of int8 or a pointer to int8, as a value in memory; Bad after a
    diagnostic."""
    value = t.value(node.arguments[index])
    if isinstance(value, typed.Bad) or is_text(value.type):
        return value
    pointer = value.type
    if isinstance(pointer, Pointer) and isinstance(pointer.target, Int) and pointer.target.bits == 8:
        return string_at(t, value)
    return t.bad(node, NotAString(span=value.span, name=node.name, found=str(value.type)))


def string_at(t: Typing, pointer: typed.Expr) -> typed.Expr:
    """str(pointer)."""
    assert isinstance(pointer.type, Pointer) and t.context is not None
    space = pointer.type.space if pointer.type.space is not Space.NONE else t.context.default_space
    read = Read(space, dynamic=False, whole=True)
    return typed.Call(span=pointer.span, type=String(t.settings.max_strlen), builtin=STR, arguments=(pointer,), extra=read)


def raw(value: typed.Expr) -> typed.Expr:
    """A char array out of memory with all its bytes: as a string it would end at its first zero."""
    if isinstance(value.type, String) and isinstance(value, typed.Member | typed.Element | typed.Dereference):
        return replace(value, type=Array(I8, value.type.size))
    return value


def address_of(code: Code, value: typed.Expr) -> Operand:
    """Where the bytes of a value lie, numbers included."""
    if not is_scalar(value.type):
        return own(code, value)
    memory = code.temp(8)
    code.store(value.type, code.scalar(value), memory, align=8)
    return memory


def own(code: Code, value: typed.Expr) -> Operand:
    """Where the bytes of a value lie that a function is called with. The verifier wants to be able to write there
    (check_mem_reg, kernel/bpf/verifier.c), which it cannot where a map has no such key or the node has put a constant."""
    if not isinstance(value, typed.ReadMap | typed.Part | typed.LoadTime | typed.Convert):
        return code.address(value)
    memory = code.temp(sizeof(value.type))
    code.into(value, memory)
    return memory


def bounded(code: Code, wanted: Operand, limit: int) -> Operand:
    """A number cut to a limit in a way that the verifier sees, though LLVM could do without."""
    f = code.f
    hidden = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {wanted.text})', "i64")
    return f.select(f.compare("ult", hidden, const(limit)), hidden, const(limit))


def text_of(value: typed.Expr) -> bytes | None:
    """The bytes of a string constant up to its first zero; None for everything else."""
    return value.value.partition(b"\0")[0] if isinstance(value, typed.Text) else None


def size_of(value: typed.Expr) -> int:
    """The bytes that a value takes."""
    return sizeof(value.type)
