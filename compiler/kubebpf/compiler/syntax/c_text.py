"""C definitions at the head of a program: found and cut out here, never understood.

#include <linux/sched.h>
#define LIMIT 10
struct event { int pid; char comm[16]; };
"""

from __future__ import annotations

import re

from kubebpf.compiler.syntax.tokens import TYPE_KEYWORDS

_COMMENT = r"//[^\n]*|/\*(?s:.*?)\*/"
_BLANK = rf"(?:\s|{_COMMENT})*"
_HEAD = re.compile(rf"{_BLANK}(?:[A-Za-z_]\w*{_BLANK}|\((?:[^()]|\([^()]*\))*\){_BLANK})*", re.A)
_DIRECTIVE = re.compile(r"#(?:\\\r?\n|[^\n])*")
_BODY = re.compile(rf'(?:{_COMMENT}|"(?:[^"\\\n]|\\.)*"|[^{{}}"/]|["/])+', re.A)
_ATTRIBUTE = re.compile(rf"{_BLANK}__attribute__{_BLANK}\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", re.A)
_SEMICOLON = re.compile(rf"{_BLANK};")


def directive_end(text: str, at: int) -> int:
    """The end of a preprocessor line that starts at an offset (`\\` continues it), or the offset itself."""
    match = _DIRECTIVE.match(text, at)
    return match.end() if match and not text.startswith("#!", at) else at


def opening_brace(text: str, keyword: str, at: int) -> int | None:
    """The offset of the `{` of the definition whose keyword starts at `at`, or None if it is no definition."""
    if keyword not in TYPE_KEYWORDS:
        return None
    head = _HEAD.match(text, at + len(keyword))
    assert head, "the pattern matches nothing, too"
    return head.end() if text.startswith("{", head.end()) else None


def closing_brace(text: str, opening: int) -> int | None:
    """The offset behind the `}` that closes a `{`, braces in comments and strings aside; None if nothing does."""
    depth, at = 0, opening
    while at < len(text):
        if match := _BODY.match(text, at):
            at = match.end()
            continue
        depth += 1 if text[at] == "{" else -1
        at += 1
        if depth == 0:
            return at
    return None


def typedef_end(text: str, at: int) -> int | None:
    """The offset behind the `;` that ends a typedef, those inside of its braces aside; None if nothing does."""
    while at < len(text):
        if text[at] == ";":
            return at + 1
        closed = closing_brace(text, at) if text[at] == "{" else at + 1
        if closed is None:
            return None
        at = closed
    return None


def definition_end(text: str, closed: int) -> int:
    """The offset behind the attributes and the `;` that may follow a definition."""
    while match := _ATTRIBUTE.match(text, closed):
        closed = match.end()
    semicolon = _SEMICOLON.match(text, closed)
    return semicolon.end() if semicolon else closed
