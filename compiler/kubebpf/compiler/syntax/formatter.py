"""A program's text in canonical form, its comments and single blank lines kept: `kubebpf fmt`.

    // how often        ->   // how often
    BEGIN{@x=1;//one         begin
    }                        {
                                 @x = 1; // one
                             }

Comments become statements that only the printer knows, in front of the statement, or behind it on its line, where they stood.
One inside of a statement moves in front of it. Parsing the result gives the tree that the text gave, and formatting it changes
nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import children
from kubebpf.compiler.syntax.printer import piece_text

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*(?s:.*?)\*/')
_GROUPED = (tree.CDefinition, tree.Import, tree.MapDeclaration)

Piece = tree.CDefinition | tree.Config | tree.Import | tree.MapDeclaration | tree.Macro | tree.Function | tree.Probe


def format_program(text: str, program: tree.Program) -> str:
    """The canonical text of a program that was parsed without errors.

    Args:
        text: as written.
        program: its tree.
    """
    pieces = sorted(_pieces(program), key=_start)
    comments = _Comments(text, program)
    lines: list[str] = [program.shebang] if program.shebang else []
    at, before = len(program.shebang), None
    for piece in pieces:
        start, end = _start(piece), _end(piece)
        head = comments.take(at, start)
        _separate(lines, text[at : head[0].start if head else start], before, piece if not head else None)
        at = _above(lines, text, head, start)
        written = piece_text(_commented(piece, comments))
        inner = comments.take(start, end)  # in a head: between attach points, in a list of parameters
        lines += [_tidy(c.text) for c in inner]
        end = _behind(text, end)
        beside = comments.take(end, text.find("\n", end) if "\n" in text[end:] else len(text))
        lines.append(" ".join([written, *(_tidy(c.text) for c in beside)]))
        at, before = beside[-1].end if beside else end, piece
    tail = comments.take(at, len(text))
    if tail:
        _separate(lines, text[at : tail[0].start], before, None)
        _above(lines, text, tail, len(text))
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


@dataclass(frozen=True, slots=True)
class _Comment:
    start: int
    end: int
    text: str


class _Comments:
    """The comments of a text, each given out once."""

    def __init__(self, text: str, program: tree.Program) -> None:
        self._text = text
        self._left = list(_found(text, program))

    def take(self, start: int, end: int) -> list[_Comment]:
        """Those that begin in a stretch of the text."""
        starts = [c.start for c in self._left]
        low, high = bisect_left(starts, start), bisect_left(starts, end)
        taken = self._left[low:high]
        del self._left[low:high]
        return taken

    def blank_before(self, offset: int) -> bool:
        """Whether an empty line stands in front of what begins at an offset."""
        layout = self._text[:offset]
        return layout[len(layout.rstrip()) :].count("\n") > 1

    def same_line(self, end: int, comment: _Comment) -> bool:
        """Whether a comment stands on the line on which something ends."""
        return "\n" not in self._text[end : comment.start]


def _found(text: str, program: tree.Program) -> Iterator[_Comment]:
    """What is a comment: not in strings, not in C text (which is kept as written), not in attach points (`/bin/*`)."""
    opaque = [d.span for d in program.c_definitions] + [a.span for p in program.probes for a in p.attach_points]
    ends = {span.start: span.end for span in opaque}
    starts = sorted(ends)
    at = len(program.shebang)
    while match := _TOKEN.search(text, at):
        number = bisect_left(starts, at)
        if number < len(starts) and starts[number] <= match.start():
            at = max(ends[starts[number]], at + 1)
            continue
        if match[0].startswith("/"):
            yield _Comment(match.start(), match.end(), match[0])
        at = match.end()


def _pieces(program: tree.Program) -> Iterator[Piece]:
    yield from program.c_definitions
    yield from (program.config,) if program.config else ()
    yield from program.imports
    yield from program.map_declarations
    yield from program.macros
    yield from program.functions
    yield from program.probes


def _start(piece: Piece) -> int:
    return piece.span.start


def _end(piece: Piece) -> int:
    return piece.body.span.end if isinstance(piece, tree.Macro | tree.Function | tree.Probe) else piece.span.end


def _behind(text: str, end: int) -> int:
    """The offset behind the `;` of an import or a map declaration."""
    match = re.compile(r"[ \t]*;").match(text, end)
    return match.end() if match else end


def _separate(lines: list[str], layout: str, before: Piece | None, piece: Piece | None) -> None:
    """A blank line, but not between imports and the like that stand close together."""
    close = layout.count("\n") <= 1 and isinstance(before, _GROUPED) and (piece is None or type(before) is type(piece))
    if lines and not close:
        lines.append("")


def _above(lines: list[str], text: str, comments: Sequence[_Comment], start: int) -> int:
    """The comments in front of a piece; gives where they end."""
    ends = [*(c.start for c in comments[1:]), start] if comments else []
    for comment, following in zip(comments, ends, strict=True):
        lines.append(_tidy(comment.text))
        if text[comment.end : following].count("\n") > 1 and following < len(text):
            lines.append("")
    return start


def _tidy(text: str) -> str:
    """A comment whose further lines follow its indentation."""
    first, *rest = (line.strip() for line in text.split("\n"))
    return "\n".join([first, *((" " if line.startswith("*") else "   ") + line if line else "" for line in rest)])


# --- Comments among statements ----------------------------------------------------------------------------------------


def _commented(node: Any, comments: _Comments) -> Any:
    """A copy of a node in whose blocks the comments stand as statements."""
    if isinstance(node, tree.Block | tree.BlockExpr):
        return _block(node, comments)
    if isinstance(node, tree.Config):
        entries = _woven(node.entries, node.span.start, node.span.end, comments)
        return replace(node, entries=entries)
    if not any(True for _ in children(node)):
        return node
    return replace(node, **{f.name: _inside(getattr(node, f.name), comments) for f in fields(node) if f.name != "span"})


def _inside(value: Any, comments: _Comments) -> Any:
    if isinstance(value, tuple):
        return tuple(_inside(item, comments) for item in value)
    return _commented(value, comments) if isinstance(value, tree.Node) else value


def _block(block: tree.Block | tree.BlockExpr, comments: _Comments) -> tree.Block | tree.BlockExpr:
    if isinstance(block, tree.Block):
        return replace(block, statements=_woven(block.statements, block.span.start, block.span.end, comments))
    end = block.value.span.start
    statements = _woven(block.statements, block.span.start, end, comments)
    value = _commented(block.value, comments)
    # What stands in and behind the value goes in front of it: there is nothing behind a value.
    rest = tuple(tree.Comment(_tidy(c.text)) for c in comments.take(end, block.span.end))
    return replace(block, statements=(*statements, *rest), value=value)


def _woven(nodes: Sequence[Any], start: int, end: int, comments: _Comments) -> tuple[Any, ...]:
    """Statements, and the comments and blank lines between them."""
    done: list[Any] = []
    before = start
    for node in nodes:
        done += _between(before, node.span.start, comments, first=not done)
        changed = _commented(node, comments)
        done += [tree.Comment(_tidy(c.text)) for c in comments.take(node.span.start, node.span.end)]
        done.append(changed)
        before = node.span.end
    done += _between(before, end, comments, first=not done, last=True)
    return tuple(done)


def _between(before: int, start: int, comments: _Comments, *, first: bool, last: bool = False) -> list[tree.Comment]:
    """What stands between two statements."""
    done: list[tree.Comment] = []
    for comment in comments.take(before, start):
        beside = not first and not done and comments.same_line(before, comment)
        if not beside and not (first and not done) and comments.blank_before(comment.start):
            done.append(tree.Comment(""))
        done.append(tree.Comment(_tidy(comment.text), beside))
    if not last and not (first and not done) and comments.blank_before(start):
        done.append(tree.Comment(""))
    return done
