"""What the probe hands over: argN, retval, args, and the probe's own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.manifest import NAME_BYTES, NAMES
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import String

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
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
    data = text.encode(errors="surrogateescape")
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


def _check_probe(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    if t.context.target.wildcard:
        return call(t, node, String(NAME_BYTES))
    return _text(node, t.context.target.text)


def _emit_probe(code: Code, node: typed.Call) -> Operand:
    """The name of this match of a wildcard: the node has put it down under the cookie of the place."""
    code.module.named = True
    f, key = code.f, code.slot("cookie")
    f.store(code.helper(Helper.GET_ATTACH_COOKIE, f.parameter), key, align=8)
    found, absent, done = f.label("name"), f.label("noname"), f.label("named")
    name = f.call_pointer(Helper.MAP_LOOKUP_ELEM, Operand(f"@{NAMES}", "ptr"), key)
    f.branch(f.compare("ne", name, NULL), found, absent)
    f.place(found)
    code.copy(code.destination, name, NAME_BYTES)
    f.jump(done)
    f.place(absent)
    code.zero(code.destination, NAME_BYTES)
    f.place(done)
    return const(0)


def _check_probetype(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    name = t.context.provider.name
    return _text(node, PROBE_TYPES.get(name, name))


ALL = (
    Builtin("arg0", _check_numbered, bare=True),
    Builtin("retval", _check_retval, bare=True),
    Builtin("args", _check_args, bare=True),
    Builtin("probe", _check_probe, _emit_probe, bare=True),
    Builtin("probetype", _check_probetype, bare=True),
)
