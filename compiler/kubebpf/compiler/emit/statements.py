"""Statements as instructions; the table at the end is the dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubebpf.compiler.emit import aggregates, functions, loops, maps
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, sizeof
from kubebpf.compiler.types.promote import is_scalar


def statement(code: Code, node: typed.Statement) -> None:
    """Any statement."""
    code.locate(node.span)
    with code.temporaries():
        STATEMENTS[type(node)](code, node)


def block(code: Code, node: typed.Block) -> None:
    """Statements in order."""
    for s in node.statements:
        statement(code, s)


def set_variable(code: Code, node: typed.SetVariable) -> None:
    """`$x = e`; the storage is made at the first assignment, and lives as long as the program."""
    variable, value = node.variable, node.value
    if variable.type == VOID:
        return  # declared, and never given a value: nothing reads it
    if value is not None and is_scalar(variable.type):
        number = code.scalar(value)
        code.store(variable.type, number, code.place(variable), align=8)
        return
    memory = code.place(variable)
    if value is None:
        code.zero(memory, sizeof(variable.type))
    elif _reads(value, variable):
        code.copy(memory, _aside(code, value), sizeof(variable.type))
    else:
        code.into(value, memory)


def _aside(code: Code, value: typed.Expr) -> Any:
    memory = code.temp(sizeof(value.type))
    code.into(value, memory)
    return memory


def _reads(value: typed.Expr, variable: typed.Variable) -> bool:
    """Whether an expression needs the variable's old value while the new one is being written (`$t = ($t.1, $t.0)`)."""
    if isinstance(value, typed.ReadVariable):
        return value.variable is variable
    children = (getattr(value, name) for name in value.__slots__)
    found: list[Any] = []
    for child in children:
        found += child if isinstance(child, tuple) else [child]
    return any(isinstance(c, typed.Expr) and _reads(c, variable) for c in found)


def evaluate(code: Code, node: typed.Evaluate) -> None:
    """An expression for its effect."""
    value = node.value
    if isinstance(value, typed.Step) and isinstance(value.target, typed.ReadMap):
        maps.step_statement(code, value)
    elif isinstance(value, typed.Call) and value.builtin.unused and node.discarded:
        _unused(code, value)
    elif value.type == VOID or is_scalar(value.type):
        code.scalar(value)
    else:
        code.address(value)


def _unused(code: Code, call: typed.Call) -> None:
    """A call whose failure nobody asks for: it is counted, so that the run can tell of it."""
    f = code.f
    failed, done = f.label("failed"), f.label("done")
    f.branch(f.compare("eq", code.scalar(call), const(0)), failed, done, likely=False)
    f.place(failed)
    code.count_failure(code.module.site(call.builtin.unused, call.span))
    f.place(done)


def if_(code: Code, node: typed.If) -> None:
    """`if`."""
    f = code.f
    then, otherwise, done = f.label("then"), f.label("else"), f.label("fi")
    f.branch(code.condition(node.condition), then, otherwise if node.otherwise else done)
    f.place(then)
    block(code, node.then)
    f.jump(done)
    if node.otherwise:
        f.place(otherwise)
        block(code, node.otherwise)
    f.place(done)


def return_(code: Code, node: typed.Return) -> None:
    """`return`."""
    if code.function is not None:
        functions.give_back(code, node)
        return
    if node.value is not None and is_scalar(node.value.type):
        code.f.store(code.f.cast("trunc", code.scalar(node.value), "i32"), code.result, align=4)
    code.f.jump(code.exit)


STATEMENTS: dict[type, Callable[[Any, Any], None]] = {
    typed.Block: block,
    typed.SetVariable: set_variable,
    typed.SetMap: maps.set_map,
    typed.Feed: aggregates.feed,
    typed.Evaluate: evaluate,
    typed.If: if_,
    typed.Return: return_,
    typed.While: loops.while_,
    typed.ForRange: loops.for_range,
    typed.ForMap: loops.for_map,
    typed.Jump: loops.jump,
}
