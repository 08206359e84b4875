"""Functions that programs call about bytes: comparing and searching, without a loop at the place of the call.

They are global functions of BPF, which the verifier checks once each and not again at every call (btf_check_subprog_call,
kernel 5.12), and of whose result it knows nothing: neither the rounds of a loop nor the ways out of it multiply with the rest
of the program. Their arguments are pointers to a fixed number of bytes, which is part of a function's name; docs/design has the
measurements.

    kb_compare_64_strings(const char (*left)[64], const char (*right)[64], u64 count) -> as memcmp(3)
    kb_difference(u64 left, u64 right) -> what the first bytes that differ are apart
    kb_match_64_16(const char (*text)[64], const char (*needle)[16], u64 at) -> 1 when the needle lies there
    kb_find_64_16(const char (*text)[64], const char (*needle)[16]) -> its first place, or -1
"""

from __future__ import annotations

from collections.abc import Callable

from kubebpf.compiler.emit.ir import NULL, Function, Operand, const
from kubebpf.compiler.emit.module import Module

ONES, HIGHS = 0x0101010101010101, -0x7F7F7F7F7F7F7F80  # 0x01 and 0x80 in every byte
WORD = 8
DIFFERENCE = "@kb_difference"


def compare(module: Module, size: int, *, strings: bool) -> str:
    """The symbol of a function that compares the first `count` of `size` bytes; `strings` end at a NUL that both have."""
    _define(module, DIFFERENCE[1:], (("left", None), ("right", None)), _difference)
    name = f"kb_compare_{size}_{'strings' if strings else 'bytes'}"
    parameters = (("left", size), ("right", size), ("count", None))
    return _define(module, name, parameters, lambda f: _compare(f, size, strings=strings))


def find(module: Module, text: int, needle: int) -> str:
    """The symbol of a function that looks for a string of at most `needle` bytes in one of at most `text` bytes."""
    name = f"kb_match_{text}_{needle}"
    match = _define(module, name, (("text", text), ("needle", needle), ("at", None)), lambda f: _match(f, text, needle))
    return _define(module, f"kb_find_{text}_{needle}", (("text", text), ("needle", needle)), lambda f: _find(f, text, match))


def _define(module: Module, name: str, parameters: tuple[tuple[str, int | None], ...], body: Callable[[Function], None]) -> str:
    if name not in module.routines:
        number = module.debug.routine(name, parameters)
        types = tuple("i64" if size is None else "ptr" for _, size in parameters)
        f = Function(name, "", number, returns="i64", parameters=types, attributes="noinline")
        f.location = f", !dbg !{module.debug.location(1, 1, number)}"
        for i, (_, size) in enumerate(parameters):
            if size is not None:
                _refuse_null(f, Operand(f"%a{i}", "ptr"))
        body(f)
        module.routines[name] = f.text()
    return f"@{name}"


def _refuse_null(f: Function, pointer: Operand) -> None:
    """The verifier takes a global function's pointers for ones that may be null."""
    none, some = f.label("null"), f.label("some")
    f.branch(f.compare("eq", pointer, NULL), none, some, likely=False)
    f.place(none)
    f.ret(const(0))
    f.place(some)


def _cell(f: Function, value: Operand) -> Operand:
    """A number that changes; LLVM makes a register of it."""
    cell = f.alloca(8)
    f.store(value, cell, align=8)
    return cell


# --- Comparing --------------------------------------------------------------------------------------------------------


def _compare(f: Function, size: int, *, strings: bool) -> None:
    """Eight bytes a round, the rest in narrower pieces."""
    left, right, count = Operand("%a0", "ptr"), Operand("%a1", "ptr"), Operand("%a2")
    whole = size // WORD * WORD
    if whole:
        at = _cell(f, const(0))
        loop, more, rest = f.label("loop"), f.label("more"), f.label("rest")
        f.place(loop)
        offset = f.load("i64", at, align=8)
        _piece(f, f.offset(left, offset), f.offset(right, offset), offset, count, WORD, strings=strings)
        following = f.binary("add", offset, const(WORD))
        f.store(following, at, align=8)
        f.branch(f.compare("ult", following, const(whole)), more, rest)
        f.place(more)
        f.jump(loop)
        f.place(rest)
    for start, width in _pieces(whole, size):
        _piece(f, f.offset(left, start), f.offset(right, start), const(start), count, width, strings=strings)
    f.ret(const(0))


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    pieces = []
    for width in (4, 2, 1):
        while end - start >= width:
            pieces.append((start, width))
            start += width
    return pieces


def _piece(f: Function, left: Operand, right: Operand, offset: Operand, count: Operand, width: int, *, strings: bool) -> None:
    """Return when the piece decides; else fall through. Whether a difference lies within `count` is asked on the way out: asked
    in every round, it would double the ways that the verifier follows.

    The lowest byte of a word is the first of the string. A zero byte is found by the carry that it lacks: the lowest bit set in
    (w - 0x01…) & ~w & 0x80… is the high bit of the first one.
    """
    inside, beyond, different, same = (f.label(n) for n in ("inside", "beyond", "different", "same"))
    f.branch(f.compare("ult", offset, count), inside, beyond)
    f.place(beyond)
    f.ret(const(0))
    f.place(inside)
    a, b = (f.cast("zext", f.load(f"i{width * 8}", p, align=1), "i64") for p in (left, right))
    difference, ended = f.binary("xor", a, b), const(0)
    if strings:
        borrowed = f.binary("and", f.binary("sub", a, const(ONES)), f.binary("xor", a, const(-1)))
        ended = f.binary("and", borrowed, const(HIGHS & ((1 << width * 8) - 1) if width < WORD else HIGHS))
        difference = f.binary("and", difference, f.binary("sub", f.binary("shl", _lowest(f, ended), const(1)), const(1)))
    f.branch(f.compare("ne", difference, const(0)), different, same)
    f.place(different)
    _return_difference(f, a, b, difference, f.binary("sub", count, offset))
    f.place(same)
    if strings:
        end, more = f.label("end"), f.label("more")
        f.branch(f.compare("ne", ended, const(0)), end, more)
        f.place(end)
        f.ret(const(0))
        f.place(more)


def _lowest(f: Function, value: Operand) -> Operand:
    """The lowest bit that is set."""
    return f.binary("and", value, f.binary("sub", const(0), value))


def _return_difference(f: Function, a: Operand, b: Operand, difference: Operand, left: Operand) -> None:
    """Return how two pieces differ, or 0 when their first difference lies behind the `left` bytes that count."""
    whole, part, counts, beyond = (f.label(n) for n in ("whole", "part", "counts", "beyond"))
    f.branch(f.compare("uge", left, const(WORD)), whole, part)
    f.place(part)
    bits = f.binary("and", f.binary("shl", left, const(3)), const(63))
    f.branch(f.compare("eq", f.binary("lshr", _lowest(f, difference), bits), const(0)), counts, beyond)
    f.place(beyond)
    f.ret(const(0))
    f.place(counts)
    f.jump(whole)
    f.place(whole)
    f.ret(f.value(f"call i64 {DIFFERENCE}({a}, {b})", "i64"))


def _difference(f: Function) -> None:
    """The first bytes that differ, subtracted; found by halving, because BPF does not count zeros."""
    a, b = Operand("%a0"), Operand("%a1")
    for bits in (32, 16, 8):
        unlike = f.binary("and", f.binary("xor", a, b), const((1 << bits) - 1))
        shift = f.select(f.compare("eq", unlike, const(0)), const(bits), const(0))
        a, b = f.binary("lshr", a, shift), f.binary("lshr", b, shift)
    f.ret(f.binary("sub", f.binary("and", a, const(0xFF)), f.binary("and", b, const(0xFF))))


# --- Searching --------------------------------------------------------------------------------------------------------


def _match(f: Function, text_size: int, needle_size: int) -> None:
    text, needle, place = Operand("%a0", "ptr"), Operand("%a1", "ptr"), Operand("%a2")
    at = _cell(f, const(0))
    loop, wanted, inside, same, yes, no = (f.label(n) for n in ("loop", "wanted", "inside", "same", "yes", "no"))
    f.place(loop)
    offset = f.load("i64", at, align=8)
    want = f.load("i8", f.offset(needle, offset))
    f.branch(f.compare("ne", want, const(0, "i8")), wanted, yes)
    f.place(wanted)
    position = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {f.binary("add", place, offset).text})', "i64")
    f.branch(f.compare("ult", position, const(text_size)), inside, no)
    f.place(inside)
    f.branch(f.compare("eq", f.load("i8", f.offset(text, position)), want), same, no)
    f.place(same)
    following = f.binary("add", offset, const(1))
    f.store(following, at, align=8)
    f.branch(f.compare("ult", following, const(needle_size)), loop, yes)
    f.place(yes)
    f.ret(const(1))
    f.place(no)
    f.ret(const(0))


def _find(f: Function, text_size: int, match: str) -> None:
    """Where the first byte is right, ask for the rest."""
    text, needle = Operand("%a0", "ptr"), Operand("%a1", "ptr")
    first = f.load("i8", needle)
    empty, search, loop, same, other, more, found, none = (
        f.label(n) for n in ("empty", "search", "loop", "same", "other", "more", "found", "none")
    )
    f.branch(f.compare("eq", first, const(0, "i8")), empty, search)
    f.place(empty)
    f.ret(const(0))
    f.place(search)
    at = _cell(f, const(0))
    f.place(loop)
    offset = f.load("i64", at, align=8)
    byte = f.load("i8", f.offset(text, offset))
    f.branch(f.compare("eq", byte, first), same, other)
    f.place(same)
    there = f.value(f"call i64 {match}({text}, {needle}, {offset})", "i64")
    f.branch(f.compare("ne", there, const(0)), found, more)
    f.place(found)
    f.ret(offset)
    f.place(other)
    f.branch(f.compare("eq", byte, const(0, "i8")), none, more)
    f.place(more)
    following = f.binary("add", offset, const(1))
    f.store(following, at, align=8)
    f.branch(f.compare("ult", following, const(text_size)), loop, none)
    f.place(none)
    f.ret(const(-1))
