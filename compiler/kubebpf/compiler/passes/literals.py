"""Values for the places that need a literal: a typed expression is computed now, parameters included.

lhist($x, 0, $1 * 10, 5)    with $1 = 20: the third argument is 200
comptime (1, "a").1         "a"
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubebpf.compiler.passes import parameters
from kubebpf.compiler.passes.conversions import wrap
from kubebpf.compiler.passes.fold import COMPARISONS, NoValueError, fold
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, Bool, EnumType, Int, String, Tuple
from kubebpf.compiler.types.promote import smallest_int

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

Literal = typed.Constant | typed.Text


def literal(t: Typing, value: typed.Expr) -> typed.Expr:
    """The value as a Constant, Text or MakeTuple of these when it can be known now; else as it was."""
    return evaluate(t, value) or value


def evaluate(t: Typing, value: typed.Expr) -> typed.Constant | typed.Text | typed.MakeTuple | None:
    """The value, or None when only the run tells it."""
    match value:
        case typed.Constant() | typed.Text():
            return value
        case typed.LoadTime():
            return _given(t, value)
        case typed.MakeTuple(elements=elements):
            found = [evaluate(t, element) for element in elements]
            return None if None in found else replace(value, elements=tuple(f for f in found if f))
        case typed.Part(object=of, index=index):
            whole = evaluate(t, of)
            part = whole.elements[index] if isinstance(whole, typed.MakeTuple) else None
            return part if isinstance(part, typed.Constant | typed.Text | typed.MakeTuple) else None
        case typed.Convert(operand=operand):
            return _converted(value, evaluate(t, operand))
        case typed.BlockValue(statements=(), value=inner):
            return evaluate(t, inner)
        case _:
            return _computed(t, value)


def known_equal(left: typed.Expr, right: typed.Expr) -> bool | None:
    """Whether two values as written are equal, if that can be told: tuples of other lengths or kinds never are."""
    match left, right:
        case typed.Constant(literal=True), typed.Constant(literal=True):
            return left.value == right.value
        case typed.Text(), typed.Text():
            return left.value == right.value
        case typed.MakeTuple(type=Tuple()), typed.MakeTuple(type=Tuple()):
            if len(left.elements) != len(right.elements):
                return False
            parts = [known_equal(a, b) for a, b in zip(left.elements, right.elements, strict=True)]
            return False if False in parts else None if None in parts else True
        case (typed.Constant(literal=True), typed.Text()) | (typed.Text(), typed.Constant(literal=True)):
            return False
        case _:
            return None


def _computed(t: Typing, value: typed.Expr) -> typed.Constant | typed.Text | typed.MakeTuple | None:
    match value:
        case typed.Unary(op=op, operand=operand):
            number = _number(t, operand)
            return None if number is None else _constant(value, {"-": -number, "~": ~number, "!": int(not number)}[op])
        case typed.Binary(op=op, left=left, right=right):
            return _arithmetic(t, value, op, left, right)
        case typed.Compare(op=op, left=left, right=right) | typed.CompareBytes(op=op, left=left, right=right):
            pair = evaluate(t, left), evaluate(t, right)
            if pair[0] is None or pair[1] is None:
                return None
            return _constant(value, int(COMPARISONS[op](_plain(pair[0]), _plain(pair[1]))))
        case typed.Logical(op=op, left=left, right=right):
            first = _number(t, left)
            if first is None or bool(first) == (op == "||"):
                return None if first is None else _constant(value, int(bool(first)))
            second = _number(t, right)
            return None if second is None else _constant(value, int(bool(second)))
        case typed.Conditional(condition=condition, then=then, otherwise=otherwise):
            test = _number(t, condition)
            return None if test is None else evaluate(t, then if test else otherwise)
        case _:
            return None


def _number(t: Typing, value: typed.Expr) -> int | None:
    """A number, or the truth of a text."""
    found = evaluate(t, value)
    if isinstance(found, typed.Text):
        return int(bool(found.value))
    return found.value if isinstance(found, typed.Constant) else None


def _arithmetic(t: Typing, value: typed.Binary, op: str, left: typed.Expr, right: typed.Expr) -> typed.Constant | None:
    a, b = _number(t, left), _number(t, right)
    if a is None or b is None:
        return None
    try:
        return _constant(value, fold(op, a, b))
    except NoValueError:
        return None  # the caller says that it wants a literal; at run time this wraps around, or is 1


def _constant(of: typed.Expr, value: int) -> typed.Constant:
    kind = BOOL if isinstance(of.type, Bool) else smallest_int(value)
    return typed.Constant(span=of.span, type=kind, value=value, literal=True)


def _plain(value: typed.Constant | typed.Text | typed.MakeTuple) -> object:
    if isinstance(value, typed.MakeTuple):
        return tuple(_plain(e) for e in value.elements)  # type: ignore[arg-type] # evaluate has made them all
    return value.value


def _converted(to: typed.Convert, value: typed.Expr | None) -> typed.Constant | typed.Text | None:
    match value, to.type:
        case typed.Constant(), Int() | EnumType() | Bool():
            return replace(value, type=to.type, value=wrap(value.value, to.type))
        case typed.Text(), String():
            return replace(value, type=to.type)
        case _:
            return None


def _given(t: Typing, value: typed.LoadTime) -> typed.Constant | typed.Text | None:
    """A parameter as it was given."""
    match value.kind:
        case "positional":
            index, _, skipped = value.arg.partition("+")
            text = t.parameters.positional(int(index))
            return _as_type(t, value, text[int(skipped or "0") :], f"${index}")
        case "positional_count":
            return _constant(value, t.parameters.count())
        case "getopt":
            given = t.parameters.option(value.arg)
            if isinstance(value.type, Bool):
                return _constant(value, int((value.default if given is None else given).lower() in ("", "true", "1")))
            return _as_type(t, value, value.default if given is None else given, f"--{value.arg}")
        case _:
            return None


def _as_type(t: Typing, value: typed.LoadTime, text: str, what: str) -> typed.Constant | typed.Text | None:
    if isinstance(value.type, String):
        return text_of(value, text)
    # After a complaint any number will do.
    return _constant(value, parameters.number(text, what, value.span, t.report) or 0)


def text_of(place: typed.Expr, text: str) -> typed.Text:
    """A given text as a string constant."""
    data = text.encode("utf-8", "surrogateescape").partition(b"\0")[0]
    return typed.Text(span=place.span, type=String(len(data) + 1), value=data)
