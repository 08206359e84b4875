"""tseries: a ring of intervals under each key and for each CPU, the one of now found by its number.

@ = tseries($n, 1s, 20)   ->   epoch = clock / 1s; interval = ring[epoch % 20]; restart it if it is of an earlier epoch; update

An interval is {x value, u64 meta, u64 epoch + 1}; all zeros is one that was never used. The clock does not step: it is the
boot clock plus a constant that each node writes before the load, so that all nodes number their intervals alike.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.extremes import kept, raise_word
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Aggregate

META, EPOCH, SIZE = 8, 16, 24  # bytes into an interval, and its size


def feed_series(code: Code, node: typed.Feed, a: Aggregate, cell: Operand, value: Operand) -> None:
    """Put a value into the interval of now."""
    f = code.f
    length, intervals = a.params
    now = _now(code) if node.time is None else code.scalar(node.time)
    epoch = f.binary("udiv", now, const(length))
    index = f.binary("urem", epoch, const(intervals))
    # Without the barrier LLVM proves the bound itself and drops the test that the verifier needs.
    index = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {index.text})', "i64")
    inside, current, done = f.label("inside"), f.label("current"), f.label("fed")
    f.branch(f.compare("ult", index, const(intervals)), inside, done)
    f.place(inside)
    interval = f.offset(cell, f.binary("mul", index, const(SIZE)))
    mark = f.binary("add", epoch, const(1))
    held = f.load("i64", f.offset(interval, EPOCH), align=8)
    other, restart = f.label("other"), f.label("restart")
    f.branch(f.compare("eq", held, mark), current, other, likely=True)
    f.place(other)
    # A program that was interrupted may come late; its interval is over, and the ring has gone on.
    f.branch(f.compare("ult", held, mark), restart, done)
    f.place(restart)
    _restart(code, node, a, interval, held, mark)
    f.place(current)
    UPDATES[a.how](code, node, a, interval, value, now)
    f.place(done)


def _now(code: Code) -> Operand:
    return code.f.binary("add", code.helper(Helper.KTIME_GET_BOOT_NS), code.load_constant("wall_offset"))


def _restart(code: Code, node: typed.Feed, a: Aggregate, interval: Operand, held: Operand, mark: Operand) -> None:
    """Give an interval of the past to a new epoch.

    Where programs interrupt each other, one of them gets the epoch by an exchange, and takes away what it found instead of
    writing zeros: what another has added since stays.
    """
    f = code.f
    value, meta, epoch = interval, f.offset(interval, META), f.offset(interval, EPOCH)
    if not code.is_shared(node.map):
        for word, number in ((value, const(0)), (meta, const(0)), (epoch, mark)):
            f.store(number, word, align=8)
        return
    old_value, old_meta = (f.load("i64", word, align=8, volatile=True) for word in (value, meta))
    won, lost = f.label("won"), f.label("lost")
    f.branch(f.compare("eq", f.exchange(epoch, held, mark), held), won, lost)
    f.place(won)
    if a.how in ("min", "max"):
        f.exchange(value, old_value, const(0))
    elif a.how in ("avg", "sum"):
        f.atomic_add(value, f.binary("sub", const(0), old_value))
        f.atomic_add(meta, f.binary("sub", const(0), old_meta))
    f.place(lost)


def _sum(code: Code, node: typed.Feed, a: Aggregate, interval: Operand, value: Operand, now: Operand) -> None:
    for word, by in ((interval, value), (code.f.offset(interval, META), const(1))):
        if code.is_shared(node.map):
            code.f.atomic_add(word, by)
        else:
            code.f.store(code.f.binary("add", code.f.load("i64", word, align=8), by), word, align=8)


def _extreme(code: Code, node: typed.Feed, a: Aggregate, interval: Operand, value: Operand, now: Operand) -> None:
    raise_word(code, interval, kept(code, a.how, a.signed, value), node.span, shared=code.is_shared(node.map))
    code.f.store(const(1), code.f.offset(interval, META), align=8)


def _last(code: Code, node: typed.Feed, a: Aggregate, interval: Operand, value: Operand, now: Operand) -> None:
    """The newest value; `meta` is its time, by which the CPUs' values are told apart."""
    f = code.f
    meta = f.offset(interval, META)
    newer, done = f.label("newer"), f.label("old")
    f.branch(f.compare("ugt", now, f.load("i64", meta, align=8)), newer, done)
    f.place(newer)
    f.store(value, interval, align=8)
    f.store(now, meta, align=8)
    f.place(done)


Update = Callable[[Code, typed.Feed, Aggregate, Operand, Operand, Operand], None]
UPDATES: dict[str, Update] = {"": _last, "avg": _sum, "sum": _sum, "min": _extreme, "max": _extreme}
