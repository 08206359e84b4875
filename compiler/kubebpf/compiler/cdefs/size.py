"""What C definitions may grow to, judged by their words before clang reads them: it would use all time and memory it gets.

#define A1 A0 A0
#define A2 A1 A1      -> a program whose macros expand to more than LARGEST words is refused
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.cdefs import BadDefinition
from kubebpf.compiler.complaints.macros import ExpansionTooLarge
from kubebpf.compiler.syntax import tree

LARGEST = 1_000_000  # words
ROUNDS = 64  # what doubles in each is larger than LARGEST after 20
DEEPEST = 64  # `*`, `[` and `(` in one declaration

_SPLICE = re.compile(r"\\\r?\n|/\*.*?\*/", re.DOTALL)
_DEFINE = re.compile(r"^[ \t]*(?:#|%:)[ \t]*define[ \t]+(\w+)(\([^)]*\))?(.*)$", re.MULTILINE)
_WORD = re.compile(r"\w+|[^\s\w]")


def fits(pieces: Sequence[tree.CDefinition], report: Report) -> bool:
    """Whether clang can be asked; complaints go to the report."""
    macros: dict[str, tuple[list[str], list[str], tree.CDefinition]] = {}
    for piece in pieces:
        text = _SPLICE.sub(" ", piece.text)
        for name, parameters, body in _DEFINE.findall(text):
            macros[name] = _WORD.findall(parameters), _WORD.findall(body), piece
        if any(len(part) > DEEPEST for part in _derivations(text)):
            problem = f"a declaration with more than {DEEPEST} of * [ ("
            report.add(BadDefinition(span=piece.span, problem=problem))
            return False
    # A macro may name one that is defined behind it, so each round looks one level deeper.
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        before = dict(sizes)
        for name, (parameters, body, piece) in macros.items():
            sizes[name] = _expanded(name, parameters, body, sizes)
            if sizes[name] > LARGEST:
                report.add(ExpansionTooLarge(span=piece.span, what="words", limit=LARGEST))
                return False
        if sizes == before:
            break
    return True


def _expanded(name: str, parameters: list[str], body: list[str], sizes: dict[str, int]) -> int:
    """An upper bound for the words that a macro becomes, its arguments one word each; those of calls in it count as often as
    its parameters are named."""
    own = sum(sizes.get(word, 1) for word in body if word != name)
    return own * max(1, sum(word in parameters for word in body if word.isidentifier()))


def _derivations(text: str) -> Iterator[list[str]]:
    """The `*`, `[` and `(` of each declaration."""
    for part in re.split(r"[;{}\n]", text):
        yield re.findall(r"[*\[(]", part)
