"""The type rules of statements; the table at the end is the dispatch.

@x[pid] = count()    -> Feed: the map's value becomes an aggregate
$x = 1               -> SetVariable: declares $x here when no scope around has it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubebpf.compiler.builtins.registry import BUILTINS
from kubebpf.compiler.complaints.flow import ReturnNotInteger
from kubebpf.compiler.complaints.imports import ImportInBody
from kubebpf.compiler.complaints.parameters import CountUnknown, TooManyCopies
from kubebpf.compiler.complaints.typing import (
    AggregateCopied,
    AggregateToVariable,
    AssignMismatch,
    ConstantTooLarge,
    OperatorUnusable,
    Redeclared,
    UnrollCount,
    ValueDiscarded,
)
from kubebpf.compiler.passes import casts, loops
from kubebpf.compiler.passes.calls import arguments_fit
from kubebpf.compiler.passes.choices import condition, decided
from kubebpf.compiler.passes.conversions import NUMERIC_AGGREGATES, cast_hint, convert, decay, is_integer, type_name
from kubebpf.compiler.passes.expressions import ARITHMETIC, binary_of
from kubebpf.compiler.passes.functions import returned
from kubebpf.compiler.passes.literals import literal
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I64, VOID, Aggregate, Bool, Int, Pointer, Tuple, Type
from kubebpf.compiler.types.promote import fits, is_integral, join

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


UNROLL_MOST = 100
COPIES_MOST = 5000  # of the innermost body of unrolls in unrolls


def block(t: Typing, node: tree.Block) -> typed.Statement:
    """`{ … }`."""
    return t.block(node)


def expression(t: Typing, node: tree.ExprStatement) -> typed.Statement | None:
    """An expression for its effect."""
    if isinstance(node.value, tree.Ternary) and node.value.then is not None:
        return _either(t, node.value, node.value.then)
    value = t.expr(node.value)
    if isinstance(value, typed.Bad):
        return None
    if value.type != VOID and not isinstance(value, typed.Step | typed.BlockValue) and not _is_delete(value):
        t.complain(ValueDiscarded(span=node.value.span))
    return typed.Evaluate(span=node.span, value=value)


def _either(t: Typing, node: tree.Ternary, then: tree.Expr) -> typed.Statement | None:
    """`a ? b : c` for its effect: what b and c are has not to go together."""
    blocks = [tree.Block((tree.ExprStatement(e, span=e.span),), span=e.span) for e in (then, node.otherwise)]
    return if_(t, tree.If(node.condition, blocks[0], blocks[1], span=node.span))


def _is_delete(value: typed.Expr) -> bool:
    return isinstance(value, typed.Call) and value.builtin.name == "delete"


def discard(t: Typing, node: tree.Discard) -> typed.Statement | None:
    """`_ = e`."""
    value = t.expr(node.value)
    return None if isinstance(value, typed.Bad) else typed.Evaluate(span=node.span, value=value, discarded=False)


def assign(t: Typing, node: tree.Assign) -> typed.Statement | None:
    """`target op value`."""
    match node.target:
        case tree.Variable():
            return _assign_variable(t, node, node.target)
        case tree.Map():
            return _assign_map(t, node, node.target.name, None)
        case tree.MapAccess():
            return _assign_map(t, node, node.target.map.name, node.target.key)
        case _:
            t.complain(OperatorUnusable(span=node.span, op=node.op, type="an expression that is no variable and no map"))
            return None


def _new_value(t: Typing, node: tree.Assign) -> typed.Expr:
    """The value to store; `x op= v` is `x = x op v`."""
    if node.op == "=":
        return decay(t.expr(node.value))
    value = decay(t.expr(node.value))
    _begin_with_zero(t, node.target, value)
    old = decay(t.expr(node.target))
    if isinstance(old, typed.Bad) or isinstance(value, typed.Bad):
        return t.bad(node)
    return binary_of(t, node, node.op[:-1], old, value)


def _begin_with_zero(t: Typing, target: tree.Expr, value: typed.Expr) -> None:
    """`@x += 1` is enough to make @x a number: what is not there counts as 0."""
    if not isinstance(target, tree.Map | tree.MapAccess) or not is_integral(value.type):
        return
    slot = t.slots.map(target.name if isinstance(target, tree.Map) else target.map.name).value
    if slot.type is None:
        slot.grow(typed.Constant(span=value.span, type=I64, value=0, literal=True))


def _assign_variable(t: Typing, node: tree.Assign, target: tree.Variable) -> typed.Statement | None:
    value = _new_value(t, node)
    if isinstance(value, typed.Bad):
        # The variable exists all the same: what follows shall not be called undefined.
        if t.lookup(target.name) is None and node.op == "=":
            t.declare(target)
        return None
    if isinstance(value.type, Aggregate):
        t.complain(AggregateToVariable(span=node.span, type=str(value.type)))
        return None
    return _store(t, node, t.lookup(target.name) or t.declare(target), value)


def _store(t: Typing, node: tree.Node, variable: typed.Variable, value: typed.Expr) -> typed.Statement | None:
    slot = t.slot(variable)
    if slot.declared and slot.type is not None:
        return _store_declared(t, node, variable, value)
    before = slot.type
    if value.type == VOID or not slot.grow(value, flexible=t.is_flexible(value)):
        what = AssignMismatch(span=node.span, name=variable.name, what="variable", found=str(value.type), expected=str(before))
        t.complain(what)
        return None
    assert slot.type is not None
    variable.type = slot.type
    return typed.SetVariable(span=node.span, variable=variable, value=t.converted(value, slot.type))


def _store_declared(t: Typing, node: tree.Node, variable: typed.Variable, value: typed.Expr) -> typed.Statement | None:
    """A variable with a written type keeps it: what does not fit is an error."""
    wanted = variable.type
    if isinstance(wanted, Int) and isinstance(value, typed.Constant) and value.literal and not fits(value.value, wanted):
        t.complain(ConstantTooLarge(span=node.span, name=variable.name, value=value.value, type=str(wanted)))
        return None
    if not _goes_into(wanted, value.type):
        what = AssignMismatch(span=node.span, name=variable.name, what="variable", found=str(value.type), expected=str(wanted))
        t.complain(what)
        return None
    return typed.SetVariable(span=node.span, variable=variable, value=convert(value, wanted))


def _goes_into(wanted: Type, found: Type) -> bool:
    """Whether a declared type takes a value: integers are cut as in C, nothing else is."""
    match wanted, found:
        case Int(), _:
            return is_integral(found) and not isinstance(found, Bool)
        case Pointer(), Pointer():
            return join(wanted, found) is not None
        case Tuple(elements=ours), Tuple(elements=theirs):
            return len(ours) == len(theirs) and all(map(_goes_into, ours, theirs))
        case _:
            return join(wanted, found) == wanted


def _assign_map(t: Typing, node: tree.Assign, name: str, key: tree.Expr | None) -> typed.Statement | None:
    if node.op == "=" and isinstance(node.value, tree.Call):
        builtin = BUILTINS.get(node.value.name)
        if builtin is not None and builtin.aggregate:
            return _feed(t, node, name, key)
    # In a later round only: any other assignment tells more of the map's type.
    if t.slots.map(name).attempted and _counts_on(node.value, name):
        _begin_with_zero(t, node.target, typed.Constant(span=node.span, type=I64, value=0))
    value = _map_value(t, node, name)
    info, typed_key, ok = t.access(name, key, node.target.span)
    if not ok or isinstance(value, typed.Bad):
        t.slots.map(name).attempted = True
        return None
    slot = t.slots.map(name).value
    before = slot.type
    if value.type == VOID or not slot.grow(value, flexible=t.is_flexible(value)):
        t.complain(AssignMismatch(span=node.span, name=name, what="map", found=str(value.type), expected=str(before)))
        return None
    assert slot.type is not None
    info.value = slot.type
    return typed.SetMap(span=node.span, map=info, key=typed_key, value=t.converted(value, slot.type))


def _counts_on(value: tree.Expr, name: str) -> bool:
    """Whether arithmetic on the map itself is assigned: `@x = @x + 1` makes it a number, as `@x += 1` does."""
    if not isinstance(value, tree.Binary) or value.op not in ARITHMETIC:
        return False
    return any(_reads_map(side, name) or _counts_on(side, name) for side in (value.left, value.right))


def _reads_map(value: tree.Expr, name: str) -> bool:
    return (value.map if isinstance(value, tree.MapAccess) else value) == tree.Map(name)


def _map_value(t: Typing, node: tree.Assign, name: str) -> typed.Expr:
    """The value to store in a map; aggregates are not copied, and what only the node can print is not computed with."""
    if node.op == "=":
        value = t.expr(node.value)
        if isinstance(value, typed.ReadMap) and isinstance(value.type, Aggregate) and not _holds_numbers(t, name, value.type):
            call = f"{value.type.kind}({'' if value.type.kind == 'count' else '...'})"
            target = name if isinstance(node.target, tree.Map) else f"{name}[...]"
            return t.bad(node, AggregateCopied(span=node.span, type=str(value.type), map=target, call=call))
        return decay(value)
    return _new_value(t, node)


def _holds_numbers(t: Typing, name: str, found: Aggregate) -> bool:
    """Whether the map that an aggregate is assigned to gets numbers elsewhere: then the aggregate's number is meant."""
    return found.kind in NUMERIC_AGGREGATES and isinstance(t.slots.map(name).value.type, Int)


def _feed(t: Typing, node: tree.Assign, name: str, key: tree.Expr | None) -> typed.Statement | None:
    assert isinstance(node.value, tree.Call)
    builtin = BUILTINS[node.value.name]
    if not arguments_fit(t, builtin, node.value):
        t.access(name, key, node.target.span)
        return None
    fed = builtin.check(t, node.value)
    info, typed_key, ok = t.access(name, key, node.target.span)
    if not ok or isinstance(fed, typed.Bad):
        t.slots.map(name).attempted = True
        return None
    slot = t.slots.map(name).value
    before = slot.type
    if not slot.grow(fed):
        t.complain(AssignMismatch(span=node.span, name=name, what="map", found=str(fed.type), expected=str(before)))
        return None
    assert isinstance(fed, typed.Call)
    assert slot.type is not None
    info.value = slot.type
    argument, time, *_ = (*fed.arguments, None, None)
    return typed.Feed(span=node.span, map=info, key=typed_key, argument=argument, time=time)


def let(t: Typing, node: tree.Let) -> typed.Statement | None:
    """`let $x: T = e`."""
    if t.lookup(node.variable.name) is not None:
        t.complain(Redeclared(span=node.span, name=node.variable.name))
        return None
    value = decay(t.expr(node.value)) if node.value is not None else None
    if value is not None and isinstance(value.type, Aggregate):
        value = t.bad(node, AggregateToVariable(span=node.span, type=str(value.type)))
    variable = t.declare(node.variable)
    slot = t.slot(variable)
    if node.type is not None:
        wanted = casts.type_of(t, node.type)
        if wanted is None:
            return None
        slot.type, slot.declared, slot.flexible = wanted, True, False
        variable.type = wanted
    if value is None:
        return typed.SetVariable(span=node.span, variable=variable, value=None)
    if isinstance(value, typed.Bad):
        return None
    return _store(t, node, variable, value)


def if_(t: Typing, node: tree.If) -> typed.Statement | None:
    """`if`; under comptime the dead branch stays unseen."""
    if node.comptime or isinstance(node.condition, tree.Comptime):
        truth = decided(t, node.condition)
        taken = node.then if truth else node.otherwise
        return None if truth is None or taken is None else t.statement(taken)
    test = condition(t, node.condition)
    then = t.block(node.then)
    otherwise = None
    if isinstance(node.otherwise, tree.Block):
        otherwise = t.block(node.otherwise)
    elif node.otherwise is not None:
        inner = if_(t, node.otherwise)
        otherwise = typed.Block(span=node.otherwise.span, statements=(inner,) if inner else ())
    if isinstance(test, typed.Bad):
        return None
    return typed.If(span=node.span, condition=test, then=then, otherwise=otherwise)


def return_(t: Typing, node: tree.Return) -> typed.Statement | None:
    """`return`."""
    if t.function is not None:
        return returned(t, node, t.function)
    value = None if node.value is None else decay(t.expr(node.value))
    if isinstance(value, typed.Bad):
        return None
    if value is not None and not is_integer(value):
        t.complain(ReturnNotInteger(span=node.span, found=type_name(value), help=cast_hint(value)))
        return None
    return typed.Return(span=node.span, value=value)


def unroll(t: Typing, node: tree.Unroll) -> typed.Statement | None:
    """`unroll(n) { … }`: the body n times, each in a scope of its own."""
    count = literal(t, t.expr(node.count))
    if not isinstance(count, typed.Constant) or isinstance(count.type, Bool):
        if not isinstance(count, typed.Bad):
            t.complain(CountUnknown(span=node.count.span))
        return None
    if not 1 <= count.value <= UNROLL_MOST:
        bound, limit = ("minimum", 1) if count.value < 1 else ("maximum", UNROLL_MOST)
        t.complain(UnrollCount(span=node.count.span, bound=bound, limit=limit, found=count.value))
        return None
    if t.copies * count.value > COPIES_MOST:
        t.complain(TooManyCopies(span=node.span, found=t.copies * count.value, limit=COPIES_MOST))
        return None
    t.copies *= count.value
    statements = tuple(t.block(node.body) for _ in range(count.value))
    t.copies //= count.value
    return typed.Block(span=node.span, statements=statements)


def import_(t: Typing, node: tree.Import) -> typed.Statement | None:
    """`import` inside a body."""
    t.complain(ImportInBody(span=node.span))
    return None


STATEMENTS: dict[type, Callable[[Any, Any], typed.Statement | None]] = {
    tree.Block: block,
    tree.ExprStatement: expression,
    tree.Discard: discard,
    tree.Assign: assign,
    tree.Let: let,
    tree.If: if_,
    tree.Return: return_,
    tree.Unroll: unroll,
    tree.While: loops.while_,
    tree.For: loops.for_,
    tree.Break: loops.jump,
    tree.Continue: loops.jump,
    tree.Import: import_,
}
