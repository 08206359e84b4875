"""The type rules of expressions, one function a kind of node; the table at the end is the dispatch.

$a + 1       with $a: uint8   -> uint64: arithmetic is done in 64 bits, a literal takes its partner's sign
nsecs - $t                    -> int64: a difference is signed
comm == "sh"                  -> bool
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kubebpf.compiler.artifact.parameters import shape
from kubebpf.compiler.complaints.offline import MapAssumed
from kubebpf.compiler.complaints.typing import (
    AggregateHasNoNumber,
    FoldError,
    MixedSigns,
    NeverAssigned,
    OperatorMismatch,
    OperatorUnusable,
    UndefinedVariable,
)
from kubebpf.compiler.passes import advice, calls, casts, choices, members, typeinfo
from kubebpf.compiler.passes.conversions import aggregate_of, cast_hint, convert, decay, has_truth
from kubebpf.compiler.passes.fold import COMPARISONS, INT64_MAX, NoValueError, fold, in_range
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.passes.literals import known_equal, text_of
from kubebpf.compiler.passes.parameters import number
from kubebpf.compiler.passes.size import too_large
from kubebpf.compiler.passes.slots import joined_type
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    BOOL,
    I64,
    U64,
    VOID,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Int,
    Pointer,
    Record,
    Resolved,
    String,
    Tuple,
    sizeof,
)
from kubebpf.compiler.types.promote import as_int, is_integral, is_scalar, smallest_int

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

ORDER = ("<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")


# --- Leaves -----------------------------------------------------------------------------------------------------------


def integer(t: Typing, node: tree.Integer) -> typed.Expr:
    """`42`: the smallest type that holds it."""
    return typed.Constant(span=node.span, type=smallest_int(node.value), value=node.value, literal=True)


def boolean(t: Typing, node: tree.Boolean) -> typed.Expr:
    """`true`."""
    return typed.Constant(span=node.span, type=BOOL, value=int(node.value), literal=True)


def string(t: Typing, node: tree.String) -> typed.Expr:
    """`"text"`."""
    data = node.value.encode(errors="surrogateescape")
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


def variable(t: Typing, node: tree.Variable) -> typed.Expr:
    """`$x`."""
    found = t.lookup(node.name)
    if found is None:
        near = did_you_mean(node.name, t.visible_variables()) or advice.for_variable(t, node.name, node.span)
        return t.bad(node, UndefinedVariable(span=node.span, name=node.name, help=near))
    if found.type == VOID:
        t.unresolved = t.unresolved or node.span
        return t.bad(node)
    return typed.ReadVariable(span=node.span, type=found.type, variable=found)


def scalar_map(t: Typing, node: tree.Map) -> typed.Expr:
    """`@x` as a value."""
    return read_map(t, node, node.name, None)


def keyed_map(t: Typing, node: tree.MapAccess) -> typed.Expr:
    """`@x[key]`."""
    return read_map(t, node, node.map.name, node.key)


def read_map(t: Typing, node: tree.Expr, name: str, key: tree.Expr | None) -> typed.Expr:
    """A map's value."""
    info, typed_key, ok = t.access(name, key, node.span)
    if not ok:
        return t.bad(node)
    slots = t.slots.map(name)
    slots.read = True
    if slots.unassigned:
        assigned = [n for n, m in t.slots.maps.items() if m.value.type is not None and not m.unassigned]
        t.complain(NeverAssigned(span=node.span, name=name, help=did_you_mean(name, assigned)))
    elif info.value == VOID and t.view.anything_exists and not slots.attempted:
        t.complain(MapAssumed(span=node.span, name=name))
    if info.value == VOID:
        t.unresolved = t.unresolved or node.span  # said only if nothing else is wrong
        return t.bad(node)
    return typed.ReadMap(span=node.span, type=info.value, map=info, key=typed_key)


def positional(t: Typing, node: tree.PositionalParameter) -> typed.Expr:
    """`$1`: a number, or a string when no number was given; str($1) is always one."""
    if missing := t.parameters.warning(node.index, node.span):
        t.complain(missing)
    if not t.parameters.is_int64(node.index):
        text = t.parameters.positional(node.index)
        if shape(text) == "text":
            return text_of(typed.LoadTime(span=node.span, type=I64, kind="positional"), text)
        found = number(text, f"${node.index}", node.span, t.report) or 0
        return typed.Constant(span=node.span, type=smallest_int(found), value=found, literal=True)
    return typed.LoadTime(span=node.span, type=I64, kind="positional", arg=str(node.index), default="0")


def parameter_count(t: Typing, node: tree.ParameterCount) -> typed.Expr:
    """`$#`."""
    return typed.LoadTime(span=node.span, type=I64, kind="positional_count", default="0")


# --- Operators --------------------------------------------------------------------------------------------------------


def unary(t: Typing, node: tree.Unary) -> typed.Expr:
    """`! ~ - +`; `*` and `&` are about memory."""
    if node.op == "*":
        return members.dereference(t, node)
    if node.op == "&":
        return members.address_of(t, node)
    operand = decay(t.expr(node.operand))
    if isinstance(operand, typed.Bad):
        return t.bad(node)
    if (aggregate := aggregate_of(operand)) is not None:
        complaint = OperatorUnusable(span=node.span, op=node.op, type=str(aggregate), help=cast_hint(operand))
        return t.bad(node, complaint)
    if node.op == "!":
        return _not(t, node, operand)
    if not is_integral(operand.type) or isinstance(operand.type, Bool):
        return t.bad(node, OperatorUnusable(span=node.span, op=node.op, type=str(operand.type)))
    if isinstance(operand, typed.Constant) and operand.literal:
        return _folded(t, node, f"{node.op}({operand.value})", lambda: _fold_unary(node.op, operand.value))
    if node.op == "+":
        return operand
    found = as_int(operand.type)
    # As upstream: unsigned numbers keep their width, so that `~(uint8)5` is 250.
    result = I64 if found.signed else found
    return typed.Unary(span=node.span, type=result, op=node.op, operand=convert(operand, result))


def _not(t: Typing, node: tree.Unary, operand: typed.Expr) -> typed.Expr:
    if not is_integral(operand.type):
        hint = ("Compare it with 0.",) if isinstance(operand.type, Pointer) else ()
        return t.bad(node, OperatorUnusable(span=node.span, op="!", type=str(operand.type), help=hint))
    if isinstance(operand, typed.Constant):
        return typed.Constant(span=node.span, type=BOOL, value=int(not operand.value), literal=True)
    return typed.Unary(span=node.span, type=BOOL, op="!", operand=operand)


def _fold_unary(op: str, value: int) -> int:
    if op == "-":
        return in_range(-value, False)  # what is left of the number as written decides: -(-2**63) is a uint64
    return value if op == "+" else ~value & ((1 << 64) - 1) if value >= 0 else ~value


def _folded(t: Typing, node: tree.Node, written: str, compute: Callable[[], int]) -> typed.Expr:
    try:
        value = compute()
    except NoValueError as failure:
        return t.bad(node, FoldError(span=node.span, why=f"{failure}: {written}"))
    return typed.Constant(span=node.span, type=smallest_int(value), value=value, literal=True)


def binary(t: Typing, node: tree.Binary) -> typed.Expr:
    """All operators with two operands."""
    left, right = decay(t.expr(node.left)), decay(t.expr(node.right))
    if isinstance(left, typed.Bad) or isinstance(right, typed.Bad):
        return t.bad(node)
    return binary_of(t, node, node.op, left, right)


def binary_of(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    """The operator on operands that are typed already (compound assignments use it, too)."""
    if op in ("&&", "||"):
        return _logical(t, node, op, left, right)
    if op in COMPARISONS:
        return _comparison(t, node, op, left, right)
    if isinstance(left.type, Pointer) or isinstance(right.type, Pointer):
        return members.pointer_arithmetic(t, node, op, left, right)
    if isinstance(left, typed.Text) and op == "+":
        return _text_plus(t, node, left, right)
    if isinstance(right, typed.Text) and isinstance(left, typed.Constant) and op == "+":
        return _text_plus(t, node, right, left)
    return arithmetic(t, node, op, left, right)


def arithmetic(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    """`+ - * / % & | ^ << >>` on integers: 64 bits, signed when an operand is, or when it is a difference."""
    for operand in (left, right):
        if not is_integral(operand.type):
            return t.bad(node, OperatorMismatch(span=node.span, op=op, left=str(left.type), right=str(right.type)))
    if isinstance(left, typed.Constant) and isinstance(right, typed.Constant) and left.literal and right.literal:
        return _folded(t, node, f"{left.value} {op} {right.value}", lambda: fold(op, left.value, right.value))
    if op not in ("<<", ">>", "-"):
        _warn_of_signs(t, node, left, right)
    signed = _sign(t, left, right)
    operands_type = Int(64, signed)
    result = I64 if op == "-" else operands_type
    return typed.Binary(
        span=node.span, type=result, op=op, signed=signed,
        left=convert(left, operands_type), right=convert(right, operands_type),
    )  # fmt: skip


def _sign(t: Typing, left: typed.Expr, right: typed.Expr) -> bool:
    """Signed when either side is; a flexible one takes the sign of its partner."""
    if t.is_flexible(left):
        return as_int(right.type).signed
    if t.is_flexible(right):
        return as_int(left.type).signed
    return as_int(left.type).signed or as_int(right.type).signed


def _text_plus(t: Typing, node: tree.Node, left: typed.Text, right: typed.Expr) -> typed.Expr:
    if isinstance(right, typed.Text):
        data = left.value + right.value
    elif isinstance(right, typed.Constant) and right.value >= 0:
        data = left.value[right.value :]
    else:
        return t.bad(node, OperatorMismatch(span=node.span, op="+", left=str(left.type), right=str(right.type)))
    return typed.Text(span=node.span, type=String(len(data) + 1), value=data)


def _logical(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    for operand in (left, right):
        if not has_truth(operand) and not choices.is_given_text(operand):
            return t.bad(node, OperatorUnusable(span=node.span, op=op, type=str(operand.type)))
    return typed.Logical(span=node.span, type=BOOL, op=op, left=left, right=right)


def _comparison(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    if isinstance(left, typed.Constant) and isinstance(right, typed.Constant) and left.literal and right.literal:
        if min(left.value, right.value) < 0 and max(left.value, right.value) > INT64_MAX:
            written = f"{left.value} {op} {right.value}"
            return t.bad(node, FoldError(span=node.span, why=f"overflow: no type holds both values: {written}"))
        value = int(COMPARISONS[op](left.value, right.value))
        return typed.Constant(span=node.span, type=BOOL, value=value, literal=True)
    if isinstance(left, typed.Text) and isinstance(right, typed.Text):
        value = int(COMPARISONS[op](left.value, right.value))
        return typed.Constant(span=node.span, type=BOOL, value=value, literal=True)
    if is_scalar(left.type) and is_scalar(right.type):
        return _compare_numbers(t, node, op, left, right)
    return _compare_bytes(t, node, op, left, right)


def _compare_numbers(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    signed = _sign(t, left, right)
    if op in ORDER:
        _warn_of_signs(t, node, left, right)
    wide = Int(64, signed)
    pair = [e if isinstance(e.type, Pointer) else convert(e, wide) for e in (left, right)]
    return typed.Compare(span=node.span, type=BOOL, op=op, left=pair[0], right=pair[1], signed=signed)


def _warn_of_signs(t: Typing, node: tree.Node, left: typed.Expr, right: typed.Expr) -> None:
    """Say that a uint64 is taken for an int64, because the other operand is signed."""
    if isinstance(left.type, Int) and isinstance(right.type, Int):
        for one, other in ((left, right), (right, left)):
            if not t.is_flexible(other) and t.loses_sign(one, other.type):
                t.complain(MixedSigns(span=node.span, left=str(left.type), right=str(right.type)))
                return


def _compare_bytes(t: Typing, node: tree.Node, op: str, left: typed.Expr, right: typed.Expr) -> typed.Expr:
    tuples = isinstance(left.type, Tuple) and isinstance(right.type, Tuple)
    if tuples and op not in ORDER and (equal := known_equal(left, right)) is not None:
        return typed.Constant(span=node.span, type=BOOL, value=int(equal == (op == "==")), literal=True)
    mismatch = OperatorMismatch(span=node.span, op=op, left=str(left.type), right=str(right.type))
    joined = joined_type(left.type, False, right.type, False)
    by_value = isinstance(joined, String | Array | Buffer | Tuple | Record | Resolved)
    if op in ORDER or joined is None or not by_value:
        return t.bad(node, mismatch)
    if not isinstance(joined, String):
        left, right = convert(left, joined), convert(right, joined)
    return typed.CompareBytes(span=node.span, type=BOOL, op=op, left=left, right=right)


def increment(t: Typing, node: tree.Increment) -> typed.Expr:
    """`x++` and its kin: the target becomes a 64-bit integer."""
    one = typed.Constant(span=node.span, type=I64, value=1, literal=node.op == "++")
    target = _increment_target(t, node, one)
    if target is None:
        return t.bad(node)
    if isinstance(target.type, Pointer):
        by = max(sizeof(target.type.target), 1)
    elif is_integral(target.type) and not isinstance(target.type, Bool):
        by = 1
    else:
        return t.bad(node, OperatorUnusable(span=node.span, op=node.op, type=str(target.type)))
    return typed.Step(span=node.span, type=target.type, target=target, by=by if node.op == "++" else -by, prefix=node.prefix)


def _increment_target(t: Typing, node: tree.Increment, one: typed.Constant) -> typed.ReadVariable | typed.ReadMap | None:
    match node.target:
        case tree.Variable():
            target = variable(t, node.target)
            if isinstance(target, typed.ReadVariable):
                if is_integral(target.type):
                    t.slot(target.variable).grow(replace(one, type=_step_type(target, node.op)), flexible=one.literal)
                return target
        case tree.Map() | tree.MapAccess():
            name = node.target.name if isinstance(node.target, tree.Map) else node.target.map.name
            slot = t.slots.map(name).value
            if slot.type is None or is_integral(slot.type):
                wide = I64 if slot.type is None or node.op == "--" else Int(64, as_int(slot.type).signed)
                slot.grow(replace(one, type=wide), flexible=one.literal)
            target = t.expr(node.target)
            if isinstance(target, typed.ReadMap) and not isinstance(target.type, Aggregate):
                return target
            if isinstance(target, typed.ReadMap):
                t.complain(OperatorUnusable(span=node.span, op=node.op, type=str(target.type)))
        case _:
            t.complain(OperatorUnusable(span=node.span, op=node.op, type="an expression that is no variable and no map"))
    return None


def _step_type(target: typed.Expr, op: str) -> Int:
    return I64 if op == "--" or as_int(target.type).signed else U64


# --- Composites -------------------------------------------------------------------------------------------------------


def make_tuple(t: Typing, node: tree.Tuple) -> typed.Expr:
    """`(a, b)`."""
    elements = tuple(decay(t.expr(e)) for e in node.elements)
    if any(isinstance(e, typed.Bad) for e in elements):
        return t.bad(node)
    if [e for e in elements if not _can_be_part(t, e)]:
        return t.bad(node)
    return _made(t, node, Tuple(tuple(e.type for e in elements)), elements)


def _can_be_part(t: Typing, element: typed.Expr) -> bool:
    if isinstance(element.type, Aggregate):
        t.complain(AggregateHasNoNumber(span=element.span, type=str(element.type)))
    elif element.type == VOID:
        t.complain(OperatorUnusable(span=element.span, op="(,)", type=str(element.type)))
    else:
        return True
    return False


def make_record(t: Typing, node: tree.Record) -> typed.Expr:
    """`(a = 1, b = 2)`."""
    elements = tuple(decay(t.expr(e)) for _, e in node.fields)
    if any(isinstance(e, typed.Bad) for e in elements):
        return t.bad(node)
    if [e for e in elements if not _can_be_part(t, e)]:
        return t.bad(node)
    fields = tuple((name, e.type) for (name, _), e in zip(node.fields, elements, strict=True))
    return _made(t, node, Record(fields), elements)


def _made(t: Typing, node: tree.Expr, type_: Tuple | Record, elements: tuple[typed.Expr, ...]) -> typed.Expr:
    if complaint := too_large(type_, node.span):
        return t.bad(node, complaint)
    return typed.MakeTuple(span=node.span, type=type_, elements=elements)


EXPRESSIONS: dict[type, Callable[[Any, Any], typed.Expr]] = {
    tree.Integer: integer,
    tree.Boolean: boolean,
    tree.String: string,
    tree.Identifier: calls.identifier,
    tree.Variable: variable,
    tree.Map: scalar_map,
    tree.MapAccess: keyed_map,
    tree.PositionalParameter: positional,
    tree.ParameterCount: parameter_count,
    tree.Unary: unary,
    tree.Increment: increment,
    tree.Binary: binary,
    tree.Ternary: choices.ternary,
    tree.FieldAccess: members.field_access,
    tree.TupleAccess: members.tuple_access,
    tree.Index: members.index,
    tree.Cast: casts.cast,
    tree.Tuple: make_tuple,
    tree.Record: make_record,
    tree.Call: calls.call,
    tree.Sizeof: casts.sizeof_of,
    tree.Offsetof: casts.offsetof_of,
    tree.Typeinfo: typeinfo.typeinfo_of,
    tree.Comptime: choices.comptime,
    tree.BlockExpr: choices.block_expression,
    tree.IfExpr: choices.if_expression,
}
