"""Functions of the text as BPF functions. Each program has functions of its own, because they use its scratch memory: none is
recursive, so every parameter and variable has one place.

    fn f($a: int64, $s: string[16]): int64   ->   i64 kb0_begin_f(i64 a, ptr frame), with $s in scratch memory
"""

from __future__ import annotations

from kubebpf.compiler.emit import external, subprograms
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, sizeof
from kubebpf.compiler.types.promote import is_scalar
from kubebpf.compiler.types.walk import called

REGISTERS = 4  # of the five that the kernel passes arguments in; the last is the frame's


def define(code: Code, body: object) -> None:
    """Make the functions that a program calls, callees first, before the program itself."""
    for function in called(body):
        _define(code, function)


def _define(code: Code, function: typed.Function) -> None:
    assert function.body is not None
    subprograms.frame(code)
    in_registers = _in_registers(function)
    room = code.room
    for variable in function.parameters:
        if variable not in in_registers:
            room.shared |= {id(variable)}  # its caller writes it
            room.offsets[id(variable)] = code.reserve(max(sizeof(variable.type), 8))
    if _in_memory(function):
        room.offsets[id(function)] = code.reserve(sizeof(function.returns))
    room.shared |= subprograms.shared_variables(function.body)
    parameters = ("i64",) * len(in_registers) + ("ptr",)
    inner = subprograms.begin(code, function.name, parameters, function.span, inline=True)
    inner.function = function
    start, location = inner.f.position, inner.f.location
    for number, variable in enumerate(in_registers):
        inner.store(variable.type, Operand(f"%a{number}"), inner.place(variable), align=8)
    room.functions[id(function)] = inner.f.name
    inner.statement(function.body)
    inner.f.place(inner.f.label("end"))
    inner.f.ret(const(0))
    subprograms.place_exit(inner)
    room.kept += 1  # what the function took stays its own
    subprograms.finish(inner, start, location)


def _in_registers(function: typed.Function) -> list[typed.Variable]:
    return [v for v in function.parameters if is_scalar(v.type)][:REGISTERS]


def _in_memory(function: typed.Function) -> bool:
    return function.returns != VOID and not is_scalar(function.returns)


def give_back(code: Code, node: typed.Return) -> None:
    """`return` of a function of the text."""
    function = code.function
    assert function is not None
    value = const(0)
    if node.value is not None and is_scalar(node.value.type):
        value = code.scalar(node.value)
    elif node.value is not None:
        code.into(node.value, code.room_at(code.room.offsets[id(function)]))
    if code.in_loop:
        subprograms.return_from_loop(code, value)
    else:
        code.f.ret(value)


def invoke(code: Code, expr: typed.Invoke) -> Operand:
    """A call. All arguments are evaluated before the first is handed over: they may call the same function."""
    if expr.function.external:
        return external.invoke(code, expr)
    function, room = expr.function, code.room
    made = [code.scalar(a) if is_scalar(a.type) else code.address(a) for a in expr.arguments]
    in_registers = _in_registers(function)
    numbers = []
    for variable, value in zip(function.parameters, made, strict=True):
        if variable in in_registers:
            numbers.append(value)
            continue
        place = code.room_at(room.offsets[id(variable)])
        if is_scalar(variable.type):
            code.store(variable.type, value, place, align=8)
        else:
            code.copy(place, value, sizeof(variable.type))
    symbol = room.functions[id(function)]
    arguments = ", ".join(map(str, [*numbers, subprograms.frame(code)]))
    result = code.f.value(f"call i64 @{symbol}({arguments})", "i64")
    if subprograms.exits(function):
        subprograms.go_on(code, returns=False)
    return result


def invoke_into(code: Code, expr: typed.Invoke, to: Operand, padded: bool) -> None:
    """A call whose result lies in memory: it is copied before the next call writes another there."""
    invoke(code, expr)
    code.copy(to, code.room_at(code.room.offsets[id(expr.function)]), sizeof(expr.type))
