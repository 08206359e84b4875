"""Conditions as i1 values: comparisons, `&&`, `||`, and the truth of everything else."""

from __future__ import annotations

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Array, Buffer, String, Type, sizeof

PREDICATES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
UNROLLED = 64  # bytes that are compared without a loop
TRUE, FALSE = Operand("true", "i1"), Operand("false", "i1")


def condition(code: Code, expr: typed.Expr) -> Operand:
    """Whether an expression is true."""
    match expr:
        case typed.Compare():
            return _compare(code, expr)
        case typed.CompareBytes():
            equal = equal_bytes(code, expr.left, expr.right)
            return equal if expr.op == "==" else code.f.binary("xor", equal, const(1, "i1"))
        case typed.Logical():
            return _logical(code, expr)
        case typed.Unary(op="!"):
            return code.f.binary("xor", condition(code, expr.operand), const(1, "i1"))
        case typed.Text():
            return TRUE if expr.value else FALSE
    if isinstance(expr.type, String):
        first = code.f.load("i8", code.address(expr), align=1)
        return code.f.compare("ne", first, const(0, "i8"))
    if isinstance(expr.type, Array | Buffer):
        return TRUE
    return code.f.compare("ne", code.scalar(expr), const(0))


def _compare(code: Code, expr: typed.Compare) -> Operand:
    predicate = PREDICATES[expr.op]
    if expr.op not in ("==", "!="):
        predicate = ("s" if expr.signed else "u") + predicate
    return code.f.compare(predicate, code.scalar(expr.left), code.scalar(expr.right))


def _logical(code: Code, expr: typed.Logical) -> Operand:
    f = code.f
    result = code.register()
    more, done = f.label("more"), f.label("decided")
    left = condition(code, expr.left)
    f.store(f.cast("zext", left, "i64"), result, align=8)
    f.branch(left, *((more, done) if expr.op == "&&" else (done, more)))
    f.place(more)
    f.store(f.cast("zext", condition(code, expr.right), "i64"), result, align=8)
    f.place(done)
    return f.compare("ne", f.load("i64", result, align=8), const(0))


def equal_bytes(code: Code, left: typed.Expr, right: typed.Expr) -> Operand:
    """Whether two values in memory are equal."""
    if isinstance(left, typed.Text):
        left, right = right, left
    if isinstance(right, typed.Text):
        return _equals_text(code, left, right.value)
    size = _compared_size(left.type, right.type)
    a, b = code.address(left), code.address(right)
    return _equal_memory(code, a, b, size)


def _compared_size(left: Type, right: Type) -> int:
    if isinstance(left, String) and isinstance(right, String):
        # Strings are padded with zeros, so beyond the smaller capacity both can only have zeros if they are equal.
        return min(left.size, right.size)
    return sizeof(left)


def _equals_text(code: Code, value: typed.Expr, text: bytes) -> Operand:
    """A string against a constant: its bytes and the NUL behind them, in as few loads as can be."""
    data = text + b"\0"
    if len(data) > sizeof(value.type):
        return FALSE
    pointer = code.address(value)
    if len(data) > 2 * UNROLLED:
        return _equal_memory(code, pointer, Operand(code.module.text(data), "ptr"), len(data))
    difference = const(0)
    for offset, size in chunks(len(data)):
        want = int.from_bytes(data[offset : offset + size], "little", signed=True)
        have = code.f.load(f"i{size * 8}", code.f.offset(pointer, offset), align=1)
        part = code.f.binary("xor", have, const(want, f"i{size * 8}"))
        difference = code.f.binary("or", difference, code.f.cast("zext", part, "i64"))
    return code.f.compare("eq", difference, const(0))


def chunks(size: int) -> list[tuple[int, int]]:
    """(offset, width) of loads that cover `size` bytes: 8 bytes at a time, then 4, 2, 1."""
    parts, offset = [], 0
    for width in (8, 4, 2, 1):
        while size - offset >= width:
            parts.append((offset, width))
            offset += width
    return parts


def _equal_memory(code: Code, a: Operand, b: Operand, size: int) -> Operand:
    f = code.f
    if size <= UNROLLED:
        difference = const(0)
        for offset, width in chunks(size):
            t = f"i{width * 8}"
            part = f.binary("xor", f.load(t, f.offset(a, offset)), f.load(t, f.offset(b, offset)))
            difference = f.binary("or", difference, f.cast("zext", part, "i64"))
        return f.compare("eq", difference, const(0))
    return _compare_loop(code, a, b, size)


def _compare_loop(code: Code, a: Operand, b: Operand, size: int) -> Operand:
    """Eight bytes a round; the verifier follows the loop, whose bound is a constant."""
    f = code.f
    at, result = code.register(), code.register()
    f.store(const(0), at, align=8)
    f.store(const(0), result, align=8)
    loop, same, done, whole = (f.label(n) for n in ("loop", "same", "compared", "whole"))
    f.place(loop)
    offset = f.load("i64", at, align=8)
    left, right = f.load("i64", f.offset(a, offset)), f.load("i64", f.offset(b, offset))
    f.branch(f.compare("eq", left, right), same, done)
    f.place(same)
    following = f.binary("add", offset, const(8))
    f.store(following, at, align=8)
    f.branch(f.compare("ule", following, const(size - 8)), loop, whole)
    f.place(whole)
    tail = size % 8
    rest = const(1) if not tail else _tail_equal(code, a, b, size - tail, tail)
    f.store(rest, result, align=8)
    f.place(done)
    return f.compare("ne", f.load("i64", result, align=8), const(0))


def _tail_equal(code: Code, a: Operand, b: Operand, start: int, size: int) -> Operand:
    f = code.f
    difference = const(0)
    for offset, width in chunks(size):
        t, at = f"i{width * 8}", start + offset
        part = f.binary("xor", f.load(t, f.offset(a, at)), f.load(t, f.offset(b, at)))
        difference = f.binary("or", difference, f.cast("zext", part, "i64"))
    return f.cast("zext", f.compare("eq", difference, const(0)), "i64")
