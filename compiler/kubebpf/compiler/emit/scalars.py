"""Scalar expressions as instructions, one function a kind of node; the table at the end is the dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubebpf.compiler.emit import aggregates, arguments, functions, maps, members
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, Aggregate, Array, Bool, Int, Pointer, String, sizeof
from kubebpf.compiler.types.promote import is_scalar

OPCODES = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}


def constant(code: Code, expr: typed.Constant) -> Operand:
    """A number; LLVM wants it as a signed one."""
    value = expr.value & ((1 << 64) - 1)
    return const(value - (1 << 64) if value >> 63 else value)


def read_variable(code: Code, expr: typed.ReadVariable) -> Operand:
    """`$x`."""
    return code.load(expr.type, code.place(expr.variable), align=8)


def read_map(code: Code, expr: typed.ReadMap) -> Operand:
    """`@m[k]`; an aggregate is added up over the CPUs."""
    if isinstance(expr.map.value, Aggregate):
        return aggregates.total(code, expr.map, maps.key_pointer(code, expr.map, expr.key))
    return maps.read_scalar(code, expr)


def load_time(code: Code, expr: typed.LoadTime) -> Operand:
    """A constant of the node."""
    span = expr.span if expr.kind in ("kaddr", "cgroupid") else None
    return code.load_constant(expr.kind, expr.arg, expr.default, span)


def unary(code: Code, expr: typed.Unary) -> Operand:
    """`- ~ !`."""
    if expr.op == "!":
        return code.f.cast("zext", _inverted(code, code.condition(expr.operand)), "i64")
    operand = code.scalar(expr.operand)
    opposite = code.f.binary("sub", const(0), operand) if expr.op == "-" else code.f.binary("xor", operand, const(-1))
    return code.extend(opposite, expr.type)


def _inverted(code: Code, value: Operand) -> Operand:
    return code.f.binary("xor", value, const(1, "i1"))


def binary(code: Code, expr: typed.Binary) -> Operand:
    """Arithmetic in 64 bits."""
    left, right = code.scalar(expr.left), code.scalar(expr.right)
    if expr.op in OPCODES:
        return code.f.binary(OPCODES[expr.op], left, right)
    if expr.op in ("<<", ">>"):
        return _shift(code, expr, left, right)
    return _divide(code, expr, left, right)


def _shift(code: Code, expr: typed.Binary, left: Operand, right: Operand) -> Operand:
    """`<<` and `>>`. The processor takes the low six bits of the count; LLVM calls anything else undefined, so they are cut
    out."""
    count = code.low(right, 6)
    if expr.op == "<<":
        return code.f.binary("shl", left, count)
    return code.f.binary("ashr" if expr.signed else "lshr", left, count)


def _divide(code: Code, expr: typed.Binary, left: Operand, right: Operand) -> Operand:
    """`/` and `%`: by zero they give 1, and that is counted."""
    if isinstance(expr.right, typed.Constant) and expr.right.value:
        return _quotient(code, expr, left, right)
    f = code.f
    result = code.register()
    bad, good, done = f.label("zero"), f.label("divide"), f.label("divided")
    f.branch(f.compare("eq", right, const(0)), bad, good, likely=False)
    f.place(bad)
    code.count_failure(code.module.site("divide_by_zero", expr.span))
    f.store(const(1), result, align=8)
    f.jump(done)
    f.place(good)
    f.store(_quotient(code, expr, left, right), result, align=8)
    f.place(done)
    return f.load("i64", result, align=8)


def _quotient(code: Code, expr: typed.Binary, left: Operand, right: Operand) -> Operand:
    """BPF before cpu v4 divides unsigned numbers only, so signs are put back. C's rule: a quotient is negative when the signs
    differ, a
    remainder has the sign of the dividend."""
    f = code.f
    opcode = "udiv" if expr.op == "/" else "urem"
    if not expr.signed:
        return f.binary(opcode, left, right)
    magnitude = f.binary(opcode, _absolute(code, left), _absolute(code, right))
    sign = f.binary("xor", left, right) if expr.op == "/" else left
    negative = f.compare("slt", sign, const(0))
    return f.select(negative, f.binary("sub", const(0), magnitude), magnitude)


def _absolute(code: Code, value: Operand) -> Operand:
    f = code.f
    return f.select(f.compare("slt", value, const(0)), f.binary("sub", const(0), value), value)


def truth(code: Code, expr: typed.Expr) -> Operand:
    """A comparison or `&& ||` as a number."""
    return code.f.cast("zext", code.condition(expr), "i64")


def conditional(code: Code, expr: typed.Conditional) -> Operand:
    """`a ? b : c`: only the chosen side is evaluated."""
    f = code.f
    slot = code.register()
    then, otherwise, done = f.label("then"), f.label("else"), f.label("chosen")
    f.branch(code.condition(expr.condition), then, otherwise)
    f.place(then)
    f.store(code.scalar(expr.then), slot, align=8)
    f.jump(done)
    f.place(otherwise)
    f.store(code.scalar(expr.otherwise), slot, align=8)
    f.place(done)
    return f.load("i64", slot, align=8)


def convert(code: Code, expr: typed.Convert) -> Operand:
    """A scalar in another width; an array of the same size read as a number; anything asked whether it is true."""
    source = expr.operand.type
    if isinstance(expr.type, Bool) and not isinstance(source, Bool):
        return truth(code, expr.operand)
    if isinstance(expr.type, Pointer) and isinstance(source, String):
        code.room.kept += 1  # what is pointed to stays there until the program ends
        return code.as_number(code.address(expr.operand))
    if isinstance(source, Array | String):
        return code.load(expr.type, code.address(expr.operand))
    value = code.scalar(expr.operand)
    if isinstance(expr.type, Pointer) and isinstance(source, Int) and source.bits < 64:
        return code.low(value, source.bits)  # as upstream: an address has no sign, `(uint8*)-1` is 0xff
    if isinstance(expr.type, Pointer) or isinstance(source, Pointer):
        return code.extend(value, expr.type)
    narrower = sizeof(expr.type) < sizeof(source)
    return code.extend(value, expr.type) if narrower or sizeof(expr.type) < 8 else value


def part(code: Code, expr: typed.Part) -> Operand:
    """`tuple.N`."""
    return code.load(expr.type, members.part_address(code, expr))


def address_of(code: Code, expr: typed.AddressOf) -> Operand:
    """`&$x` and `&@m`."""
    if isinstance(expr.target, typed.Variable):
        return code.as_number(code.place(expr.target))
    if expr.target.key is not None:
        return code.as_number(maps.map_pointer(code, expr.target))
    return code.as_number(maps.lookup(code, expr.target, maps.key_pointer(code, expr.target, None)))


def in_memory(code: Code, expr: typed.InMemory) -> Operand:
    """A number that lies somewhere already."""
    assert isinstance(expr.memory, Operand)
    return code.load(expr.type, expr.memory)


def call(code: Code, expr: typed.Call) -> Operand:
    """A builtin."""
    assert expr.builtin.emit is not None
    return expr.builtin.emit(code, expr)


def step(code: Code, expr: typed.Step) -> Operand:
    """`x++` with its value used."""
    if isinstance(expr.target, typed.ReadMap):
        return maps.step(code, expr)
    pointer = code.place(expr.target.variable)
    old = code.load(expr.type, pointer, align=8)
    new = code.extend(code.f.binary("add", old, const(expr.by)), expr.type)
    code.store(expr.type, new, pointer, align=8)
    return new if expr.prefix else old


def block_value(code: Code, expr: typed.BlockValue) -> Operand:
    """`{ …; value }`."""
    for s in expr.statements:
        code.statement(s)
    if is_scalar(expr.value.type) or expr.value.type == VOID:
        return code.scalar(expr.value)
    code.address(expr.value)  # for its effects: a value that lies in memory is asked for with `into`
    return const(0)


def size_of(code: Code, expr: typed.SizeOf) -> Operand:
    """`sizeof` of a kernel struct."""
    return code.module.relocations.type_size(code.f, expr.struct)


SCALARS: dict[type, Callable[[Any, Any], Operand]] = {
    typed.Constant: constant,
    typed.ReadVariable: read_variable,
    typed.ReadMap: read_map,
    typed.LoadTime: load_time,
    typed.Unary: unary,
    typed.Binary: binary,
    typed.Compare: truth,
    typed.CompareBytes: truth,
    typed.Logical: truth,
    typed.Conditional: conditional,
    typed.Convert: convert,
    typed.Member: members.read_scalar,
    typed.Dereference: members.dereference_scalar,
    typed.Element: members.element_scalar,
    typed.Part: part,
    typed.InMemory: in_memory,
    typed.AddressOf: address_of,
    typed.Argument: arguments.scalar,
    typed.Call: call,
    typed.Step: step,
    typed.Invoke: functions.invoke,
    typed.BlockValue: block_value,
    typed.SizeOf: size_of,
    typed.OffsetOf: members.offset_of,
}


def scalar(code: Code, expr: typed.Expr) -> Operand:
    """The value of any scalar expression, as an i64."""
    return SCALARS[type(expr)](code, expr)
