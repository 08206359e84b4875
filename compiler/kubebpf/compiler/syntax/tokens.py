"""What the lexer gives and the parser reads: tokens, and the tables of operators.

@x[1] += 10ms   ->   MAP "@x"  OP "["  INTEGER 1  OP "]"  OP "+="  INTEGER 10000000
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.syntax.span import Span


class Kind(Enum):
    """The kinds of tokens. Keywords are names: most of them may also name a field, a function or a macro."""

    NAME = auto()
    VARIABLE = auto()  # $x
    MAP = auto()  # @x, or @ alone
    PARAMETER = auto()  # $1
    COUNT = auto()  # $#
    INTEGER = auto()
    STRING = auto()
    OP = auto()
    BAD = auto()  # a character that starts no token
    END = auto()  # behind the last character


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Args:
        kind: what it is.
        text: its characters as written.
        span: where it stands.
        number: the value of an INTEGER or the index of a PARAMETER.
        string: the value of a STRING, its escapes resolved.
        duration: the INTEGER carries a unit of time.
        complaints: what is wrong with it. They are reported when the parser takes the token, not when it peeks.
    """

    kind: Kind
    text: str
    span: Span
    number: int = 0
    string: str = ""
    duration: bool = False
    complaints: tuple[Complaint, ...] = ()

    def is_op(self, *texts: str) -> bool:
        """Whether this is one of these operators."""
        return self.kind is Kind.OP and self.text in texts

    def is_name(self, *texts: str) -> bool:
        """Whether this is one of these words (keywords are names)."""
        return self.kind is Kind.NAME and self.text in texts


PRECEDENCE = {
    op: strength
    for strength, ops in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"),
    )
    for op in ops.split()
}
"""Binary operators; the larger number binds tighter. All of them associate to the left."""

ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="})

PREFIXES = frozenset({"!", "~", "-", "*"})

TYPE_KEYWORDS = frozenset({"struct", "union", "enum"})

RESERVED = TYPE_KEYWORDS | {"break", "continue", "else", "for", "import", "let", "return", "unroll", "while"}
"""Words that are no values. They name fields all the same: `$x.for`."""
