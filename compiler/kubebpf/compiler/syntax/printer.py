"""A syntax tree as canonical text: one statement a line, tabs, long provider names, no parentheses that change nothing.

    k:f/pid==1/{@[comm]=count()}
    ->
    kprobe:f
    / pid == 1 /
    {
        @[comm] = count();
    }

Parsing the text gives an equal tree. Comments are not in the tree, so they are dropped; the formatter puts them there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from textwrap import indent
from typing import Any

from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.attach_points import split
from kubebpf.compiler.syntax.literals import quoted
from kubebpf.compiler.syntax.providers import may_hold_path
from kubebpf.compiler.syntax.tokens import PRECEDENCE
from kubebpf.compiler.syntax.types import TYPE_NAMES

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_PART = re.compile(r"[^\s{,\":/]*")
_PLAIN_PATH = re.compile(r"[^\s{,\":]*")

# How tight an expression holds together. Binary operators lie between TERNARY and UNARY.
_LOOSE, _UNARY, _POSTFIX, _PRIMARY = 0, 20, 30, 40


def print_program(program: tree.Program) -> str:
    """The whole program, a blank line between its pieces."""
    pieces = list(_pieces(program))
    return "\n\n".join(pieces) + "\n" if pieces else ""


def piece_text(piece: tree.Node) -> str:
    """One piece of a program, without a newline at the end."""
    match piece:
        case tree.CDefinition(text):
            return text
        case tree.Config():
            return _config(piece)
        case tree.Import():
            return statement_text(piece)
        case tree.MapDeclaration():
            return _map_declaration(piece)
        case tree.Macro():
            return _macro(piece)
        case tree.Function():
            return _function(piece)
        case tree.Probe():
            return _probe(piece)
    raise AssertionError(piece)


def _pieces(program: tree.Program) -> Iterator[str]:
    head = [program.shebang] if program.shebang else []
    yield from _group([*head, *(definition.text for definition in program.c_definitions)])
    if program.config:
        yield _config(program.config)
    yield from _group(map(statement_text, program.imports))
    yield from _group(map(_map_declaration, program.map_declarations))
    yield from map(_macro, program.macros)
    yield from map(_function, program.functions)
    yield from map(_probe, program.probes)


def _group(lines: Iterable[str]) -> Iterator[str]:
    text = "\n".join(lines)
    if text:
        yield text


# --- Pieces of a program ----------------------------------------------------------------------------------------------


def _config(config: tree.Config) -> str:
    return "config = " + _braces(_lines(config.entries, lambda entry: f"{entry.name} = {_config_value(entry.value)};"))


def _config_value(value: int | bool | str) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case _:
            bare = _WORD.fullmatch(value) and value not in ("true", "false")
            return value if bare else quoted(value)


def _map_declaration(declaration: tree.MapDeclaration) -> str:
    return f"let {declaration.map.name} = {declaration.kind}({expression_text(declaration.max_entries)});"


def _macro(macro: tree.Macro) -> str:
    parameters = ", ".join(f"typeof({p.name})" if p.is_type else p.name for p in macro.parameters)
    return f"macro {macro.name}({parameters}) {_block(macro.body)}"


def _function(function: tree.Function) -> str:
    parameters = ", ".join(f"{p.name}: {type_text(p.type)}" for p in function.parameters)
    returns = f": {type_text(function.returns)}" if function.returns else ""
    return f"fn {function.name}({parameters}){returns} {_block(function.body)}"


def _probe(probe: tree.Probe) -> str:
    # The blanks keep `/*$x/` from being a comment.
    predicate = [f"/ {expression_text(probe.predicate)} /"] if probe.predicate else []
    return "\n".join([",\n".join(map(attach_point_text, probe.attach_points)), *predicate, _block(probe.body)])


def attach_point_text(point: tree.AttachPoint) -> str:
    """An attach point with the long name of its provider, its parts quoted where they were or have to be.

    With a parameter in the place of the provider, nothing is known about it, and it stays as written."""
    if "$" in point.provider:
        return (f"{point.name}=" if point.name else "") + point.text
    written = point.text.partition(":")
    if written[1] and tuple(split(point.text)[1:]) == point.parts:
        rest = ":" + written[2]
    else:
        rest = "".join(":" + _part(part, point.provider) for part in point.parts)
    return (f"{point.name}=" if point.name else "") + point.provider + rest


def _part(part: str, provider: str) -> str:
    plain = _PLAIN_PATH if may_hold_path(provider) else _PLAIN_PART
    if plain.fullmatch(part):
        return part
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- Blocks and statements --------------------------------------------------------------------------------------------


def _braces(lines: list[str]) -> str:
    return "{\n" + indent("\n".join(lines), "\t") + "\n}" if lines else "{}"


def _lines(nodes: Iterable[Any], text: Callable[[Any], str]) -> list[str]:
    """The text of each node, comments beside one on its last line."""
    lines: list[str] = []
    for node in nodes:
        if isinstance(node, tree.Comment) and node.beside and lines:
            lines[-1] += f" {node.text}"
        else:
            lines.append(node.text if isinstance(node, tree.Comment) else text(node))
    return lines


def _block(block: tree.Block | tree.BlockExpr) -> str:
    lines = _lines(block.statements, statement_text)
    if isinstance(block, tree.BlockExpr):
        lines.append(expression_text(block.value))
    return _braces(lines)


def statement_text(statement: tree.Statement) -> str:
    """One statement, with its `;`."""
    match statement:
        case tree.Block():
            return _block(statement)
        case tree.If():
            return _if(statement)
        case tree.While(condition, body):
            return f"while ({expression_text(condition)}) {_block(body)}"
        case tree.Unroll(count, body):
            return f"unroll ({expression_text(count)}) {_block(body)}"
        case tree.For(variable, iterable, body):
            return f"for ({variable.name} : {_iterable(iterable)}) {_block(body)}"
        case _:
            return _simple_statement(statement) + ";"


def _simple_statement(statement: tree.Statement) -> str:
    match statement:
        case tree.ExprStatement(tree.BlockExpr() | tree.IfExpr() as value):
            return f"({expression_text(value)})"  # Without parentheses it would be a statement.
        case tree.ExprStatement(value):
            return expression_text(value)
        case tree.Discard(value):
            return f"_ = {expression_text(value)}"
        case tree.Assign(target, op, value):
            return f"{expression_text(target)} {op} {expression_text(value)}"
        case tree.Let():
            return _let(statement)
        case tree.Return(value):
            return "return" + (f" {expression_text(value)}" if value else "")
        case tree.Import(path):
            return f"import {quoted(path)}"
        case tree.Break():
            return "break"
        case tree.Continue():
            return "continue"
    raise AssertionError(statement)


def _let(let: tree.Let) -> str:
    type_ = f": {type_text(let.type)}" if let.type else ""
    value = f" = {expression_text(let.value)}" if let.value else ""
    return f"let {let.variable.name}{type_}{value}"


def _iterable(iterable: tree.Range | tree.Expr) -> str:
    if isinstance(iterable, tree.Range):
        return f"{_held(iterable.start, _UNARY)}..{_held(iterable.end, _UNARY)}"
    return expression_text(iterable)


def _if(found: tree.If | tree.IfExpr) -> str:
    """`if`, and the chain behind its `else` without recursion."""
    text = ""
    branch: tree.Block | tree.BlockExpr | tree.If | tree.IfExpr | None = found
    while isinstance(branch, tree.If | tree.IfExpr):
        word = "if comptime" if branch.comptime else "if"
        text += f"{word} ({expression_text(branch.condition)}) {_block(branch.then)}"
        text += " else " if branch.otherwise else ""
        branch = branch.otherwise
    return text + (_block(branch) if branch else "")


# --- Expressions ------------------------------------------------------------------------------------------------------


def expression_text(value: tree.Expr) -> str:
    """An expression with the parentheses that it needs."""
    return _expression(value)[0]


def _held(value: tree.Expr, strength: int) -> str:
    """An expression as an operand: in parentheses if it holds together less tightly than its place demands."""
    text, own = _expression(value)
    return text if own >= strength else f"({text})"


def _list(values: Iterable[tree.Expr]) -> str:
    return ", ".join(map(expression_text, values))


def _expression(value: tree.Expr) -> tuple[str, int]:
    """The text of an expression, and how tight it holds together."""
    match value:
        case tree.Ternary():
            return _ternary(value), _LOOSE
        case tree.BlockExpr():
            return _block(value), _LOOSE
        case tree.IfExpr():
            return _if(value), _LOOSE
        case tree.Binary():
            return _binary(value)
        case tree.Unary() | tree.Cast() | tree.Comptime() | tree.Increment(prefix=True):
            return _prefixed(value), _UNARY
        case tree.FieldAccess() | tree.TupleAccess() | tree.Index() | tree.Increment():
            return _suffixed(value), _POSTFIX
        case _:
            return _primary(value), _PRIMARY


def _ternary(value: tree.Ternary) -> str:
    condition, otherwise = _held(value.condition, _LOOSE + 1), expression_text(value.otherwise)
    if value.then is None:
        return f"{condition} ?: {otherwise}"
    return f"{condition} ? {expression_text(value.then)} : {otherwise}"


def _binary(value: tree.Binary) -> tuple[str, int]:
    """A chain of operators, its left operands in a loop."""
    own = strength = PRECEDENCE[value.op] + 1
    texts: list[str] = []
    left: tree.Expr = value
    while isinstance(left, tree.Binary) and PRECEDENCE[left.op] + 1 >= strength:
        strength = PRECEDENCE[left.op] + 1
        texts.append(f" {left.op} {_held(left.right, strength + 1)}")
        left = left.left
    return _held(left, strength) + "".join(reversed(texts)), own


def _prefixed(value: tree.Expr) -> str:
    match value:
        case tree.Cast(type_, operand):
            return f"({type_text(type_)}){_held(operand, _UNARY)}"
        case tree.Comptime(operand):
            return f"comptime {_held(operand, _UNARY)}"
        case tree.Unary(op, operand) | tree.Increment(op, operand):
            text = _held(operand, _UNARY)
            return f"{op}({text})" if text.startswith(op[0]) else op + text
    raise AssertionError(value)


def _suffixed(value: tree.Expr) -> str:
    match value:
        case tree.FieldAccess(of, name, arrow):
            return _held(of, _POSTFIX) + ("->" if arrow else ".") + name
        case tree.TupleAccess(of, index):
            return f"{_held(of, _POSTFIX)}.{index}"
        case tree.Index(tree.Map(name), index):
            return f"({name})[{expression_text(index)}]"  # Without parentheses it would be an entry of the map.
        case tree.Index(of, index):
            return f"{_held(of, _POSTFIX)}[{expression_text(index)}]"
        case tree.Increment(op, target):
            return _held(target, _POSTFIX) + op
    raise AssertionError(value)


def _primary(value: tree.Expr) -> str:
    match value:
        case tree.Variable(name) | tree.Map(name) | tree.Identifier(name):
            return name
        case tree.Integer():
            return value.text or (f"{value.value}ns" if value.duration else str(value.value))
        case tree.Boolean():
            return "true" if value.value else "false"
        case tree.String(text):
            return quoted(text)
        case tree.PositionalParameter(index):
            return f"${index}"
        case tree.ParameterCount():
            return "$#"
        case _:
            return _compound(value)


def _compound(value: tree.Expr) -> str:
    match value:
        case tree.MapAccess(map_, tree.Tuple(elements)) if len(elements) > 1:
            return f"{map_.name}[{_list(elements)}]"
        case tree.MapAccess(map_, key):
            return f"{map_.name}[{expression_text(key)}]"
        case tree.Tuple(elements):
            return f"({_list(elements)}{',' if len(elements) == 1 else ''})"
        case tree.Record(fields):
            return "(" + ", ".join(f"{name} = {expression_text(field)}" for name, field in fields) + ")"
        case tree.Call(name, arguments):
            return f"{name}({', '.join(map(_argument, arguments))})"
        case tree.Sizeof(operand):
            return f"sizeof({_type_or_expression(operand)})"
        case tree.Offsetof(operand, path):
            return f"offsetof({_type_or_expression(operand)}, {'.'.join(path)})"
        case tree.Typeinfo(operand):
            return f"typeinfo({_type_or_expression(operand)})"
    raise AssertionError(value)


# --- Types ------------------------------------------------------------------------------------------------------------


def type_text(value: tree.TypeSyntax) -> str:
    """A type as written."""
    match value:
        case tree.NamedType(name, keyword):
            return f"{keyword} {name}" if keyword else name
        case tree.PointerType(target):
            return f"{type_text(target)}*"
        case tree.ArrayType(element, length):
            return f"{type_text(element)}[{expression_text(length) if length else ''}]"
        case tree.TypeofType(operand):
            return f"typeof({_type_or_expression(operand)})"
        case tree.TupleType(elements):
            return f"({', '.join(map(type_text, elements))})"


def _argument(value: tree.Expr | tree.TypeSyntax) -> str:
    return type_text(value) if isinstance(value, tree.TypeSyntax) else expression_text(value)


def _type_or_expression(value: tree.Expr | tree.TypeSyntax) -> str:
    if isinstance(value, tree.TypeSyntax):
        return type_text(value)
    text = expression_text(value)
    return f"({text})" if _reads_as_type(value) else text


def _reads_as_type(value: tree.Expr) -> bool:
    """Whether the text of an expression would be taken for a type: `x[1]`, or a name such as `string`."""
    indexed = isinstance(value, tree.Index)
    while isinstance(value, tree.Index):
        value = value.object
    return isinstance(value, tree.Identifier) and (indexed or value.name in TYPE_NAMES)
