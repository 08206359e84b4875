"""Statements and blocks.

A block may end with an expression without `;`, and is then a value where a value is wanted: the body of a macro, a block
expression, the branches of an `if` expression. Everywhere else that expression is a statement like any other.

    { $a = 1; $a }   ->   as a value: BlockExpr(($a = 1,), $a)       as a statement: Block(($a = 1, ExprStatement($a)))
"""

from __future__ import annotations

from dataclasses import dataclass

from kubebpf.compiler.complaints.syntax import Expected, ImmutableTarget, InvalidTarget, NotIterable
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.cursor import Abandoned
from kubebpf.compiler.syntax.expressions import ExpressionParser
from kubebpf.compiler.syntax.providers import resolve
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.syntax.tokens import ASSIGNMENTS, Kind, Token

COMPARE = "numbers and strings are compared with =="
_LOOPS = "a loop goes over numbers, for ($i : 0..10) { … }, or over a map, for ($kv : @map) { … }"
_STARTS = frozenset({Kind.NAME, Kind.VARIABLE, Kind.MAP})


@dataclass(frozen=True, slots=True)
class _Body:
    """A block that has been read but not yet used."""

    statements: tuple[tree.Statement, ...]
    value: tree.Expr | None
    span: Span


class StatementParser(ExpressionParser):
    """The part of the grammar that reads statements."""

    # --- Blocks ---

    def block(self) -> tree.Block:
        """`{ … }` where a value would be dropped."""
        return _as_block(self._body())

    def block_or_value(self) -> tree.Block | tree.BlockExpr:
        """`{ … }` with the value at its end, if it has one."""
        body = self._body()
        if body.value is None:
            return tree.Block(body.statements, span=body.span)
        return tree.BlockExpr(body.statements, body.value, span=body.span)

    def _body(self) -> _Body:
        start, errors = self.start, self.errors
        self.expect("{")
        statements: list[tree.Statement] = []
        with self:
            while self.token.kind is not Kind.END and not self.token.is_op("}"):
                self._next_statement(statements)
        value = self._take_value(statements)
        if self.errors == errors or self.token.is_op("}"):
            self.expect("}", "a '{' before this is not closed")
        return _Body(tuple(statements), value, self.since(start))

    def _next_statement(self, statements: list[tree.Statement]) -> None:
        try:
            statements.append(self.statement())
        except Abandoned:
            self._skip_statement()

    def _take_value(self, statements: list[tree.Statement]) -> tree.Expr | None:
        """Remove the value from the end of a block: an expression that no `;` follows."""
        if not statements or self.lexer.text[self.end - 1 : self.end] == ";":
            return None
        match statements[-1]:
            case tree.ExprStatement(value):
                statements.pop()
                return value
            case _:
                return None

    def _skip_statement(self) -> None:
        """Go on behind the next `;`, or in front of the `}` that closes the block."""
        while self.token.kind is not Kind.END and not self.token.is_op("}"):
            if self.token.is_op(";"):
                self.end = self.token.span.end
                return
            closes = self.token.is_op("{")
            self.skip_balanced()
            if closes and not self.token.is_op(")", ",", ";"):
                return

    def _end_statement(self) -> None:
        """A `;`, or the end of the block. What looks like the next statement is not skipped."""
        if self.accept(";") or self.token.is_op("}") or self.token.kind is Kind.END:
            return
        self.expected("';'", *self._separation())
        if self.token.kind not in _STARTS:
            raise Abandoned

    def _separation(self) -> tuple[str, ...]:
        """What is wrong where a statement does not end."""
        token = self.token
        if token.is_op("="):
            return ("the name of a variable begins with $, that of a map with @",)
        if token.kind is Kind.NAME and self._behind_name():
            return ("a variable is made by its first value: $x = 1; or by let $x: int32;",)
        return ("a ';' separates statements",) if token.kind in _STARTS else ()

    def _behind_name(self) -> bool:
        """Whether the word in front of the next token is a name that nothing follows, as a type of C is."""
        return self.lexer.text[: self.end].rpartition(" ")[2].rpartition("{")[2].isidentifier()

    # --- Statements ---

    def statement(self) -> tree.Statement:
        """One statement with the `;` behind it."""
        token = self.token
        if token.is_op("{"):
            return self._block_statement()
        if token.kind is not Kind.NAME:
            return self._assignment_or_expression()
        match token.text:
            case "if":
                return self._if_statement()
            case "while" | "unroll":
                return self._conditional_loop()
            case "for":
                return self._for()
            case "break" | "continue" | "return":
                return self._jump()
            case "let":
                return self._let()
            case "import":
                return self.import_()
            case "_" if self.peek().is_op("="):
                return self._discard()
        return self._assignment_or_expression()

    def _block_statement(self) -> tree.Statement:
        before = self.end
        found = self.block_or_value()
        if isinstance(found, tree.BlockExpr) and self._goes_on():
            self.end = before  # it was the first operand of an expression
            return self._assignment_or_expression()
        if isinstance(found, tree.BlockExpr) and self.token.is_op("}"):
            return tree.ExprStatement(found, span=found.span)
        self.accept(";")
        return _as_statement(found)

    def _goes_on(self) -> bool:
        return self._binary_operator() is not None or self.token.is_op("?", ".", "->", "[")

    def _if_statement(self) -> tree.Statement:
        found = self.if_()
        if isinstance(found, tree.IfExpr) and self.token.is_op("}"):
            return tree.ExprStatement(found, span=found.span)
        self.accept(";")
        return _as_statement(found)

    def _assignment_or_expression(self) -> tree.Statement:
        first = self.token
        value = self.expression()
        operator = self.token
        if operator.kind is Kind.OP and operator.text in ASSIGNMENTS and first.kind in (Kind.VARIABLE, Kind.MAP):
            return self._assignment(first.span.start, value, operator)
        if operator.is_op(":") and isinstance(value, tree.Identifier) and resolve(value.name):
            self.complain(
                Expected(span=first.span, what="'}'", help=("a probe starts here, but a block before it is still open",))
            )
            raise Abandoned
        self._end_statement()
        return tree.ExprStatement(value, span=self._without_semicolon(first.span.start))

    def _assignment(self, start: int, target: tree.Expr, operator: Token) -> tree.Statement:
        self.advance()
        value = self.expression()
        span = self.since(start)
        match target:
            case tree.Variable() | tree.Map() | tree.MapAccess():
                pass
            case tree.TupleAccess() | tree.FieldAccess():
                self.complain_at(span, ImmutableTarget)
            case _:
                self.complain_at(span, InvalidTarget)
        self._end_statement()
        return tree.Assign(target, operator.text, value, span=span)

    def _discard(self) -> tree.Statement:
        start = self.advance().span.start
        self.advance()
        value = self.expression()
        span = self.since(start)
        self._end_statement()
        return tree.Discard(value, span=span)

    def _let(self) -> tree.Statement:
        start = self.advance().span.start
        name = self.expect_kind(Kind.VARIABLE, "variable after 'let'")
        type_ = self.annotation() if self.accept(":") else None
        value = self.expression() if self.accept("=") else None
        span = self.since(start)
        self._end_statement()
        return tree.Let(tree.Variable(name.text, span=name.span), type_, value, span=span)

    def _jump(self) -> tree.Statement:
        word = self.advance()
        value = None
        if word.text == "return" and not self.token.is_op(";", "}"):
            value = self.expression()
        span = self.since(word.span.start)
        self._end_statement()
        match word.text:
            case "break":
                return tree.Break(span=span)
            case "continue":
                return tree.Continue(span=span)
            case _:
                return tree.Return(value, span=span)

    def import_(self) -> tree.Import:
        """`import "path";`"""
        start = self.advance().span.start
        path = self.expect_kind(Kind.STRING, "string after 'import'").string
        span = self.since(start)
        self.expect(";")
        return tree.Import(path, span=span)

    # --- Conditions and loops ---

    def condition(self) -> tree.Expr:
        """`(…)`, or something without parentheses that a `{` cannot continue."""
        if not self.accept("("):
            return self.unary()
        condition = self.expression()
        self.expect(")", *((COMPARE,) if self.token.is_op("=") else ()))
        return condition

    def if_(self) -> tree.If | tree.IfExpr:
        """`if …`, with all the `else if` behind it. These are a list here and nest only in the tree."""
        heads = [self._if_head()]
        otherwise: tree.Block | tree.BlockExpr | tree.If | tree.IfExpr | None = None
        while self.accept_name("else"):
            if self.token.is_name("if"):
                heads.append(self._if_head())
                continue
            if not self.token.is_op("{"):
                self.fail("'{' or 'if' after 'else'")
            otherwise = self.block_or_value()
            break
        end = self.end
        for start, condition, then, comptime in reversed(heads):
            otherwise = _join(condition, then, otherwise, comptime, self.lexer.span(start, end))
        assert isinstance(otherwise, tree.If | tree.IfExpr), "there is at least one head"
        return otherwise

    def _if_head(self) -> tuple[int, tree.Expr, tree.Block | tree.BlockExpr, bool]:
        start = self.advance().span.start
        comptime = self.accept_name("comptime") is not None
        condition = self.condition()
        if not self.token.is_op("{"):
            self.fail("'{'", *self._condition_help())
        return start, condition, self.block_or_value(), comptime

    def _condition_help(self) -> tuple[str, ...]:
        goes_on = self._binary_operator() or self.token.is_op("?")
        return ("put the whole condition in parentheses",) if goes_on else ()

    def _conditional_loop(self) -> tree.Statement:
        word = self.advance()
        condition = self.condition()
        body = self.block()
        span = self.since(word.span.start)
        self.accept(";")
        if word.text == "while":
            return tree.While(condition, body, span=span)
        return tree.Unroll(condition, body, span=span)

    def _for(self) -> tree.Statement:
        start = self.advance().span.start
        bracket = self.accept("(")
        if self.token.kind is not Kind.VARIABLE:
            self.fail("variable in for loop", _LOOPS)
        name = self.advance()
        self.expect(":", _LOOPS)
        iterable = self._iterable()
        if bracket:
            self.expect(")")
        body = self.block()
        span = self.since(start)
        self.accept(";")
        return tree.For(tree.Variable(name.text, span=name.span), iterable, body, span=span)

    def _iterable(self) -> tree.Range | tree.Expr:
        start = self.start
        first = self.unary()
        if self.accept(".."):
            return tree.Range(first, self.unary(), span=self.since(start))
        if not isinstance(first, tree.Map):
            self.complain_at(first.span, NotIterable)
        return first

    def _without_semicolon(self, start: int) -> Span:
        text = self.lexer.text[start : self.end]
        return self.lexer.span(start, start + len(text.removesuffix(";").rstrip()))


_Branch = tree.Block | tree.BlockExpr | tree.If | tree.IfExpr


def _join(condition: tree.Expr, then: _Branch, otherwise: _Branch | None, comptime: bool, span: Span) -> _Branch:
    """An `if` expression when both branches have values, else an `if` statement."""
    if isinstance(then, tree.BlockExpr) and isinstance(otherwise, tree.BlockExpr | tree.IfExpr):
        return tree.IfExpr(condition, then, otherwise, comptime, span=span)
    block, other = _as_statement(then), _as_statement(otherwise) if otherwise else None
    assert isinstance(block, tree.Block), "an if opens with a block"
    return tree.If(condition, block, other, comptime, span=span)


def _as_statement(branch: _Branch) -> tree.Block | tree.If:
    """Drop the value of a block or an `if`."""
    match branch:
        case tree.BlockExpr(statements, value):
            return _as_block(_Body(statements, value, branch.span))
        case tree.IfExpr(condition, then, otherwise, comptime):
            block = _as_statement(then)
            assert isinstance(block, tree.Block), "an if opens with a block"
            return tree.If(condition, block, _as_statement(otherwise), comptime, span=branch.span)
        case _:
            return branch


def _as_block(body: _Body) -> tree.Block:
    match body.value:
        case None:
            return tree.Block(body.statements, span=body.span)
        case tree.BlockExpr() | tree.IfExpr() as nested:
            last: tree.Statement = _as_statement(nested)
        case value:
            last = tree.ExprStatement(value, span=value.span)
    return tree.Block((*body.statements, last), span=body.span)
