"""Helpers about maps: clear, zero, delete, has_key, len."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import assigned_map, call, known_map
from kubebpf.compiler.builtins.stacks import depth, is_stack
from kubebpf.compiler.complaints.helpers import NeedsVariable
from kubebpf.compiler.complaints.stacks import NotAStackOrMap
from kubebpf.compiler.complaints.typing import KeyMissing, NeedsKeyedMap, NeedsMap, UndefinedVariable
from kubebpf.compiler.emit.events import send
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.maps import count_elements, delete, find, has_key
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, I64, VOID

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


def _check_whole(t: Typing, node: tree.Call) -> typed.Expr:
    """clear(@m), zero(@m)."""
    info = known_map(t, node)
    return t.bad(node) if info is None else call(t, node, VOID, extra=info)


def _emit_event(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, typed.MapInfo)
    send(code, node.builtin.name, node.span, map=node.extra.name)
    return const(0)


def _check_keyed(t: Typing, node: tree.Call) -> typed.Expr:
    """has_key(@m, k)."""
    info = known_map(t, node)
    if info is None:
        return t.bad(node)
    if info.key is None:
        return t.bad(node, NeedsKeyedMap(span=node.span, name=node.name))
    key = t.map_key(info.name, t.expr(node.arguments[1]), node.span)  # type: ignore[arg-type]
    return t.bad(node) if isinstance(key, typed.Bad) else call(t, node, BOOL, (key,), info)


def _check_delete(t: Typing, node: tree.Call) -> typed.Expr:
    """delete(@m, k), delete(@m), and the old delete(@m[k])."""
    first = node.arguments[0]
    if isinstance(first, tree.MapAccess) and len(node.arguments) == 1:
        return _typed_delete(t, node, first.map, first.key)
    if not isinstance(first, tree.Map):
        return t.bad(node, NeedsMap(span=first.span, name="delete"))
    return _typed_delete(t, node, first, node.arguments[1] if len(node.arguments) > 1 else None)  # type: ignore[arg-type]


def _typed_delete(t: Typing, node: tree.Call, name: tree.Map, key: tree.Expr | None) -> typed.Expr:
    info = assigned_map(t, name)
    if info is None:
        return t.bad(node)
    if key is None:
        return t.bad(node, KeyMissing(span=node.span, name=name.name)) if info.key else call(t, node, BOOL, extra=info)
    if info.key is None:
        return t.bad(node, NeedsKeyedMap(span=node.span, name="delete"))
    typed_key = t.map_key(name.name, t.expr(key), node.span)
    return t.bad(node) if isinstance(typed_key, typed.Bad) else call(t, node, BOOL, (typed_key,), info)


def _emit_delete(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, typed.MapInfo)
    return delete(code, node.extra, node.arguments[0] if node.arguments else None)


def _emit_has_key(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, typed.MapInfo)
    return has_key(code, node.extra, node.arguments[0])


def _check_len(t: Typing, node: tree.Call) -> typed.Expr:
    """len(@m), and the depth of a stack."""
    first = node.arguments[0]
    if not isinstance(first, tree.Map) or _holds_stack(t, first.name):
        return _check_depth(t, node)
    info = known_map(t, node)
    if info is None:
        return t.bad(node)
    if info.key is None:
        return t.bad(node, NeedsKeyedMap(span=node.span, name="len"))
    return call(t, node, I64, extra=info)


def _holds_stack(t: Typing, name: str) -> bool:
    """Whether a scalar map's value is a stack."""
    slots = t.slots.map(name)
    return not slots.keyed and is_stack(slots.value.type)


def _check_depth(t: Typing, node: tree.Call) -> typed.Expr:
    value = t.value(node.arguments[0])
    if isinstance(value, typed.Bad):
        return value
    if not is_stack(value.type):
        return t.bad(node, NotAStackOrMap(span=node.span, found=str(value.type)))
    return call(t, node, I64, (value,))


def _emit_len(code: Code, node: typed.Call) -> Operand:
    if node.arguments:
        return depth(code, node.arguments[0])
    assert isinstance(node.extra, typed.MapInfo)
    return count_elements(code, node.extra)


# --- find -------------------------------------------------------------------------------------------------------------


def _check_find(t: Typing, node: tree.Call) -> typed.Expr:
    """find(@m, k, $v): whether the key is there, and then its value in $v."""
    first, key, target = node.arguments
    info = known_map(t, node)
    if not isinstance(target, tree.Variable):
        return t.bad(node, NeedsVariable(span=target.span))
    if t.lookup(target.name) is None:
        # Where the key is absent, nothing is stored: the variable has to have a value before.
        near = did_you_mean(target.name, t.visible_variables())
        return t.bad(node, UndefinedVariable(span=target.span, name=target.name, help=near))
    if info is None or not isinstance(first, tree.Map):
        return t.bad(node)
    if info.key is None:
        return t.bad(node, NeedsKeyedMap(span=node.span, name=node.name))
    read = tree.MapAccess(first, key, span=node.span)  # type: ignore[arg-type]
    store = t.statement(tree.Assign(target, "=", read, span=node.span))
    if not isinstance(store, typed.SetVariable) or store.value is None:
        return t.bad(node)
    inner = store.value.operand if isinstance(store.value, typed.Convert) else store.value
    assert isinstance(inner, typed.ReadMap) and inner.key is not None
    return call(t, node, BOOL, (inner.key,), (info, store))


def _emit_find(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, tuple)
    info, store = node.extra
    return find(code, info, node.arguments[0], store)


ALL = (
    Builtin("find", _check_find, _emit_find, takes=(3, 3)),
    Builtin("clear", _check_whole, _emit_event, takes=(1, 1)),
    Builtin("zero", _check_whole, _emit_event, takes=(1, 1)),
    Builtin("delete", _check_delete, _emit_delete, takes=(1, 2), unused="delete_absent"),
    Builtin("has_key", _check_keyed, _emit_has_key, takes=(2, 2)),
    Builtin("len", _check_len, _emit_len, takes=(1, 1)),
)
