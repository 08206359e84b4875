"""Attach points: `uprobe:/bin/bash:readline+4`, `tracepoint:"sched:*"`, `name=kprobe:vfs_*`.

They are no tokens: paths, wildcards and offsets run up to a blank, `{` or `,`, and to `/` where it cannot be in a path.
Quotes keep all of these in a part.

    uprobe:"/a b/c":f+4   ->   AttachPoint("uprobe", ("/a b/c", "f+4"))
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.complaints.syntax import NoProvider, UnknownProvider, UnterminatedString
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.cursor import Abandoned
from kubebpf.compiler.syntax.providers import may_hold_path, resolve, similar
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.syntax.statements import COMPARE, StatementParser
from kubebpf.compiler.syntax.tokens import Kind

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_PIECE = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"?|[^\s{,"/]+|/')
_PART = re.compile(r'(?:"(?:[^"\\\n]|\\[^\n])*"|[^:"])*')
_PARAMETER = re.compile(r"\$([0-9]+)")
_QUOTED_OR_NOT = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|[^"]+')
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')


class AttachPointParser(StatementParser):
    """The part of the grammar that reads what stands in front of a probe's predicate and body."""

    def attach_points(self) -> tuple[tree.AttachPoint, ...]:
        """One attach point or more, commas between them and perhaps behind the last."""
        found = [self._attach_point()]
        while self.accept(","):
            if self.token.is_op("/", "{"):
                break
            found.append(self._attach_point())
        return tuple(found)

    def predicate(self) -> tree.Expr | None:
        """`/ expression /`, if there is one."""
        if not self.accept("/"):
            return None
        predicate = self.expression()
        if not self.accept("/"):
            self.fail("'/' to close predicate", *((COMPARE,) if self.token.is_op("=") else ()))
        return predicate

    def _attach_point(self) -> tree.AttachPoint:
        start = self.start
        if self.token.kind is Kind.BAD and self.token.text.startswith("/*"):
            self.fail("attach point")  # The comment is what is wrong.
        name = self._prefix_name(start)
        begin = start + len(name) + 1 if name else start
        text = self._raw(begin)
        if not text:
            self.fail("attach point")
        self.end = begin + len(text)
        span = self.since(start)
        if '"' in _QUOTED.sub("", text):
            self.complain_at(span, UnterminatedString)
            raise Abandoned
        provider, *parts = split(text)
        return tree.AttachPoint(self._provider(provider, span), tuple(parts), text, name, span=span)

    def _prefix_name(self, start: int) -> str:
        match = _NAMED.match(self.lexer.text, start)
        return match[1] if match else ""

    def _raw(self, start: int) -> str:
        """The characters of an attach point that starts at an offset."""
        at = start
        while match := _PIECE.match(self.lexer.text, at):
            if match[0] == "/" and at > start and self._slash_ends(self.lexer.text[start:at]):
                break
            at = match.end()
        return self.lexer.text[start:at]

    def _slash_ends(self, text: str) -> bool:
        """Whether a `/` behind this text starts a predicate (or a comment) and not a directory."""
        provider, colon, _ = text.partition(":")
        return not colon or not may_hold_path(provider)

    def _provider(self, written: str, span: Span) -> str:
        if "$" in written:
            return written  # `with_parameters` will know it.
        for complaint in _complaints_of(written, span):
            self.complain(complaint)
        return resolve(written) or written


def _complaints_of(provider: str, span: Span) -> tuple[Complaint, ...]:
    if not provider:
        return (NoProvider(span=span),)
    if resolve(provider):
        return ()
    return (UnknownProvider(span=span, name=provider, help=_help(provider)),)


def _help(provider: str) -> tuple[str, ...]:
    """What somebody meant who wrote something else where a probe begins."""
    if provider[0] in "'\"`\u2018\u2019\u201c\u201d":
        return ("a quote of the shell is part of the text",)
    if provider == "}":
        return ("there is no '{' that this closes",)
    if provider[0] in ";,":
        return ("nothing separates probes: each ends with its '}'",)
    if guess := similar(provider):
        return (f"did you mean {guess}?",)
    if provider.isidentifier():
        return (f"a probe says how it is attached: kprobe:{provider}, fentry:{provider}, tracepoint:CATEGORY:{provider}, …",)
    return ()


def with_parameters(point: tree.AttachPoint, parameters: Sequence[str], report: Report) -> tree.AttachPoint:
    """An attach point with `$1`, `$2`, … outside of quotes replaced; a parameter that is not given is empty.

    BEG$1 with ("IN",)   ->   begin
    """
    pieces = [p if p.startswith('"') else _replace(p, parameters) for p in _QUOTED_OR_NOT.findall(point.text)]
    text = "".join(pieces)
    if text == point.text:
        return point
    provider, *parts = split(text)
    for complaint in _complaints_of(provider, point.span):
        report.add(complaint)
    return tree.AttachPoint(resolve(provider) or provider, tuple(parts), text, point.name, span=point.span)


def _replace(text: str, parameters: Sequence[str]) -> str:
    """The parameters in a stretch without quotes."""

    def value(match: re.Match[str]) -> str:
        index = int(match[1]) if len(match[1]) < 10 else 0
        return parameters[index - 1] if 1 <= index <= len(parameters) else ""

    return _PARAMETER.sub(value, text)


def split(text: str) -> list[str]:
    r"""An attach point into provider and parts; quotes are removed.

    >>> split('uprobe:"/a:b":f*')
    ['uprobe', '/a:b', 'f*']
    """
    parts, at = [], 0
    while True:
        match = _PART.match(text, at)
        assert match, "the pattern matches nothing, too"
        parts.append(_unquote(match[0]))
        if match.end() >= len(text):
            return parts
        at = match.end() + 1


def _unquote(part: str) -> str:
    return _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), part)
