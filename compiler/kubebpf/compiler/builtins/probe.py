"""What the probe hands over: argN, retval, args, and the probe's own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import String

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

PROBE_TYPES = {"begin": "special", "end": "special", "self": "special"}


def _check_numbered(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    return t.context.numbered(t, node, int(node.name.removeprefix("arg")))


def _check_retval(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    return t.context.result(t, node)


def _check_args(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    return t.context.arguments(t, node)


def _text(node: tree.Call, text: str) -> typed.Text:
    data = text.encode()
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


def _check_probe(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    if t.context.target.wildcard:
        return t.not_yet(node, "probe in a probe with a wildcard")
    return _text(node, t.context.target.text)


def _check_probetype(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    name = t.context.provider.name
    return _text(node, PROBE_TYPES.get(name, name))


ALL = (
    Builtin("arg0", _check_numbered, bare=True),
    Builtin("retval", _check_retval, bare=True),
    Builtin("args", _check_args, bare=True),
    Builtin("probe", _check_probe, bare=True),
    Builtin("probetype", _check_probetype, bare=True),
)
