"""The type rules of what depends on a condition, of blocks as values, and of comptime.

a ? b : c        if (a) { b } else { c }        a ?: b
{ $x = f(); $x + 1 }
if comptime (typeinfo(x).0 == "int") { … }      the branch not taken stays unseen
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.parameters import NotComptime
from kubebpf.compiler.complaints.typing import BadCondition, TernaryMismatch
from kubebpf.compiler.passes import typeinfo
from kubebpf.compiler.passes.conversions import aggregate_of, convert, decay, has_truth, type_name
from kubebpf.compiler.passes.literals import evaluate, literal
from kubebpf.compiler.passes.slots import joined_type
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, String

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


def condition(t: Typing, node: tree.Expr) -> typed.Expr:
    """An expression in a place that asks for true or false."""
    value = decay(t.expr(node))
    if isinstance(value, typed.Bad) or (has_truth(value) and aggregate_of(value) is None) or is_given_text(value):
        return value
    return t.bad(node, BadCondition(span=node.span, type=type_name(value), help=_comparison(value)))


def is_given_text(value: typed.Expr) -> bool:
    """`str($1)` is known to be empty or not before the program starts."""
    return isinstance(value, typed.LoadTime) and isinstance(value.type, String)


def _comparison(value: typed.Expr) -> tuple[str, ...]:
    """What to write instead of the bare value."""
    if aggregate_of(value) is not None:
        return ("Compare it: `@map > 0`.",)
    return ('Compare it: `value != ""`.',) if isinstance(value.type, String) else ()


def decided(t: Typing, node: tree.Expr) -> bool | None:
    """What a condition under comptime is; None when it is not known, which the last round complains about."""
    operand = node.operand if isinstance(node, tree.Comptime) else node
    if not typeinfo.asks_about_types(operand):
        return _decide(t, node, operand)
    place = t.nth(node)
    if place in t.decisions:
        return t.decisions[place]
    if not t.deciding and not t.final:
        t.undecided = True
        return None
    truth = _decide(t, node, operand)
    if truth is not None:
        t.decisions[place], t.deciding = truth, False
        typeinfo.fix_types(t, operand)
    return truth


def _decide(t: Typing, node: tree.Expr, operand: tree.Expr) -> bool | None:
    test = condition(t, operand)
    found = None if isinstance(test, typed.Bad) else evaluate(t, test)
    if isinstance(found, typed.Constant | typed.Text):
        return bool(found.value)
    if not isinstance(test, typed.Bad):
        t.complain(NotComptime(span=node.span))
    return None


def ternary(t: Typing, node: tree.Ternary) -> typed.Expr:
    """`a ? b : c` and `a ?: c`."""
    if isinstance(node.condition, tree.Comptime) and node.then is not None:
        return _chosen(t, node, node.then, node.otherwise)
    test = condition(t, node.condition)
    if node.then is None:
        return _or_else(t, node, test)
    return choose(t, node, test, decay(t.expr(node.then)), decay(t.expr(node.otherwise)))


def _or_else(t: Typing, node: tree.Ternary, value: typed.Expr) -> typed.Expr:
    """`a ?: b`: a is evaluated once, whatever becomes of it."""
    otherwise = decay(t.expr(node.otherwise))
    if isinstance(value, typed.Bad | typed.Constant | typed.Text | typed.ReadVariable):
        return choose(t, node, value, value, otherwise)
    kept = typed.Variable("$value", value.type, value.span)
    again = typed.ReadVariable(span=value.span, type=value.type, variable=kept)
    chosen = choose(t, node, again, again, otherwise)
    first = typed.SetVariable(span=value.span, variable=kept, value=value)
    return (
        chosen
        if isinstance(chosen, typed.Bad)
        else typed.BlockValue(span=node.span, type=chosen.type, statements=(first,), value=chosen)
    )


def _chosen(t: Typing, node: tree.Ternary | tree.IfExpr, then: tree.Expr, otherwise: tree.Expr) -> typed.Expr:
    truth = decided(t, node.condition)
    return t.bad(node) if truth is None else t.expr(then if truth else otherwise)


def choose(t: Typing, node: tree.Node, test: typed.Expr, then: typed.Expr, otherwise: typed.Expr) -> typed.Expr:
    """A value that depends on a condition: both values get their common type."""
    if any(isinstance(e, typed.Bad) for e in (test, then, otherwise)):
        return t.bad(node)
    if then.type == VOID and otherwise.type == VOID:
        return typed.Conditional(span=node.span, type=VOID, condition=test, then=then, otherwise=otherwise)
    joined = joined_type(then.type, t.is_flexible(then), otherwise.type, t.is_flexible(otherwise))
    if joined is None and isinstance(known := literal(t, test), typed.Constant | typed.Text):
        return then if known.value else otherwise  # the other value is never made
    if joined is None:
        return t.bad(node, TernaryMismatch(span=node.span, left=str(then.type), right=str(otherwise.type)))
    return typed.Conditional(
        span=node.span, type=joined, condition=test, then=convert(then, joined), otherwise=convert(otherwise, joined)
    )


def if_expression(t: Typing, node: tree.IfExpr) -> typed.Expr:
    """`if (c) { a } else { b }` as a value."""
    if node.comptime or isinstance(node.condition, tree.Comptime):
        return _chosen(t, node, node.then, node.otherwise)
    return choose(t, node, condition(t, node.condition), t.expr(node.then), t.expr(node.otherwise))


def block_expression(t: Typing, node: tree.BlockExpr) -> typed.Expr:
    """`{ statements; value }`."""
    with t.scope():
        body = t.statements(node.statements, node.span)
        value = t.expr(node.value)
    if isinstance(value, typed.Bad):
        return t.bad(node)
    return typed.BlockValue(span=node.span, type=value.type, statements=body.statements, value=value)


def comptime(t: Typing, node: tree.Comptime) -> typed.Expr:
    """`comptime e`: computed now, parameters included."""
    value = t.expr(node.operand)
    if isinstance(value, typed.Bad):
        return value
    if isinstance(value, typed.MakeTuple) and isinstance(node.operand, tree.Typeinfo):
        return value
    return evaluate(t, value) or t.bad(node, NotComptime(span=node.span))
