"""The type rules of loops and of the jumps in them.

for ($i : 0..$n) { … }    -> ForRange: $i is an int64, and the bounds are evaluated once
for ($kv : @map) { … }    -> ForMap: $kv is the tuple (key, value)
while ($x < 5) { … }      -> While
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.flow import (
    JumpOutsideLoop,
    LoopShadows,
    NotIterated,
    RangeNotInteger,
    WhileDeprecated,
)
from kubebpf.compiler.complaints.typing import UndefinedMap
from kubebpf.compiler.passes.choices import condition
from kubebpf.compiler.passes.conversions import NUMERIC_AGGREGATES, convert, decay, is_integer
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I64, Aggregate, Int, Tuple, Type

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

_FOR = (
    "For loops support ranges (e.g. `for ($x : $start..$end) { ... }`) and can be used in place of while; "
    "it is then known how often they run.",
)


@contextmanager
def _inside(t: Typing) -> Iterator[None]:
    t.loops += 1
    try:
        yield
    finally:
        t.loops -= 1


@contextmanager
def _inside_for(t: Typing) -> Iterator[None]:
    t.fors += 1
    try:
        yield
    finally:
        t.fors -= 1


def while_(t: Typing, node: tree.While) -> typed.Statement | None:
    """`while (c) { … }`."""
    t.complain(WhileDeprecated(span=node.span, help=_FOR))
    test = condition(t, node.condition)
    with _inside(t):
        body = t.block(node.body)
    return None if isinstance(test, typed.Bad) else typed.While(span=node.span, condition=test, body=body)


def for_(t: Typing, node: tree.For) -> typed.Statement | None:
    """`for ($v : what) { … }`."""
    if t.lookup(node.variable.name) is not None:
        t.complain(LoopShadows(span=node.variable.span, name=node.variable.name))
        return None
    match node.iterable:
        case tree.Range():
            return _range(t, node, node.iterable)
        case tree.Map():
            return _map(t, node, node.iterable)
        case _:
            return None  # the parser has complained


def _range(t: Typing, node: tree.For, bounds: tree.Range) -> typed.Statement | None:
    start, end = (decay(t.expr(e)) for e in (bounds.start, bounds.end))
    for which, bound in (("start", start), ("end", end)):
        if not isinstance(bound, typed.Bad) and not is_integer(bound):
            t.complain(RangeNotInteger(span=bound.span, which=which))
            start = t.bad(bounds)
    body, variable = _body(t, node, I64)
    if isinstance(start, typed.Bad) or isinstance(end, typed.Bad):
        return None
    return typed.ForRange(span=node.span, variable=variable, start=convert(start, I64), end=convert(end, I64), body=body)


def _map(t: Typing, node: tree.For, name: tree.Map) -> typed.Statement | None:
    slots = t.slots.map(name.name)
    info = t.map(name.name, name.span)
    problem = _problem(t, name, slots.keyed)
    pair = None if info.key is None or slots.value.type is None or problem else Tuple((info.key, _handed_out(info.value)))
    body, variable = _body(t, node, pair)
    if problem:
        t.complain(NotIterated(span=name.span, problem=problem))
        return None
    if pair is None:
        if not slots.attempted and slots.value.type is None:
            t.complain(UndefinedMap(span=name.span, name=name.name))
        return None
    return typed.ForMap(span=node.span, variable=variable, map=info, body=body)


def _problem(t: Typing, name: tree.Map, keyed: bool | None) -> str:
    """Why a map cannot be looped over; empty when it can."""
    if keyed is False:
        return f"{name.name} has no explicit keys (scalar map), and cannot be used for iteration"
    value = t.slots.map(name.name).value.type
    if isinstance(value, Aggregate) and value.kind not in NUMERIC_AGGREGATES:
        return f"Loop expression does not support type: {value}"
    return ""


def _handed_out(value: Type) -> Type:
    """The type of a map's values in a loop: what counts on each CPU is one number."""
    return Int(64, value.signed or value.kind == "count") if isinstance(value, Aggregate) else value


def _body(t: Typing, node: tree.For, element: Type | None) -> tuple[typed.Block, typed.Variable]:
    """The body with its variable, which lives no longer."""
    with t.scope(), _inside(t), _inside_for(t):
        variable = t.declare(node.variable)
        if element is not None:
            slot = t.slot(variable)
            slot.type, slot.declared, slot.flexible = element, True, False
            variable.type = element
        return t.block(node.body), variable


def jump(t: Typing, node: tree.Break | tree.Continue) -> typed.Statement | None:
    """`break`, `continue`."""
    kind = "break" if isinstance(node, tree.Break) else "continue"
    if not t.loops:
        t.complain(JumpOutsideLoop(span=node.span, kind=kind, where=t.where))
        return None
    return typed.Jump(span=node.span, kind=kind)
