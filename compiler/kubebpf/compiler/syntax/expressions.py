"""Expressions: operators by precedence, and everything that can stand between them.

1 + 2 * 3 > 5 ? @x[pid] : (uint8)$y.z
->
Ternary(Binary(">", Binary("+", 1, Binary("*", 2, 3)), 5), MapAccess(@x, pid), Cast(uint8, FieldAccess($y, z)))
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from kubebpf.compiler.complaints.syntax import (
    BlockWithoutValue,
    DuplicateField,
    IfWithoutValue,
    InvalidAddressOf,
    InvalidIncrement,
    TypeWhereValueExpected,
)
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.syntax.tokens import PRECEDENCE, PREFIXES, RESERVED, TYPE_KEYWORDS, Kind, Token
from kubebpf.compiler.syntax.types import TypeParser, is_builtin

_CAST_OPERANDS = frozenset({"(", "-", "!", "~", "*", "&", "++", "--"})
_PLACEHOLDER = tree.Integer(0)  # Stands in trees that have an error anyway.


_VALUES = (Kind.NAME, Kind.VARIABLE, Kind.MAP, Kind.STRING, Kind.INTEGER)  # what an argument begins with


class ExpressionParser(TypeParser):
    """The part of the grammar that reads expressions."""

    @abstractmethod
    def if_(self) -> tree.If | tree.IfExpr:
        """`if …`: an IfExpr when every branch has a value."""

    @abstractmethod
    def block_or_value(self) -> tree.Block | tree.BlockExpr:
        """`{ … }`: a BlockExpr when it has a value."""

    def expression(self) -> tree.Expr:
        """Any expression. `?:` binds loosest, and to the right."""
        with self:
            start = self.start
            condition = self._binary()
            if not self.accept("?"):
                return condition
            then = None
            if not self.accept(":"):
                then = self.expression()
                self.expect(":")
            otherwise = self.expression()
            return tree.Ternary(condition, then, otherwise, span=self.since(start))

    # --- Operators ---

    def _binary(self) -> tree.Expr:
        """Operators by precedence, with explicit stacks: a chain of a thousand `+` is no recursion."""
        operands = [(self.unary(), self.end)]  # The end lies behind a closing parenthesis, which spans leave out.
        operators: list[str] = []
        while operator := self._binary_operator():
            while operators and PRECEDENCE[operators[-1]] >= PRECEDENCE[operator.text]:
                _combine(operands, operators.pop())
            self.advance()
            operators.append(operator.text)
            operands.append((self.unary(), self.end))
        while operators:
            _combine(operands, operators.pop())
        return operands[0][0]

    def _binary_operator(self) -> Token | None:
        token = self.token
        if token.kind is not Kind.OP or token.text not in PRECEDENCE:
            return None
        if token.text == "/" and self.peek().is_op("{"):
            return None  # It closes a predicate: no operand starts with a brace.
        return token

    def unary(self) -> tree.Expr:
        """A prefix operator and what it applies to, or a primary expression with its suffixes."""
        token = self.token
        if token.kind is not Kind.OP:
            return self._postfix()
        if token.text in PREFIXES:
            return self._prefix()
        if token.text in ("++", "--"):
            return self._pre_increment()
        if token.text == "&":
            return self._address_of()
        return self._postfix()

    def _prefix(self) -> tree.Expr:
        operator = self.advance()
        with self:
            return tree.Unary(operator.text, self.unary(), span=self.since(operator.span.start))

    def _pre_increment(self) -> tree.Expr:
        operator, errors = self.advance(), self.errors
        with self:
            target = self.unary()
        if self.errors == errors and not _is_counter(target):
            self.complain_at(target.span, InvalidIncrement)
        return tree.Increment(operator.text, target, True, span=self.since(operator.span.start))

    def _address_of(self) -> tree.Expr:
        operator, errors = self.advance(), self.errors
        token = self.token
        with self:
            operand = self.unary()
        if self.errors == errors and not isinstance(operand, tree.Variable | tree.Map):
            self.complain_at(token.span, InvalidAddressOf)
        return tree.Unary("&", operand, span=self.since(operator.span.start))

    # --- Suffixes ---

    def _postfix(self) -> tree.Expr:
        found = self._primary()
        while self.token.is_op(".", "->", "[", "++", "--"):
            found = self._suffix(found, found.span.start)
        return found

    def _suffix(self, found: tree.Expr, start: int) -> tree.Expr:
        operator = self.advance()
        if operator.text in ("++", "--"):
            if not _is_counter(found):
                self.complain_at(operator.span, InvalidIncrement)
            return tree.Increment(operator.text, found, False, span=self.since(start))
        if operator.text == "[":
            index = self.expression()
            self.expect("]")
            return tree.Index(found, index, span=self.since(start))
        return self._field(found, operator, start)

    def _field(self, found: tree.Expr, operator: Token, start: int) -> tree.Expr:
        if operator.text == "." and self.token.kind is Kind.INTEGER:
            number = self.advance().number
            return tree.TupleAccess(found, number, span=self.since(start))
        name = self.identifier(f"field name after '{operator.text}'").text
        return tree.FieldAccess(found, name, operator.text == "->", span=self.since(start))

    # --- Primary expressions ---

    def _primary(self) -> tree.Expr:
        match self.token.kind:
            case Kind.NAME:
                return self._word()
            case Kind.MAP:
                return self._map()
            case Kind.OP if self.token.text == "(":
                return self._parenthesised()
            case Kind.OP if self.token.text == "{":
                return self._block()
            case Kind.VARIABLE | Kind.PARAMETER | Kind.COUNT | Kind.INTEGER | Kind.STRING:
                return _leaf(self.advance())
            case _:
                return self.fail("expression")

    def _map(self) -> tree.Expr:
        token = self.advance()
        map_ = tree.Map(token.text, span=token.span)
        if not self.accept("["):
            return map_
        keys = [self.expression()]
        while self.accept(","):
            keys.append(self.expression())
        self.expect("]")
        span = self.since(token.span.start)
        key = keys[0] if len(keys) == 1 else tree.Tuple(tuple(keys), span=span)
        return tree.MapAccess(map_, key, span=span)

    def _word(self) -> tree.Expr:
        name = self.token.text
        if name in RESERVED:
            self.fail("expression", *self._type_help(name))
        special = self._special(name)
        if special and (name in ("if", "comptime") or self.peek().is_op("(")):
            return special()
        self.advance()
        if name in ("true", "false"):
            return tree.Boolean(name == "true", span=self.since(self.end - len(name)))
        span = self.since(self.end - len(name))
        return self._call(name, span) if self.token.is_op("(") else tree.Identifier(name, span=span)

    def _type_help(self, word: str) -> tuple[str, ...]:
        type_ = self.peek()
        if word not in TYPE_KEYWORDS or type_.kind is not Kind.NAME:
            return ()
        return (f"to pass a type, write typeof({word} {type_.text})",)

    def _special(self, name: str) -> Callable[[], tree.Expr] | None:
        """The words that are not called like functions."""
        match name:
            case "if":
                return self._if
            case "comptime":
                return self._comptime
            case "sizeof":
                return self._sizeof
            case "offsetof":
                return self._offsetof
            case "typeinfo":
                return self._typeinfo
            case "typeof":
                return self._misplaced_type
        return None

    def _call(self, name: str, name_span: Span) -> tree.Expr:
        self.expect("(")
        arguments: list[tree.Expr | tree.TypeSyntax] = []
        while not self.token.is_op(")"):
            arguments.append(self.typeof() if self.token.is_name("typeof") else self.expression())
            if not self.accept(","):
                break
            if self.token.is_op(")"):
                self.fail("expression")
        self.expect(")", *(("a ',' separates arguments",) if self.token.kind in _VALUES else ()))
        return tree.Call(name, tuple(arguments), name_span, span=self.since(name_span.start))

    def _sizeof(self) -> tree.Expr:
        start, operand = self._type_operand()
        return tree.Sizeof(operand, span=self.since(start))

    def _typeinfo(self) -> tree.Expr:
        start, operand = self._type_operand()
        return tree.Typeinfo(operand, span=self.since(start))

    def _type_operand(self) -> tuple[int, tree.Expr | tree.TypeSyntax]:
        start = self.start
        self.advance()
        self.expect("(")
        with self:
            operand = self.type_or_expression()
        self.expect(")")
        return start, operand

    def _offsetof(self) -> tree.Expr:
        start = self.start
        self.advance()
        self.expect("(")
        operand = self.type_or_expression()
        self.expect(",")
        path = [self.identifier("field name").text]
        while self.accept("."):
            path.append(self.identifier("field name").text)
        self.expect(")", *(("write nested fields with '.'",) if self.token.is_op("->") else ()))
        return tree.Offsetof(operand, tuple(path), span=self.since(start))

    def _misplaced_type(self) -> tree.Expr:
        self.complain_at(self.typeof().span, TypeWhereValueExpected)
        return _PLACEHOLDER

    def _comptime(self) -> tree.Expr:
        start = self.advance().span.start
        with self:
            return tree.Comptime(self.unary(), span=self.since(start))

    # --- Blocks as values ---

    def _if(self) -> tree.Expr:
        found = self.if_()
        if isinstance(found, tree.IfExpr):
            return found
        self.complain_at(found.span, IfWithoutValue)
        return _PLACEHOLDER

    def _block(self) -> tree.Expr:
        found = self.block_or_value()
        if isinstance(found, tree.BlockExpr):
            return found
        self.complain_at(found.span, BlockWithoutValue)
        return _PLACEHOLDER

    # --- Parentheses ---

    def _parenthesised(self) -> tree.Expr:
        """A cast, a record, a tuple, or an expression in parentheses."""
        start = self.advance().span.start
        if self.accept(")"):
            return tree.Tuple((), span=self.since(start))
        if self.token.kind is Kind.NAME and self.peek().is_op("=") and not is_builtin(self.token.text):
            return self._record(start)
        return self._cast(start) or self._tuple_or_group(start)

    def _cast(self, start: int) -> tree.Expr | None:
        before = self.end
        type_ = self.type_before(")", bare=True)
        if type_ is None:
            return None
        self.expect(")")
        span = self.since(start)
        if self._can_be_cast():
            with self:
                return tree.Cast(type_, self.unary(), span=span)
        if isinstance(type_, tree.TypeofType):
            # Reading it again as an expression would take time exponential in the nesting, for the same complaint.
            self.complain_at(type_.span, TypeWhereValueExpected)
            return _PLACEHOLDER
        self.end = before
        return None

    def _can_be_cast(self) -> bool:
        return self.token.text in _CAST_OPERANDS if self.token.kind is Kind.OP else self.token.kind is not Kind.END

    def _record(self, start: int) -> tree.Expr:
        fields: dict[str, tree.Expr] = {}
        while True:
            name = self.identifier()
            self.expect("=")
            value = self.expression()
            if name.text in fields:
                self.complain(DuplicateField(span=self.since(name.span.start), name=name.text))
            fields[name.text] = value
            if not self.accept(","):
                break
        self.expect(")")
        return tree.Record(tuple(fields.items()), span=self.since(start))

    def _tuple_or_group(self, start: int) -> tree.Expr:
        first = self.expression()
        if not self.accept(","):
            self.expect(")")
            return first
        elements = [first]
        while not self.token.is_op(")"):
            elements.append(self.expression())
            if not self.accept(","):
                break
        self.expect(")")
        return tree.Tuple(tuple(elements), span=self.since(start))


def _combine(operands: list[tuple[tree.Expr, int]], operator: str) -> None:
    """Replace the two topmost operands by the operation on them."""
    right, end = operands.pop()
    left, _ = operands.pop()
    span = Span(left.span.start, end, left.span.file)
    operands.append((tree.Binary(operator, left, right, span=span), end))


def _is_counter(target: tree.Expr) -> bool:
    return isinstance(target, tree.Variable | tree.Map | tree.MapAccess)


def _leaf(token: Token) -> tree.Expr:
    """A token that is an expression by itself."""
    match token.kind:
        case Kind.VARIABLE:
            return tree.Variable(token.text, span=token.span)
        case Kind.PARAMETER:
            return tree.PositionalParameter(token.number, span=token.span)
        case Kind.COUNT:
            return tree.ParameterCount(span=token.span)
        case Kind.STRING:
            return tree.String(token.string, span=token.span)
        case _:
            return tree.Integer(token.number, token.text, token.duration, span=token.span)
