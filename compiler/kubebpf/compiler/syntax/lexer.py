"""Text into tokens, one at a time and from any offset: the parser asks, because some stretches are not tokens.

Attach points (`uprobe:/bin/sh+:f`) and C definitions at the head of a program follow rules of their own, so nothing can
cut the whole text in advance. Asking twice for the same offset costs a dictionary lookup, which makes looking ahead cheap.

    >>> lexer = Lexer(Source("stdin", "@x = 1us"))
    >>> lexer.token(0).text, lexer.token(2).text, lexer.token(4).number
    ('@x', '=', 1000)
"""

from __future__ import annotations

import re

from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.syntax import (
    NamelessVariable,
    ParameterOutOfRange,
    UnexpectedCharacter,
    UnterminatedComment,
)
from kubebpf.compiler.syntax import literals
from kubebpf.compiler.syntax.span import Source, Span
from kubebpf.compiler.syntax.tokens import Kind, Token

_LAYOUT = re.compile(r"(?:[ \t\r\n\f\v]+|//[^\n]*|/\*(?s:.*?)\*/)*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGIL = re.compile(r"@(?:[A-Za-z_][A-Za-z0-9_]*)?|\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|#)?")
_OPERATOR = re.compile(
    r"<<=|>>=|\.\.|->|\+\+|--|&&|\|\||==|!=|<=|>=|<<|>>|[-+*/%&|^]=|[-+*/%&|^!~<>=?:;,.(){}\[\]]",
)
_INT64_MAX = 2**63 - 1


_QUOTES = 'text stands in straight double quotes: "text"'


class Lexer:
    """The tokens of one source.

    Args:
        source: the text.
        file: its number in the spans of tokens.
    """

    def __init__(self, source: Source, file: int = 0) -> None:
        self.text = source.text
        self.file = file
        self._tokens: dict[int, Token] = {}

    def skip_layout(self, at: int) -> int:
        """The offset of the first character at or behind `at` that is neither blank nor in a comment."""
        match = _LAYOUT.match(self.text, at)
        assert match, "the pattern matches nothing, too"
        return match.end()

    def word(self, at: int) -> str:
        """The identifier that starts exactly at an offset, or nothing."""
        match = _WORD.match(self.text, at)
        return match[0] if match else ""

    def token(self, at: int) -> Token:
        """The first token at or behind an offset."""
        start = self.skip_layout(at)
        if start not in self._tokens:
            self._tokens[start] = self._cut(start)
        return self._tokens[start]

    def span(self, start: int, end: int) -> Span:
        """A span of this source."""
        return Span(start, end, self.file)

    def _cut(self, at: int) -> Token:
        first = self.text[at : at + 1]
        if not first:
            return Token(Kind.END, "", self.span(at, at))
        if first in "0123456789":
            return self._integer(at)
        if first == '"':
            return self._string(at)
        if first in "$@":
            return self._sigil(at)
        if self.text.startswith("/*", at):  # Layout takes every comment that is closed.
            return self._bad(at, len(self.text), UnterminatedComment(span=self.span(at, at + 2)))
        if word := _WORD.match(self.text, at):
            return Token(Kind.NAME, word[0], self.span(at, word.end()))
        if operator := _OPERATOR.match(self.text, at):
            return Token(Kind.OP, operator[0], self.span(at, operator.end()))
        help_ = (_QUOTES,) if first in "'`\u2018\u2019\u201c\u201d" else ()
        return self._bad(at, at + 1, UnexpectedCharacter(span=self.span(at, at + 1), character=first, help=help_))

    def _bad(self, at: int, end: int, complaint: Complaint) -> Token:
        return Token(Kind.BAD, self.text[at:end], self.span(at, end), complaints=(complaint,))

    def _integer(self, at: int) -> Token:
        span = self.span(at, literals.integer_end(self.text, at))
        text = self.text[at : span.end]
        literal = literals.integer(text, span)
        complaints = (literal.complaint,) if literal.complaint else ()
        return Token(Kind.INTEGER, text, span, literal.value, duration=literal.duration, complaints=complaints)

    def _string(self, at: int) -> Token:
        span = self.span(at, literals.string_end(self.text, at))
        text = self.text[at : span.end]
        literal = literals.string(text, span)
        if len(text) < 2 or (literal.complaints and not text.endswith('"')):
            # What follows an open string was probably meant to be inside it.
            return self._bad(at, span.end, literal.complaints[0])
        return Token(Kind.STRING, text, span, string=literal.value, complaints=literal.complaints)

    def _sigil(self, at: int) -> Token:
        match = _SIGIL.match(self.text, at)
        assert match, "the caller has seen a sigil"
        text, span = match[0], self.span(at, match.end())
        if text.startswith("@"):
            return Token(Kind.MAP, text, span)
        if text == "$":
            return self._bad(at, span.end, NamelessVariable(span=span))
        if text == "$#":
            return Token(Kind.COUNT, text, span)
        if text[1].isdigit():
            return self._parameter(text, span)
        return Token(Kind.VARIABLE, text, span)

    def _parameter(self, text: str, span: Span) -> Token:
        index = int(text[1:]) if len(text) <= 20 else _INT64_MAX + 1
        if 1 <= index <= _INT64_MAX:
            return Token(Kind.PARAMETER, text, span, index)
        return Token(Kind.PARAMETER, text, span, complaints=(ParameterOutOfRange(span=span, text=text),))
