"""Types as written: `uint64`, `struct task_struct *`, `int32[4]*`, `string[16]`, `typeof($x)`.

Where a type or a value may stand (`sizeof(x)`, `(x)y`), the first word and what follows the name decide:
a known type name, `struct`, or a `*` or `[` behind the name make it a type; a bare unknown word is left to later passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.cursor import Cursor
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.syntax.tokens import TYPE_KEYWORDS, Kind

_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_AGGREGATES = {f"{sign}{kind}_t" for sign in ("", "u") for kind in ("min", "max", "sum", "avg", "stats", "count")}

TYPE_NAMES = frozenset(
    {"bool", "void", "string", "buffer", "inet", "hist_t", "lhist_t", "tseries_t", "ksym_t", "usym_t", "kstack_t"}
    | {"ustack_t", "timestamp", "macaddr_t", "cgroup_path_t", "username_t", "strerror_t", "timestamp_mode", "stack_mode"}
    | _INTEGERS
    | _AGGREGATES
)
"""Words that are types wherever a type may stand."""

_BUILTINS = frozenset({"args", "ctx", "kstack", "nsecs", "pid", "tid", "ustack"})
_VALUES = frozenset({"true", "false", "if", "comptime"})
_MACROS = frozenset(
    {"cgroup", "comm", "cpid", "cpu", "curtask", "elapsed", "func", "gid", "jiffies", "ncpus", "ppid"}
    | {"probe", "rand", "retval", "uid", "usermode", "username"}
)


def is_builtin(name: str) -> bool:
    """Whether a bare word is a value that every probe has, such as `pid`, `arg0` or `__builtin_cpu`."""
    if name in _BUILTINS or name.startswith("__builtin_"):
        return True
    return any(name.startswith(prefix) and name[len(prefix) :].isdigit() for prefix in ("arg", "sarg"))


def is_value(name: str) -> bool:
    """Whether a bare word is no type: `(cpu) - 1` subtracts."""
    return is_builtin(name) or name in _MACROS or name in _VALUES


class TypeParser(Cursor, ABC):
    """The part of the grammar that reads types."""

    @abstractmethod
    def expression(self) -> tree.Expr:
        """An expression."""

    def annotation(self) -> tree.TypeSyntax:
        """A type where only a type can stand: behind `let $x:` and in the head of a function."""
        with self:
            if self.token.is_name("typeof"):
                return self._with_suffixes(self.typeof())
            if self.token.is_op("("):
                return self._with_suffixes(self._tuple())
            if self.token.kind is Kind.NAME:
                return self._named_with_suffixes()
            return self.fail("a type")

    def _tuple(self) -> tree.TupleType:
        start = self.start
        self.expect("(")
        elements: list[tree.TypeSyntax] = []
        while not self.token.is_op(")"):
            elements.append(self.annotation())
            if not self.accept(","):
                break
        self.expect(")")
        return tree.TupleType(tuple(elements), span=self.since(start))

    def typeof(self) -> tree.TypeofType:
        """`typeof(type or expression)`."""
        start = self.start
        self.advance()
        self.expect("(")
        with self:
            operand = self.type_or_expression()
        self.expect(")")
        return tree.TypeofType(operand, span=self.since(start))

    def type_or_expression(self) -> tree.Expr | tree.TypeSyntax:
        """What stands in `sizeof(…)`: a type if it reads as one up to the `)` or `,`, else an expression."""
        found = self.type_before(")", ",")
        return self.expression() if found is None else found

    def type_before(self, *ends: str, bare: bool = False) -> tree.TypeSyntax | None:
        """A type that reaches up to one of these operators, or None with nothing taken.

        Args:
            ends: what has to stand behind the type.
            bare: whether an unknown word alone is a type (in a cast), not an identifier (in sizeof).
        """
        if self.token.kind is not Kind.NAME or is_value(self.token.text):
            return None
        if self.token.is_name("typeof"):
            return self._with_suffixes(self.typeof())
        before, errors = self.end, self.errors
        known = bare or self.token.text in TYPE_NAMES or self.token.text in TYPE_KEYWORDS
        found = self._attempt()
        if found and self.errors == errors and self.token.is_op(*ends) and (known or not _is_bare(found)):
            return found
        self.end = before
        return None

    def _attempt(self) -> tree.TypeSyntax | None:
        """A type without a complaint if there is none: the caller may read the same text as an expression."""
        if self.token.text in TYPE_KEYWORDS and self.peek().kind is not Kind.NAME:
            return None
        if not self._suffixes_read_well():
            return None
        return self._named_with_suffixes()

    def _suffixes_read_well(self) -> bool:
        """Whether only `*`, `[]` and `[N]` follow the name, up to something else."""
        known = self.token.text in TYPE_NAMES or self.token.text in TYPE_KEYWORDS
        at = (self.peek() if self.token.text in TYPE_KEYWORDS else self.token).span.end
        while (token := self.lexer.token(at)).is_op("*", "["):
            at = token.span.end
            if token.text == "*":
                continue
            inner = self.lexer.token(at)
            if inner.kind is Kind.INTEGER or (inner.kind is Kind.NAME and known):
                at = inner.span.end
                inner = self.lexer.token(at)
            if not inner.is_op("]"):
                return False
            at = inner.span.end
        return True

    def _named_with_suffixes(self) -> tree.TypeSyntax:
        start = self.start
        name = self.identifier("type name").text
        keyword = name if name in TYPE_KEYWORDS else ""
        if keyword:
            name = self.identifier(f"the name of the {keyword}").text
        return self._with_suffixes(tree.NamedType(name, keyword, span=self.since(start)))

    def _with_suffixes(self, found: tree.TypeSyntax) -> tree.TypeSyntax:
        start = found.span.start
        while self.token.is_op("*", "["):
            if self.accept("*"):
                found = tree.PointerType(found, span=self.since(start))
                continue
            self.expect("[")
            length = self._length()
            self.expect("]")
            found = tree.ArrayType(found, length, span=self.since(start))
        return found

    def _length(self) -> tree.Expr | None:
        if self.token.is_op("]"):
            return None
        if self.token.kind is Kind.NAME:
            name = self.identifier("the number of elements")
            return tree.Identifier(name.text, span=name.span)
        token = self.expect_kind(Kind.INTEGER, "the number of elements, or ']'")
        return tree.Integer(token.number, token.text, token.duration, span=token.span)

    def complain_at(self, span: Span, complaint: type[Complaint]) -> None:
        """Report a complaint that has nothing to say but its place."""
        self.complain(complaint(span=span))


def _is_bare(found: tree.TypeSyntax) -> bool:
    return isinstance(found, tree.NamedType) and not found.keyword
