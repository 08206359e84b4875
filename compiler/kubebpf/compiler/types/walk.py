"""Walking over the typed tree, whatever its nodes are.

any(isinstance(node, typed.Return) for node in walk(probe.body))
"""

from __future__ import annotations

from collections.abc import Iterator

from kubebpf.compiler.types import typed

Node = typed.Statement | typed.Expr


def children(node: object) -> Iterator[Node | typed.Variable]:
    """The statements, expressions and variables directly in a node, in the order of its fields.

    Args:
        node: a statement or an expression; a tuple or list of such, as a field of a node holds them.
    """
    if isinstance(node, tuple | list):
        fields: list[object] = list(node)
    elif isinstance(node, typed.Statement | typed.Expr):
        fields = [getattr(node, name) for kind in type(node).__mro__ for name in getattr(kind, "__slots__", ())]
    else:
        return
    for field in fields:
        if isinstance(field, typed.Statement | typed.Expr | typed.Variable):
            yield field
        else:
            yield from children(field) if isinstance(field, tuple | list) else ()


def walk(node: object) -> Iterator[Node]:
    """A node and all statements and expressions below it, functions that it calls not among them."""
    if isinstance(node, typed.Statement | typed.Expr):
        yield node
    for child in children(node):
        yield from walk(child)


def called(node: object) -> list[typed.Function]:
    """The functions of the text that a body calls, directly or not: each once, callees before their callers."""
    found: list[typed.Function] = []
    _called(node, found)
    return found


def _called(node: object, found: list[typed.Function]) -> None:
    for below in walk(node):
        if isinstance(below, typed.Invoke) and not below.function.external and below.function not in found:
            _called(below.function.body, found)
            found.append(below.function)


def bodies(node: object) -> list[object]:
    """A body, and those of all functions that it calls."""
    return [node, *(function.body for function in called(node))]
