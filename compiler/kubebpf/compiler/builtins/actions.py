"""Further actions of user space: join, unwatch; and fail, which is one of the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kubebpf.compiler.artifact.printf import conversions, printf
from kubebpf.compiler.artifact.values import Value
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, literal_string
from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.typing import FormatCount, NeedsLiteral, WrongArgument
from kubebpf.compiler.emit.events import send
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.words import send_words
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.passes.literals import literal
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, VOID, Array, Bool, EnumType, Pointer, Space

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


@dataclass(frozen=True, kw_only=True)
class Failed(Complaint):
    """fail() in a piece of the program that is compiled."""

    title: ClassVar[str] = "{text}"
    text: str


# --- join -------------------------------------------------------------------------------------------------------------


def _check_join(t: Typing, node: tree.Call) -> typed.Expr:
    """join(argv, separator): the address of pointers to strings, of which the last is null, or an array of such pointers."""
    words = t.value(node.arguments[0])
    separator = literal_string(t, node, 1) if len(node.arguments) > 1 else " "
    if isinstance(words, typed.Bad) or separator is None:
        return t.bad(node)
    if not _is_address(words):
        wanted = "the address of an array of strings"
        return t.bad(node, WrongArgument(span=words.span, name="join", wanted=wanted, found=str(words.type)))
    assert t.context is not None
    space = _pointer(words).space
    return call(t, node, VOID, (words,), (t.context.default_space if space is Space.NONE else space, separator))


def _is_address(value: typed.Expr) -> bool:
    if isinstance(value.type, Array):
        return isinstance(value.type.element, Pointer)
    return is_integer(value) or isinstance(value.type, Pointer)


def _pointer(value: typed.Expr) -> Pointer:
    """The pointer that tells in which address space the strings are."""
    t = value.type.element if isinstance(value.type, Array) else value.type
    return t if isinstance(t, Pointer) else Pointer(VOID)


def _emit_join(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, tuple)
    space, separator = node.extra
    send_words(code, "join", node.span, node.arguments[0], space, format=separator)
    return const(0)


# --- unwatch ----------------------------------------------------------------------------------------------------------


def _check_unwatch(t: Typing, node: tree.Call) -> typed.Expr:
    address = t.value(node.arguments[0])
    if isinstance(address, typed.Bad):
        return address
    if not (is_integer(address) or isinstance(address.type, Pointer)):
        return t.bad(node, WrongArgument(span=address.span, name="unwatch", wanted="an address", found=str(address.type)))
    return call(t, node, VOID, (convert(address, U64),))


def _emit_unwatch(code: Code, node: typed.Call) -> Operand:
    send(code, "unwatch", node.span, node.arguments)
    return const(0)


# --- fail -------------------------------------------------------------------------------------------------------------


def _check_fail(t: Typing, node: tree.Call) -> typed.Expr:
    """fail("…", literals): the compilation ends here, when this is reached."""
    format_, values = literal_string(t, node, 0), [literal(t, t.value(a)) for a in node.arguments[1:]]
    if format_ is None or any(isinstance(v, typed.Bad) for v in values):
        return t.bad(node)
    for value in values:
        if not isinstance(value, typed.Constant | typed.Text):
            return t.bad(node, NeedsLiteral(span=value.span, name="fail", wanted="a", found=str(value.type)))
    wanted = len(conversions(format_))
    if wanted != len(values):
        problem = "not enough arguments" if len(values) < wanted else "too many arguments"
        return t.bad(node, FormatCount(span=node.span, problem=problem, found=len(values), wanted=wanted))
    return t.bad(node, Failed(span=node.span, text=printf(format_, [_literal(v) for v in values])))


def _literal(value: typed.Expr) -> Value:
    if isinstance(value, typed.Text):
        return value.value.decode(errors="surrogateescape")
    assert isinstance(value, typed.Constant)
    if isinstance(value.type, EnumType):
        return next((name for name, number in value.type.values if number == value.value), value.value)
    return bool(value.value) if isinstance(value.type, Bool) else value.value


ALL = (
    Builtin("join", _check_join, _emit_join, takes=(1, 2)),
    Builtin("unwatch", _check_unwatch, _emit_unwatch, takes=(1, 1)),
    Builtin("fail", _check_fail, takes=(1, 64)),
)
