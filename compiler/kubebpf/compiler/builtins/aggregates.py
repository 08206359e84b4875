"""The map functions as records; `@m[k] = f(x)` is typed here and fed in emit/aggregates.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.histogram import MAX_K
from kubebpf.compiler.builtins.record import Builtin, Check
from kubebpf.compiler.builtins.shapes import call, integer, literal_integer, literal_string
from kubebpf.compiler.complaints.typing import WrongArgument
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Aggregate, Int
from kubebpf.compiler.types.promote import as_int

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

MAX_LINEAR_SLOTS = 1000


def _check_count(t: Typing, node: tree.Call) -> typed.Expr:
    return call(t, node, Aggregate("count", signed=False))


def _check_number(kind: str) -> Check:
    def check(t: Typing, node: tree.Call) -> typed.Expr:
        value = integer(t, node, 0)
        if isinstance(value, typed.Bad):
            return value
        return _feeding(t, node, value, Aggregate(kind, signed=_signed(value)))

    return check


def _signed(value: typed.Expr) -> bool:
    return as_int(value.type).signed


def _feeding(t: Typing, node: tree.Call, value: typed.Expr, a: Aggregate) -> typed.Call:
    return call(t, node, a, (convert(value, Int(64, a.signed)),))


def _check_hist(t: Typing, node: tree.Call) -> typed.Expr:
    value = integer(t, node, 0)
    k = literal_integer(t, node, 1) if len(node.arguments) > 1 else 0
    if isinstance(value, typed.Bad) or k is None:
        return t.bad(node)
    if not 0 <= k <= MAX_K:
        return t.bad(node, WrongArgument(span=node.arguments[1].span, name="hist", wanted=f"0 to {MAX_K} for k", found=str(k)))
    return _feeding(t, node, value, Aggregate("hist", signed=_signed(value), params=(k,)))


def _check_lhist(t: Typing, node: tree.Call) -> typed.Expr:
    value = integer(t, node, 0)
    numbers = [literal_integer(t, node, i) for i in (1, 2, 3)]
    if isinstance(value, typed.Bad) or None in numbers:
        return t.bad(node)
    low, high, step = (n or 0 for n in numbers)
    problem = _lhist_problem(low, high, step)
    if problem:
        return t.bad(node, WrongArgument(span=node.span, name="lhist", wanted=problem, found=f"{low}, {high}, {step}"))
    return _feeding(t, node, value, Aggregate("lhist", signed=_signed(value), params=(low, high, step)))


def _lhist_problem(low: int, high: int, step: int) -> str:
    if step <= 0:
        return "a step above 0"
    if low < 0:
        return "a minimum of at least 0"
    if high <= low:
        return "a maximum above the minimum"
    if step > high - low:
        return "a step not larger than the range"
    if (high - low) // step > MAX_LINEAR_SLOTS:
        return f"at most {MAX_LINEAR_SLOTS} buckets"
    return ""


# --- tseries ----------------------------------------------------------------------------------------------------------

SERIES_HOW = ("avg", "max", "min", "sum")
# A value of a per-CPU map has at most 32 KiB (PCPU_MIN_UNIT_SIZE), of which a scalar map's flag takes 8 bytes.
MAX_INTERVALS = (32768 - 8) // 24


def _check_tseries(t: Typing, node: tree.Call) -> typed.Expr:
    value = integer(t, node, 0)
    length, intervals = (literal_integer(t, node, i) for i in (1, 2))
    how = literal_string(t, node, 3) if len(node.arguments) > 3 else ""
    if isinstance(value, typed.Bad) or length is None or intervals is None or how is None:
        return t.bad(node)
    for index, wanted, found, fine in (
        (1, "interval_ns of at least 1", length, length >= 1),
        (2, f"num_intervals from 1 to {MAX_INTERVALS}", intervals, 1 <= intervals <= MAX_INTERVALS),
        (3, "one of the aggregation functions avg, max, min, sum", how, len(node.arguments) < 4 or how in SERIES_HOW),
    ):
        if not fine:
            span = node.arguments[index].span
            return t.bad(node, WrongArgument(span=span, name="tseries", wanted=wanted, found=str(found)))
    fed = _feeding(t, node, value, Aggregate("tseries", signed=_signed(value), params=(length, intervals), how=how))
    return replace(fed, arguments=(*fed.arguments, *_test_clock(t, node)))


def _test_clock(t: Typing, node: tree.Call) -> tuple[typed.Expr, ...]:
    """The map that a test put in the place of the clock."""
    name = t.settings.dummy_ts_map
    if not name or t.slots.map(name).value.type is None:
        return ()
    value = t.expr(tree.Map(name, span=node.span))
    return () if isinstance(value, typed.Bad) else (convert(value, U64),)


ALL = (
    Builtin("count", _check_count, aggregate=True),
    *(Builtin(kind, _check_number(kind), takes=(1, 1), aggregate=True) for kind in ("sum", "min", "max", "avg", "stats")),
    Builtin("hist", _check_hist, takes=(1, 2), aggregate=True),
    Builtin("lhist", _check_lhist, takes=(4, 4), aggregate=True),
    Builtin("tseries", _check_tseries, takes=(3, 4), aggregate=True),
)
