"""The parameters of user functions at their start: in registers, on the stack, or where one of these points."""

from __future__ import annotations

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.registers import argument_register, registers
from kubebpf.compiler.types.model import Space
from kubebpf.compiler.userland.convention import Place

_WORD = 8


def word(code: Code, place: Place) -> Operand:
    """A parameter that is a number or pointer: its word, whose high bytes mean nothing when it is shorter."""
    if place.kind == "register":
        return _register(code, place.index)
    slot = code.slot("read")
    code.read(Space.USER, slot, _WORD, _stack(code, place.index))
    return code.f.load("i64", slot, align=8)


def memory(code: Code, place: Place, size: int, to: Operand) -> None:
    """A parameter that is a struct."""
    if place.kind == "register":
        _from_registers(code, place.index, size, to)
    elif place.kind == "stack":
        code.read(Space.USER, to, size, _stack(code, place.index))
    else:
        pointer = word(code, Place("stack" if place.on_stack else "register", place.index))
        code.read(Space.USER, to, size, pointer)


def _from_registers(code: Code, first: int, size: int, to: Operand) -> None:
    for at in range(0, size, _WORD):
        value = _register(code, first + at // _WORD)
        for byte in range(min(_WORD, size - at)):
            shifted = code.shift_right(value, byte * 8) if byte else value
            code.f.store(code.f.cast("trunc", shifted, "i8"), code.f.offset(to, at + byte))


def _register(code: Code, number: int) -> Operand:
    return code.f.load("i64", code.f.offset(code.f.parameter, argument_register(code.module.arch, number)), align=8)


def _stack(code: Code, offset: int) -> Operand:
    """The address of a word that the caller pushed."""
    arch = code.module.arch
    top = code.f.load("i64", code.f.offset(code.f.parameter, registers(arch).stack_pointer), align=8)
    # A call on x86 pushes the return address on top.
    return code.f.binary("add", top, const(offset + (_WORD if arch == "x86_64" else 0)))
