"""Where the parser stands in the text, and how it fails without falling.

A complaint is reported where it is found, then `Abandoned` leads back to the nearest place that knows how to go on: the
statement list (which skips to the next `;`) or the list of probes (which skips to the next one). Nothing is reported
while the rest of a broken piece is skipped, so that one mistake gives one complaint.
"""

from __future__ import annotations

from typing import Any, NoReturn

from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.complaints.syntax import Expected, NestedTooDeeply, TooManyErrors
from kubebpf.compiler.syntax.lexer import Lexer
from kubebpf.compiler.syntax.span import Source, Span
from kubebpf.compiler.syntax.tokens import Kind, Token

MAX_NESTING = 100  # Brackets and blocks inside each other. A level is at most seven Python frames of the parser.
MAX_ERRORS = 50


# What most often is wrong where an operator is missing.
_MISSING = {
    ")": ("a '(' before this is not closed",),
    "]": ("a '[' before this is not closed",),
    "{": ("what a probe, a condition or a loop does stands in braces: { … }",),
}


class Abandoned(Exception):  # noqa: N818 (it is not an error: the error has been reported)
    """The piece being parsed has no meaning; its complaint is in the report."""


class GivenUp(Exception):  # noqa: N818
    """Nothing behind this point can be parsed sensibly; the complaint is in the report."""


class Cursor:
    """A place in one source, and the moves that every part of the grammar shares.

    Args:
        source: the text.
        report: takes the complaints.
        file: the number of the source in spans.
    """

    def __init__(self, source: Source, report: Report, file: int = 0) -> None:
        self.lexer = Lexer(source, file)
        self.report = report
        self.end = 0  # the offset behind the last token taken
        self.errors = 0
        self._depth = 0
        self._broken_at = -1  # the end of the last token that was wrong in itself

    # --- Looking ---

    @property
    def token(self) -> Token:
        """The next token."""
        return self.lexer.token(self.end)

    def peek(self) -> Token:
        """The token behind the next one."""
        return self.lexer.token(self.token.span.end)

    @property
    def start(self) -> int:
        """Where the next token starts."""
        return self.lexer.skip_layout(self.end)

    def since(self, start: int) -> Span:
        """The span from an offset to the end of the last token taken."""
        return self.lexer.span(start, max(start, self.end))

    # --- Moving ---

    def advance(self) -> Token:
        """Take the next token, whatever it is, and report what is wrong with it."""
        token = self.token
        self.end = token.span.end
        for complaint in token.complaints:
            self._broken_at = self.end
            self.complain(complaint)
        return token

    def accept(self, *ops: str) -> Token | None:
        """Take the next token if it is one of these operators."""
        return self.advance() if self.token.is_op(*ops) else None

    def accept_name(self, *names: str) -> Token | None:
        """Take the next token if it is one of these words."""
        return self.advance() if self.token.is_name(*names) else None

    def expect(self, op: str, *help: str) -> Token:
        """Take this operator, or complain that it is missing."""
        return self.accept(op) or self.fail(f"'{op}'", *(help or _MISSING.get(op, ())))

    def expect_kind(self, kind: Kind, what: str) -> Token:
        """Take a token of this kind, or complain that it is missing."""
        return self.advance() if self.token.kind is kind else self.fail(what)

    def identifier(self, what: str = "identifier") -> Token:
        """Take a name (keywords may be names of fields, functions and the like)."""
        return self.expect_kind(Kind.NAME, what)

    # --- Failing ---

    def complain(self, complaint: Complaint) -> None:
        """Report something; past a number of errors, give up."""
        self.report.add(complaint)
        self.errors += complaint.severity == "error"
        if self.errors >= MAX_ERRORS:
            self.report.add(TooManyErrors(span=complaint.span, limit=MAX_ERRORS))
            raise GivenUp

    def expected(self, what: str, *help: str) -> None:
        """Report that something else stands here. A token that is itself wrong, here or just before, is enough."""
        token = self.token
        if token.kind is Kind.BAD:
            self.advance()
        elif self._broken_at != self.end:
            self.complain(Expected(span=token.span, what=what, help=help))

    def fail(self, what: str, *help: str) -> NoReturn:
        """Report that something else stands here, and abandon the piece."""
        self.expected(what, *help)
        raise Abandoned

    def skip_balanced(self) -> None:
        """Skip a token, and if it opens a block, everything up to the brace that closes it."""
        depth = 0
        while self.token.kind is not Kind.END:
            token = self.token
            self.end = token.span.end
            depth += token.is_op("{") - token.is_op("}")
            if depth <= 0:
                return

    # --- Limits ---

    def __enter__(self) -> Cursor:
        """One level deeper. Nesting is limited, since every pass over the tree recurses."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._depth -= 1
            self.complain(NestedTooDeeply(span=self.token.span, limit=MAX_NESTING))
            raise GivenUp
        return self

    def __exit__(self, *_: Any) -> None:
        self._depth -= 1
