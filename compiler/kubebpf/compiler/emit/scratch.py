"""Memory beyond the stack: every program has an entry of its own in a per-CPU array, and looks it up at its start.

No two programs share an entry, because one may interrupt another on the same CPU. A preemptible program
(`Provider.preemptible`) can even
be overtaken by itself, in another process; it has several entries and claims a free one for the time it runs:

    kb_scratch[0]             {bytes…}                a tracepoint's
    kb_scratch[1], …, [4]     {u64 claimed, bytes…}   a uprobe's
"""

from __future__ import annotations

from kubebpf.compiler.emit.code import SCRATCH_SLOT, Code
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Label, Operand, const

CLAIMS = 4  # runs of one preemptible program that may be under way on one CPU at a time; further ones are counted as lost
LIMIT = 32768  # bytes of one element of a per-CPU array: PCPU_MIN_UNIT_SIZE, include/linux/percpu.h
LOST = 0  # the site that counts them
_MAP = Operand("@kb_scratch", "ptr")


def look_up(code: Code) -> None:
    """Give the scratch pointer its value, in front of the program's body; `code.leave` when there is none."""
    if not code.room.used:
        return
    if code.target.provider.preemptible:
        _claim(code)
    else:
        _take(code)
    if code.module.frugal:
        code.f.store(code.scratch(), code.slot(SCRATCH_SLOT), align=8)


def _take(code: Code) -> None:
    f = code.f
    there = f.label("scratch")
    entry = _entry(code)
    f.do(f"{code.scratch().text} = getelementptr i8, {entry}, i64 0")
    f.branch(f.compare("ne", entry, NULL), there, code.leave)
    f.place(there)


def release(code: Code) -> None:
    """Give a claimed entry back, behind the program's body."""
    if code.room.used and code.target.provider.preemptible:
        code.f.do(f"store volatile i64 0, {code.scratch()}, align 8")  # before cpu v4 there is no atomic store


def _entry(code: Code) -> Operand:
    """The next entry of the map: the verifier wants to be told that it is there."""
    key = code.slot("scratch", 4)
    code.f.store(const(code.module.scratch_entries, "i32"), key, align=4)
    code.module.scratch_entries += 1
    return code.f.call_pointer(Helper.MAP_LOOKUP_ELEM, _MAP, key)


def _claim(code: Code) -> None:
    f = code.f
    claimed = f.label("claimed")
    taken: list[tuple[Operand, Label]] = []
    for _ in range(CLAIMS):
        attempt, following = f.label("attempt"), f.label("busy")
        entry = _entry(code)
        f.branch(f.compare("ne", entry, NULL), attempt, code.leave)
        f.place(attempt)
        both = f.value(f"cmpxchg {entry}, i64 0, i64 1 monotonic monotonic, align 8", "{ i64, i1 }")
        f.branch(f.value(f"extractvalue {both}, 1", "i1"), claimed, following)
        taken.append((entry, attempt))
        f.place(following)
    code.count_failure(LOST)
    f.jump(code.leave)
    f.place(claimed)
    pairs = ", ".join(f"[ {entry.text}, %{block.name} ]" for entry, block in taken)
    f.do(f"{code.scratch().text} = phi ptr {pairs}")
