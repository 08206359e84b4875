"""Macros are gone behind this pass: each call is replaced by the body of the macro that fits it.

    macro inc(x) { $y = x + 1; $y }   begin { $y = 2; print(inc($y)); }
    ->
    begin { $y = 2; print({ $y#1 = $y + 1; $y#1 }); }

Parameters with a sigil stand for the caller's variable or map, bare ones for the caller's expression. A body's own variables get
a number behind their names that no program can write, which is all there is to hygiene. Nodes of a body keep their place and
remember the call (`Span.via`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any

from kubebpf.compiler.builtins.registry import BUILTINS
from kubebpf.compiler.complaints import macros as complaints
from kubebpf.compiler.complaints.base import Complaint, Note, Report
from kubebpf.compiler.passes.macro_calls import check_definitions, explain, fitting, is_type
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.span import Span

MAX_NODES = 50_000  # of all expansions: far beyond what a probe could hold as instructions
MAX_DEPTH = 64  # calls inside each other's bodies
MAX_LEVELS = 256  # nodes inside each other: more than a tree may have behind this pass
MAX_STEPS = 250_000  # nodes copied, those of arguments that no body uses included
LIMITS = {"nodes": MAX_NODES, "levels of calls": MAX_DEPTH, "levels": MAX_LEVELS, "steps": MAX_STEPS}

_VALUELESS = (tree.Block, tree.If)
_NOTHING = tree.Integer(0)  # stands in trees that have an error anyway


def expand(program: tree.Program, report: Report) -> tree.Program:
    """The program without macros.

    Args:
        program: as parsed, imports included.
        report: takes the complaints; the tree is useless when it has errors.
    """
    check_definitions(program.macros, report)
    if not program.macros or report.errors:
        return replace(program, macros=())
    expander = _Expander(_by_name(program.macros), report)
    try:
        probes = tuple(expander.rebuilt(probe, _PROGRAM) for probe in program.probes)
        functions = tuple(expander.rebuilt(function, _PROGRAM) for function in program.functions)
    except _TooLarge as error:
        report.add(complaints.ExpansionTooLarge(span=error.span, what=error.what, limit=LIMITS[error.what]))
        return replace(program, macros=())
    return replace(program, macros=(), probes=probes, functions=functions)


def _by_name(macros: Iterable[tree.Macro]) -> dict[str, list[tree.Macro]]:
    found: dict[str, list[tree.Macro]] = {}
    for macro in macros:
        found.setdefault(macro.name, []).append(macro)
    return found


class _TooLarge(Exception):  # noqa: N818 - control flow
    def __init__(self, span: Span, what: str) -> None:
        super().__init__(what)
        self.span, self.what = span, what


@dataclass(frozen=True, slots=True)
class _Argument:
    """What a parameter stands for, expanded already, and how many nodes it has."""

    node: tree.Node
    size: int


@dataclass(frozen=True, slots=True)
class _Body:
    """The body being copied: what its parameters stand for, the number of its variables, the macros around it.

    The program itself is a body, too, of number 0 and without parameters."""

    arguments: Mapping[str, _Argument] = field(default_factory=dict)
    number: int = 0
    call: Span | None = None
    chain: tuple[tree.Macro, ...] = ()

    def place(self, span: Span) -> Span:
        return span if self.call is None else Span(span.start, span.end, span.file, self.call)


_PROGRAM = _Body()


class _Expander:
    def __init__(self, macros: dict[str, list[tree.Macro]], report: Report) -> None:
        self._macros, self._report = macros, report
        self._nodes = self._levels = self._steps = 0
        self._numbers = count(1)

    # -- copying -------------------------------------------------------------------------------------------------------

    def rebuilt(self, node: Any, body: _Body) -> Any:
        """A copy of a node with everything inside it expanded."""
        changed = {f.name: self._inside(getattr(node, f.name), body) for f in fields(node) if f.name != "span"}
        return replace(node, span=body.place(node.span), **changed)

    def _inside(self, value: Any, body: _Body) -> Any:
        if isinstance(value, tuple):
            return tuple(self._inside(item, body) for item in value)
        return self._value(value, body) if isinstance(value, tree.Node) else value

    def _value(self, node: tree.Node, body: _Body) -> tree.Node:
        """A node; where the text had an expression, one without a value is a mistake."""
        done = self.visit(node, body)
        if isinstance(done, _VALUELESS) and not isinstance(node, _VALUELESS) and not isinstance(node, tree.ExprStatement):
            name = node.name if isinstance(node, tree.Call | tree.Identifier) else "This macro"
            return self._bad(complaints.MacroWithoutValue(span=body.place(node.span), name=name))
        return done

    def visit(self, node: tree.Node, body: _Body) -> tree.Node:
        """The expanded form of any node: a Block or an If may take the place of an expression that only has effects."""
        if body.call is not None:
            self._count(1, body)
        self._steps += 1
        if self._steps > MAX_STEPS and body.call is not None:
            raise _TooLarge(_outermost(body), "steps")
        if self._levels >= MAX_LEVELS:
            raise _TooLarge(_outermost(body) if body.call else node.span, "levels")
        self._levels += 1
        try:
            return self._visited(node, body)
        finally:
            self._levels -= 1

    def _visited(self, node: tree.Node, body: _Body) -> tree.Node:
        match node:
            case tree.Call():
                return self._call(node, body)
            case tree.Identifier():
                return self._identifier(node, body)
            case tree.Variable() | tree.Map():
                return self._named(node, body)
            case tree.NamedType():
                return self._type(node, body)
            case tree.TypeofType() | tree.Sizeof() | tree.Typeinfo() | tree.Offsetof():
                return self._asked(node, body)
            case tree.Return() if body.call is not None:
                return self._bad(complaints.ReturnInMacro(span=body.place(node.span)))
            case _:
                return self._shaped(node, body)

    def _count(self, nodes: int, body: _Body) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _TooLarge(_outermost(body), "nodes")

    def _shaped(self, node: tree.Node, body: _Body) -> tree.Node:
        """Nodes whose form depends on what became of the nodes inside."""
        match node:
            case tree.ExprStatement(value):
                done: Any = self.visit(value, body)
                return done if isinstance(done, _VALUELESS) else replace(node, value=done, span=body.place(node.span))
            case tree.BlockExpr():
                return self._block(node, body)
            case tree.IfExpr():
                return self._if(node, body)
            case _:
                copied: tree.Node = self.rebuilt(node, body)
                return copied

    def _block(self, node: tree.BlockExpr, body: _Body) -> tree.Node:
        statements = self._inside(node.statements, body)
        value: Any = self.visit(node.value, body)
        if isinstance(value, _VALUELESS):
            return tree.Block((*statements, value), span=body.place(node.span))
        return tree.BlockExpr(statements, value, span=body.place(node.span))

    def _if(self, node: tree.IfExpr, body: _Body) -> tree.Node:
        condition: Any = self._value(node.condition, body)
        then: Any = self.visit(node.then, body)
        otherwise: Any = self.visit(node.otherwise, body)
        span = body.place(node.span)
        if not isinstance(then, _VALUELESS) and not isinstance(otherwise, _VALUELESS):
            return tree.IfExpr(condition, then, otherwise, node.comptime, span=span)
        return tree.If(condition, _as_block(then), _as_block(otherwise), node.comptime, span=span)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _argument(self, argument: _Argument, body: _Body) -> tree.Node:
        self._count(argument.size, body)
        return argument.node

    def _named(self, node: tree.Variable | tree.Map, body: _Body) -> tree.Node:
        """The caller's variable or map, or the body's own variable."""
        if body.call is None:
            return node
        span = body.place(node.span)
        if bound := body.arguments.get(node.name):
            assert isinstance(bound.node, tree.Variable | tree.Map), "the call was checked"
            return replace(node, name=bound.node.name, span=span)
        if isinstance(node, tree.Map):
            return self._bad(complaints.UnhygienicMap(span=span, name=node.name))
        return replace(node, name=f"{node.name}#{body.number}", span=span)

    def _identifier(self, node: tree.Identifier, body: _Body) -> tree.Node:
        """A parameter, a macro without arguments, or any other name."""
        if bound := body.arguments.get(node.name):
            if is_type(bound.node):
                return self._bad(complaints.ValueExpected(span=body.place(node.span), name=node.name))
            return self._argument(bound, body)
        if node.name in self._macros:
            return self._expanded(tree.Call(node.name, (), node.span, span=node.span), body) or self.rebuilt(node, body)
        copied: tree.Node = self.rebuilt(node, body)
        return copied

    def _type(self, node: tree.NamedType, body: _Body) -> tree.Node:
        """A parameter where only a type can stand: `let $x: t`, `(t*)p`, `struct t`."""
        bound = body.arguments.get(node.name)
        if bound is None:
            copied: tree.Node = self.rebuilt(node, body)
            return copied
        found = self._argument(bound, body)
        if not is_type(found):
            return self._bad(complaints.TypeExpected(span=body.place(node.span), name=node.name), node)
        found = _bare(found)
        if node.keyword and isinstance(found, tree.NamedType):
            return replace(found, keyword=node.keyword)
        return found

    def _asked(self, node: Any, body: _Body) -> tree.Node:
        """`sizeof(x)` and its kin, where a parameter may stand for a type and for a value."""
        operand = node.operand
        bound = body.arguments.get(operand.name) if isinstance(operand, tree.Identifier | tree.NamedType) else None
        if bound is None and isinstance(operand, tree.Identifier):
            operand = self.rebuilt(operand, body)  # a name alone is a type's, or a builtin's; never a macro's
        elif bound is None or (isinstance(operand, tree.NamedType) and operand.keyword):
            operand = self._inside(operand, body)
        else:
            operand = _bare(self._argument(bound, body))
        if isinstance(node, tree.TypeofType) and is_type(operand):
            return _bare(operand) if body.call else replace(node, operand=operand)
        changed: tree.Node = replace(node, operand=operand, span=body.place(node.span))
        return replace(changed, path=self._path(node, body)) if isinstance(changed, tree.Offsetof) else changed

    def _path(self, node: tree.Offsetof, body: _Body) -> tuple[str, ...]:
        """The fields of `offsetof`, the first of which may be a parameter."""
        first, *rest = node.path
        bound = body.arguments.get(first)
        if bound is None:
            return node.path
        path = _field_path(bound.node)
        if path is None:
            self._report.add(complaints.NotAFieldPath(span=bound.node.span))
            return node.path
        return (*path, *rest)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _call(self, node: tree.Call, body: _Body) -> tree.Node:
        if node.name in self._macros and (expanded := self._expanded(node, body)):
            return expanded
        copy: tree.Call = self.rebuilt(node, body)
        return replace(copy, name_span=body.place(node.name_span))

    def _expanded(self, node: tree.Call, body: _Body) -> tree.Node | None:
        """The body of the macro that a call means; None when a builtin of that name is meant."""
        span = body.place(node.span)
        arguments = [self._given(argument, body) for argument in node.arguments]
        seen = [_as_seen(n, a.node) for n, a in zip(node.arguments, arguments, strict=True)]
        candidates = self._macros[node.name]
        macro = fitting(candidates, seen)
        if macro is None:
            if node.name in BUILTINS:
                return None
            notes = explain(candidates, seen)
            return self._bad(complaints.NoSuchOverload(span=span, name=node.name, notes=notes))
        if any(macro is around for around in body.chain):
            chain = " > ".join(m.name for m in (*body.chain, macro))
            return self._bad(
                complaints.MacroRecursion(span=span, chain=chain, notes=(Note(text="defined here", span=macro.span),))
            )
        if len(body.chain) >= MAX_DEPTH:
            raise _TooLarge(_outermost(body), "levels of calls")
        named = {p.name: a for p, a in zip(macro.parameters, arguments, strict=True)}
        return _unwrapped(self.visit(macro.body, _Body(named, next(self._numbers), span, (*body.chain, macro))))

    def _given(self, node: tree.Node, body: _Body) -> _Argument:
        """An argument, expanded once for all of its uses."""
        before = self._nodes
        done = self.visit(_handed_on(node, body), body)
        size = max(self._nodes - before, 1)
        self._nodes = before  # counted where a body uses it
        return _Argument(done, size)

    def _bad(self, complaint: Complaint, instead: tree.Node = _NOTHING) -> tree.Node:
        self._report.add(complaint)
        return instead


def _outermost(body: _Body) -> Span:
    assert body.call is not None, "only bodies are counted"
    return list(Span(0, 0, 0, body.call).calls())[-1]


def _handed_on(node: tree.Node, body: _Body) -> tree.Node:
    """A parameter that stands for a type, as an argument of another macro: `macro outer(t) { inner(t) }`."""
    if isinstance(node, tree.Identifier) and (bound := body.arguments.get(node.name)) and is_type(bound.node):
        return tree.TypeofType(tree.NamedType(node.name, span=node.span), span=node.span)
    return node


def _as_seen(written: tree.Node, found: tree.Node) -> tree.Node:
    """An argument as the choice of the macro sees it: a name that stands for a variable or a map is an expression."""
    named = isinstance(written, tree.Identifier) and isinstance(found, tree.Variable | tree.Map)
    return written if named else found


def _bare(found: tree.Node) -> tree.Node:
    """`typeof(T)` as T."""
    while isinstance(found, tree.TypeofType) and is_type(found.operand):
        found = found.operand
    return found


def _field_path(node: tree.Node) -> tuple[str, ...] | None:
    """`a.b.c` as names."""
    match node:
        case tree.Identifier(name):
            return (name,)
        case tree.FieldAccess(of, name, False) if (path := _field_path(of)) is not None:
            return (*path, name)
        case _:
            return None


def _unwrapped(body: tree.Node) -> tree.Node:
    """A body that is nothing but a value, as that value."""
    return body.value if isinstance(body, tree.BlockExpr) and not body.statements else body


def _as_block(branch: Any) -> Any:
    match branch:
        case tree.BlockExpr(statements, value):
            return tree.Block((*statements, tree.ExprStatement(value, span=value.span)), span=branch.span)
        case tree.IfExpr(condition, then, otherwise, comptime):
            return tree.If(condition, _as_block(then), _as_block(otherwise), comptime, span=branch.span)
        case _:
            return branch
