"""How many events a second a trace may send: decided before an event is made, so that those over the limit cost next to nothing.

The limit is a load-time constant, 0 for none: the verifier then drops the whole test, and another limit needs no other object.
One cell {u64 second of the boot clock, u64 events in it} serves all CPUs. It is read and added to without a lock: CPUs that
meet there may let one event more each pass, or begin a second twice.
"""

from __future__ import annotations

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Label, Operand, const

CONSTANT = "max_events"
_SECOND_NS = 1_000_000_000
# What has to happen in its place, and is seldom: it is never held back.
_ACTIONS = {"exit", "clear", "zero", "unwatch", "process"}


def test_rate(code: Code, kind: str, over: Label) -> None:
    """Go to `over` when the second has had its events; programs of the local mode are not limited.

    Args:
        kind: of the event.
        over: counts the event as lost.
    """
    if kind in _ACTIONS or code.module.options.header == "plain":
        return
    code.module.limits_rate = True
    f, cell = code.f, Operand("@kb_rate", "ptr")
    count = f.offset(cell, 8)
    limit = code.load_constant(CONSTANT)
    limited, other, same, passes = f.label("limited"), f.label("second"), f.label("within"), f.label("passes")
    f.branch(f.compare("eq", limit, const(0)), passes, limited, likely=True)
    f.place(limited)
    second = f.binary("udiv", code.helper(Helper.KTIME_GET_BOOT_NS), const(_SECOND_NS))
    f.branch(f.compare("eq", f.load("i64", cell, align=8), second), same, other, likely=True)
    f.place(other)
    f.store(second, cell, align=8)
    f.store(const(0), count, align=8)
    f.jump(same)
    f.place(same)
    passed = f.load("i64", count, align=8)
    room = f.label("room")
    f.branch(f.compare("uge", passed, limit), over, room, likely=False)
    f.place(room)
    f.atomic_add(count, const(1))
    f.jump(passes)
    f.place(passes)
