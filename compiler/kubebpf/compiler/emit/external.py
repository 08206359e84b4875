"""Calls of functions that an imported file of BPF C brings, by the C calling convention of BPF.

    sum((int32)1, (int32)2)   ->   %r = call i32 @sum(i32 %a, i32 %b)

Integers of less than 32 bits are extended by the caller (clang: signext, zeroext); pointers are `ptr`.
"""

from __future__ import annotations

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, Pointer, Type, sizeof
from kubebpf.compiler.types.promote import as_int


def invoke(code: Code, expr: typed.Invoke) -> Operand:
    """A call; 0 of a function that gives nothing back."""
    function, f = expr.function, code.f
    values = [_passed(code, code.scalar(a), v.type) for a, v in zip(expr.arguments, function.parameters, strict=True)]
    kinds = [_kind(variable.type) for variable in function.parameters]
    gives = "void" if function.returns == VOID else _kind(function.returns, result=True)
    code.module.externals[function.name] = f"declare {gives} @{function.name}({', '.join(kinds)})"
    call = f"call {gives} @{function.name}({', '.join(f'{k} {v.text}' for k, v in zip(kinds, values, strict=True))})"
    if function.returns == VOID:
        f.do(call)
        return const(0)
    return _returned(code, f.value(call, _plain(function.returns)), function.returns)


def _plain(t: Type) -> str:
    return "ptr" if isinstance(t, Pointer) else f"i{sizeof(t) * 8}"


def _kind(t: Type, *, result: bool = False) -> str:
    """An LLVM type with the attribute that clang gives it."""
    plain = _plain(t)
    if plain not in ("i8", "i16"):
        return plain
    attribute = "signext" if as_int(t).signed else "zeroext"
    return f"{attribute} {plain}" if result else f"{plain} {attribute}"


def _passed(code: Code, value: Operand, t: Type) -> Operand:
    if isinstance(t, Pointer):
        return code.as_pointer(value)
    return code.f.cast("trunc", value, _plain(t)) if sizeof(t) < 8 else value


def _returned(code: Code, value: Operand, t: Type) -> Operand:
    if isinstance(t, Pointer):
        return code.as_number(value)
    return code.f.cast("sext" if as_int(t).signed else "zext", value, "i64") if sizeof(t) < 8 else value
