"""The pieces that many builtins' checks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin, Check
from kubebpf.compiler.complaints.typing import NeedsLiteral, NeedsMap, UndefinedMap, WrongArgument
from kubebpf.compiler.passes.conversions import cast_hint, is_integer, type_name
from kubebpf.compiler.passes.literals import literal
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Bool, Type

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


FORMATTED = ("printf", "errorf", "warnf", "cat", "system")  # whose first argument is a format


def gives(result: Type) -> Check:
    """The check of a builtin without arguments that always has the same type."""

    def check(t: Typing, node: tree.Call) -> typed.Expr:
        return call(t, node, result)

    return check


def call(t: Typing, node: tree.Call, result: Type, arguments: tuple[typed.Expr, ...] = (), extra: object = None) -> typed.Call:
    """The typed call of the builtin that the node names."""
    return typed.Call(span=node.span, type=result, builtin=record(t, node.name), arguments=arguments, extra=extra)


def record(t: Typing, name: str) -> Builtin:
    """The record behind a name."""
    return t.builtin(name)


def integer(t: Typing, node: tree.Call, index: int) -> typed.Expr:
    """An argument that has to be a number; Bad after a diagnostic."""
    value = t.value(node.arguments[index])
    if isinstance(value, typed.Bad) or is_integer(value):
        return value
    return t.bad(node, wrong_argument(node, value, "int arguments"))


def wrong_argument(node: tree.Call, value: typed.Expr, wanted: str) -> WrongArgument:
    """An argument has another type than the helper wants; with a hint where a cast is all that is missing."""
    return WrongArgument(span=value.span, name=node.name, wanted=wanted, found=type_name(value), help=cast_hint(value))


def literal_integer(t: Typing, node: tree.Call, index: int) -> int | None:
    """An argument that has to be a number known now; None after a diagnostic."""
    value = literal(t, t.value(node.arguments[index]))
    if isinstance(value, typed.Constant) and not isinstance(value.type, Bool):
        return value.value
    if not isinstance(value, typed.Bad):
        t.complain(NeedsLiteral(span=value.span, name=node.name, wanted="an integer", found=str(value.type)))
    return None


def literal_string(t: Typing, node: tree.Call, index: int) -> str | None:
    """An argument that has to be a string known now; None after a diagnostic."""
    value = literal(t, t.value(node.arguments[index]))
    if isinstance(value, typed.Text):
        return value.value.decode(errors="surrogateescape")
    if not isinstance(value, typed.Bad):
        hint = (f'Write {node.name}("%s", …).',) if index == 0 and node.name in FORMATTED else ()
        t.complain(NeedsLiteral(span=value.span, name=node.name, wanted="a string", found=str(value.type), help=hint))
    return None


def known_map(t: Typing, node: tree.Call) -> typed.MapInfo | None:
    """The first argument as a map by name, which something assigns somewhere; None after a diagnostic."""
    argument = node.arguments[0]
    if isinstance(argument, tree.Map):
        return assigned_map(t, argument)
    t.complain(NeedsMap(span=argument.span, name=node.name))
    return None


def assigned_map(t: Typing, node: tree.Map) -> typed.MapInfo | None:
    """A map that something assigns; None after a diagnostic, which is about the assignment when that was refused."""
    slots = t.slots.map(node.name)
    if slots.value.type is None:
        if not slots.attempted:
            t.complain(UndefinedMap(span=node.span, name=node.name))
        return None
    return t.map(node.name, node.span)
