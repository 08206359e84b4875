"""What the compiler knows of an expression: is_array and its kin, static_assert, assert_str, default_str_length, config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.bytes import is_text
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, literal_string
from kubebpf.compiler.complaints.helpers import AssertionFailed, NotAString, NotConstant
from kubebpf.compiler.complaints.typing import NeedsMap, WrongArgument
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.config import INTERNAL
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    BOOL,
    U64,
    VOID,
    Array,
    EnumType,
    Int,
    Pointer,
    Record,
    String,
    Type,
)
from kubebpf.compiler.types.promote import as_int, is_scalar, smallest_int

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

LAST_ERROR = 4095  # MAX_ERRNO, include/linux/err.h: the highest addresses are errors


def _nothing(code: Code, node: typed.Call) -> Operand:
    return const(0)


def _truth(node: tree.Node, value: bool) -> typed.Expr:
    return typed.Constant(span=node.span, type=BOOL, value=int(value), literal=True)


# --- is_array, is_integer, … ------------------------------------------------------------------------------------------


def _asks(question: Callable[[Type], bool]) -> Callable[[Typing, tree.Call], typed.Expr]:
    """The check of a builtin that says something about its argument's type, without evaluating it."""

    def check(t: Typing, node: tree.Call) -> typed.Expr:
        value = t.value(node.arguments[0])
        return value if isinstance(value, typed.Bad) else _truth(node, question(value.type))

    return check


def _is_unsigned(t: Type) -> bool:
    return isinstance(t, Int | EnumType) and not as_int(t).signed


def _check_is_literal(t: Typing, node: tree.Call) -> typed.Expr:
    """Of the text as it is written: a variable with a known value is none."""
    argument = node.arguments[0]
    if isinstance(argument, tree.Unary) and argument.op == "-":
        argument = argument.operand
    return _truth(node, isinstance(argument, tree.Integer | tree.Boolean | tree.String))


def _check_is_scalar(t: Typing, node: tree.Call) -> typed.Expr:
    """Whether a map has no keys."""
    argument = node.arguments[0]
    if not isinstance(argument, tree.Map):
        return t.bad(node, NeedsMap(span=argument.span, name=node.name))
    return _truth(node, not t.slots.map(argument.name).keyed)


def _check_is_err(t: Typing, node: tree.Call) -> typed.Expr:
    value = t.value(node.arguments[0])
    if isinstance(value, typed.Bad):
        return value
    if not is_scalar(value.type):
        wanted = "a pointer or an integer"
        return t.bad(node, WrongArgument(span=value.span, name=node.name, wanted=wanted, found=str(value.type)))
    number = value if isinstance(value.type, Pointer) else convert(value, U64)
    first = typed.Constant(span=node.span, type=U64, value=(1 << 64) - LAST_ERROR)
    return typed.Compare(span=node.span, type=BOOL, op=">=", left=number, right=first, signed=False)


# --- static_assert, assert_str ----------------------------------------------------------------------------------------


def _check_static_assert(t: Typing, node: tree.Call) -> typed.Expr:
    condition = t.value(node.arguments[0])
    message = literal_string(t, node, 1)
    if isinstance(condition, typed.Bad) or message is None:
        return t.bad(node)
    if not isinstance(condition, typed.Constant | typed.Text):
        return t.bad(node, NotConstant(span=condition.span, name=node.name))
    if not condition.value:
        return t.bad(node, AssertionFailed(span=node.span, text=message))
    return call(t, node, VOID)


def _check_assert_str(t: Typing, node: tree.Call) -> typed.Expr:
    value = t.value(node.arguments[0])
    if isinstance(value, typed.Bad):
        return value
    pointer = isinstance(value.type, Pointer) and value.type.target
    if is_text(value.type) or (isinstance(pointer, Int) and pointer.bits == 8):
        return call(t, node, VOID)
    return t.bad(node, NotAString(span=value.span, name=node.name, found=str(value.type)))


# --- settings ---------------------------------------------------------------------------------------------------------


def _check_default_length(t: Typing, node: tree.Call) -> typed.Expr:
    value = t.settings.max_strlen
    return typed.Constant(span=node.span, type=smallest_int(value), value=value, literal=True)


def _check_config(t: Typing, node: tree.Call) -> typed.Expr:
    """config(): the settings as a record of constants."""
    found = {f.name: getattr(t.settings, f.name) for f in fields(t.settings) if f.name not in INTERNAL}
    elements = tuple(_setting(node, value) for value in found.values())
    type_ = Record(tuple((name, e.type) for name, e in zip(found, elements, strict=True)))
    return typed.MakeTuple(span=node.span, type=type_, elements=elements)


def _setting(node: tree.Node, value: int | str | bool) -> typed.Expr:
    if isinstance(value, bool):
        return _truth(node, value)
    if isinstance(value, int):
        return typed.Constant(span=node.span, type=smallest_int(value), value=value, literal=True)
    data = value.encode(errors="surrogateescape")
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


ALL = (
    Builtin("is_array", _asks(lambda t: isinstance(t, Array)), takes=(1, 1)),
    Builtin("is_integer", _asks(lambda t: isinstance(t, Int | EnumType)), takes=(1, 1)),
    Builtin("is_unsigned_integer", _asks(_is_unsigned), takes=(1, 1)),
    Builtin("is_ptr", _asks(lambda t: isinstance(t, Pointer)), takes=(1, 1)),
    Builtin("is_str", _asks(lambda t: isinstance(t, String)), takes=(1, 1)),
    Builtin("is_literal", _check_is_literal, takes=(1, 1)),
    Builtin("is_scalar", _check_is_scalar, takes=(1, 1)),
    Builtin("is_err", _check_is_err, takes=(1, 1)),
    Builtin("static_assert", _check_static_assert, _nothing, takes=(2, 2)),
    Builtin("assert_str", _check_assert_str, _nothing, takes=(1, 1)),
    Builtin("default_str_length", _check_default_length, bare=True),
    Builtin("config", _check_config, bare=True),
)
