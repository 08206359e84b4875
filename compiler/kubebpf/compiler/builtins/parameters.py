"""getopt: options of the program, given behind `--` on the command line or in a manifest's spec.params."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.complaints.parameters import OptionDiffers, OptionNeedsLiteral
from kubebpf.compiler.passes.literals import literal
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, I64, U64, Bool, String

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

_DEFAULTS = "a string literal, integer literal, or a boolean literal"


def _check_getopt(t: Typing, node: tree.Call) -> typed.Expr:
    first = node.arguments[0]
    if not isinstance(first, tree.String):
        return t.bad(node, OptionNeedsLiteral(span=first.span, which="First", wanted="a string literal"))
    default = _default(t, node)
    if default is None:
        return t.bad(node, OptionNeedsLiteral(span=node.arguments[1].span, which="Second", wanted=_DEFAULTS))
    description = node.arguments[2] if len(node.arguments) > 2 else None
    if description is not None and not isinstance(description, tree.String):
        return t.bad(node, OptionNeedsLiteral(span=description.span, which="Third", wanted="a string literal"))
    value = _option(t, node, first.value, default)
    if not _consistent(t, node, first.value, value.default, description.value if description else None):
        return t.bad(node)
    return literal(t, value) if value.type == U64 else value


def _default(t: Typing, node: tree.Call) -> typed.Constant | typed.Text | None:
    """The default; `getopt("name")` is a switch that is off."""
    if len(node.arguments) == 1:
        return typed.Constant(span=node.span, type=BOOL, value=0, literal=True)
    value = t.value(node.arguments[1])
    if isinstance(value, typed.Text) or (isinstance(value, typed.Constant) and value.literal):
        return value
    return None


def _option(t: Typing, node: tree.Call, name: str, default: typed.Constant | typed.Text) -> typed.LoadTime:
    if isinstance(default, typed.Text):
        text, type_ = default.value.decode("utf-8", "surrogateescape"), String(t.settings.max_strlen)
        return typed.LoadTime(span=node.span, type=type_, kind="getopt", arg=name, default=text)
    if isinstance(default.type, Bool):
        text = "true" if default.value else "false"
        return typed.LoadTime(span=node.span, type=BOOL, kind="getopt", arg=name, default=text)
    # A number that no int64 holds is put into the code.
    large = t.parameters.is_large(name) or default.value >= 1 << 63
    return typed.LoadTime(span=node.span, type=U64 if large else I64, kind="getopt", arg=name, default=str(default.value))


def _consistent(t: Typing, node: tree.Call, name: str, default: str, description: str | None) -> bool:
    """Whether the option is the one that it is elsewhere; where a description is left out, the other's holds."""
    kind = type(node.arguments[1]).__name__ if len(node.arguments) > 1 else "Boolean"
    before = t.getopts.setdefault(name, (kind, default, description))
    if before[:2] != (kind, default):
        t.complain(OptionDiffers(span=node.span, name=name, what="default value", before=before[1]))
        return False
    if description is not None and before[2] is not None and description != before[2]:
        t.complain(OptionDiffers(span=node.span, name=name, what="description", before=before[2]))
        return False
    if before[2] is None:
        t.getopts[name] = (kind, default, description)
    return True


ALL = (Builtin("getopt", _check_getopt, takes=(1, 3)),)
