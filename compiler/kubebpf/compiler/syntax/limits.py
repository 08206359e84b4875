"""How deep a tree may be. Every later pass recurses over it, so a chain of ten thousand `+` has to stop here.

The parser limits brackets inside each other; this looks at the finished tree, where chains of operators count as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.syntax import NestedTooDeeply
from kubebpf.compiler.syntax import tree

MAX_DEPTH = 200


def check_depth(program: tree.Program, report: Report) -> None:
    """Complain once about a tree that is too deep, at the node where it gets so. No recursion."""
    waiting: list[tuple[tree.Node, int]] = [(program, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            report.add(NestedTooDeeply(span=node.span, limit=MAX_DEPTH))
            return
        waiting.extend((child, depth + 1) for child in children(node))


def children(node: tree.Node) -> list[tree.Node]:
    """The nodes directly inside a node, in the order of its fields."""
    found: list[tree.Node] = []
    for field in fields(node):
        _collect(getattr(node, field.name), found)
    return found


def below(node: tree.Node) -> Iterator[tree.Node]:
    """All nodes inside a node, each before those inside it."""
    for child in children(node):
        yield child
        yield from below(child)


def _collect(value: object, found: list[tree.Node]) -> None:
    if isinstance(value, tree.Node):
        found.append(value)
    elif isinstance(value, tuple):
        for item in value:
            _collect(item, found)
