"""What the node says about the place that a program runs for, by the attach cookie: operands of usdt probes, symbols of uaddr().

arg1 of usdt:libc:setjmp   ->   as kb_usdt[cookie][1] says: base + index << scale + number, perhaps read from there
uaddr("ps1_prompt")        ->   the probed instruction's address + kb_symbols[cookie][0]
"""

from __future__ import annotations

from collections.abc import Callable

from kubebpf.compiler.artifact import operands as record
from kubebpf.compiler.artifact.manifest import OPERANDS, SYMBOLS
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.types.model import Space


def usdt(code: Code, index: int) -> Operand:
    """Argument `index` of a usdt probe: extended by its sign; 0 where the probe has none."""
    code.module.usdt = True
    code.operands.add(index)
    return _by_cookie(code, OPERANDS, index * record.BYTES, _value)


def address(code: Code, symbol: str, ip: Operand) -> Operand:
    """Where a symbol of the probed file lies in the process.

    Args:
        code: of the program.
        symbol: its name.
        ip: the address of the probed instruction.
    """
    if symbol not in code.symbols:
        code.symbols.append(symbol)

    def sum_(code: Code, place: Operand) -> Operand:
        return code.f.binary("add", ip, code.f.load("i64", place, align=8))

    return _by_cookie(code, SYMBOLS, code.symbols.index(symbol) * 8, sum_)


def _by_cookie(code: Code, symbol: str, offset: int, then: Callable[[Code, Operand], Operand]) -> Operand:
    """What `then` makes of the bytes at an offset in the record of this place; 0 when there is no record."""
    f, result = code.f, code.register()
    f.store(const(0), result, align=8)
    key = code.slot("cookie")
    f.store(code.helper(Helper.GET_ATTACH_COOKIE, f.parameter), key, align=8)
    found, done = f.label("place"), f.label("noplace")
    place = f.call_pointer(Helper.MAP_LOOKUP_ELEM, Operand(f"@{symbol}", "ptr"), key)
    f.branch(f.compare("ne", place, NULL), found, done)
    f.place(found)
    f.store(then(code, f.offset(place, offset)), result, align=8)
    f.place(done)
    return f.load("i64", result, align=8)


def _value(code: Code, place: Operand) -> Operand:
    f, sum_ = code.f, code.register()
    f.store(f.load("i64", place, align=8), sum_, align=8)
    _add_register(code, sum_, place, record.BASE, const(0))
    _add_register(code, sum_, place, record.INDEX, _byte(code, place, record.SCALE))
    _read(code, sum_, _byte(code, place, record.SIZE))
    value = f.binary("lshr", f.load("i64", sum_, align=8), _shift(code, place, record.DOWN))
    unused = _shift(code, place, record.UNUSED)
    high = f.binary("shl", value, unused)
    signed = f.compare("ne", _byte(code, place, record.SIGNED), const(0))
    return f.select(signed, f.binary("ashr", high, unused), f.binary("lshr", high, unused))


def _add_register(code: Code, sum_: Operand, place: Operand, which: int, scale: Operand) -> None:
    """Add a register that the record names, unless it names none."""
    f = code.f
    number = _byte(code, place, which)
    some, none = f.label("register"), f.label("noregister")
    f.branch(f.compare("ne", number, const(record.NO_REGISTER)), some, none)
    f.place(some)
    # The verifier takes no load from the context at an offset that it does not know; the helper does.
    where = f.offset(f.parameter, f.binary("shl", code.low(number, 6), const(3)))
    word = code.slot("register")
    code.read(Space.KERNEL, word, 8, where)
    shifted = f.binary("shl", f.load("i64", word, align=8), code.low(scale, 6))
    f.store(f.binary("add", f.load("i64", sum_, align=8), shifted), sum_, align=8)
    f.place(none)


def _read(code: Code, sum_: Operand, size: Operand) -> None:
    """Take the sum for an address, if the record says a size."""
    f = code.f
    some, none = f.label("memory"), f.label("nomemory")
    f.branch(f.compare("ne", size, const(0)), some, none)
    f.place(some)
    word = code.slot("register")
    f.store(const(0), word, align=8)
    bounded = f.binary("add", code.low(f.binary("sub", size, const(1)), 3), const(1))
    code.read(Space.USER, word, f.cast("trunc", bounded, "i32"), f.load("i64", sum_, align=8))
    f.store(f.load("i64", word, align=8), sum_, align=8)
    f.place(none)


def _byte(code: Code, place: Operand, offset: int) -> Operand:
    return code.f.cast("zext", code.f.load("i8", code.f.offset(place, offset)), "i64")


def _shift(code: Code, place: Operand, offset: int) -> Operand:
    return code.low(_byte(code, place, offset), 6)
