"""The smallest and the greatest: one word that only grows (artifact/extremes.py), raised without losing an update.

@low = min($x)   ->   kept = $x ^ mask; if (kept > *cell) *cell = kept;
"""

from __future__ import annotations

from kubebpf.compiler.artifact.extremes import mask
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.syntax.span import Span

# How often another program may change the word between this one's look and its exchange before the update is given up, and
# counted: each time needs an interruption in a stretch of five instructions.
ATTEMPTS = 16


def kept(code: Code, kind: str, signed: bool, value: Operand) -> Operand:
    """A value in the form in which it is kept, or a kept one as its value."""
    number = mask(kind, signed)
    return code.f.binary("xor", value, const(number - (1 << 64) if number >> 63 else number)) if number else value


def raise_word(code: Code, word: Operand, value: Operand, span: Span, *, shared: bool) -> None:
    """Let the word at `word` be at least `value`, both in their kept form.

    Args:
        shared: another program may come in between on this CPU: compare and exchange, a bounded number of times.
        span: the call in the text, under which an update that was given up is counted.
    """
    f = code.f
    done, better = f.label("kept"), f.label("better")
    if not shared:
        f.branch(f.compare("ugt", value, f.load("i64", word, align=8)), better, done)
        f.place(better)
        f.store(value, word, align=8)
        f.place(done)
        return
    attempt = code.register()
    f.store(const(0), attempt, align=8)
    again, more = f.label("again"), f.label("more")
    f.place(again)
    old = f.load("i64", word, align=8, volatile=True)
    f.branch(f.compare("ugt", value, old), better, done)
    f.place(better)
    f.branch(f.compare("eq", f.exchange(word, old, value), old), done, more, likely=True)
    f.place(more)
    count = f.binary("add", f.load("i64", attempt, align=8), const(1))
    f.store(count, attempt, align=8)
    given_up = f.label("given_up")
    f.branch(f.compare("ult", count, const(ATTEMPTS)), again, given_up)
    f.place(given_up)
    code.count_failure(code.module.site("contended", span))
    f.place(done)
