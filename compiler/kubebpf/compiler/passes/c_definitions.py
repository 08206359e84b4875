"""The C definitions of a program: read when there are any, and seen from then on wherever a type or a constant is looked up.

#define LIMIT 10
struct event { int pid; };
begin { print(LIMIT); print(sizeof(struct event)); }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.cdefs import BadMacro, NoCompilerForC
from kubebpf.compiler.complaints.macros import ExpansionTooLarge
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source, Span
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

MOST_EXPANSIONS = 2_000  # of `#define`s, in all rounds of inference: each can name the next one twice
DEEPEST_EXPANSION = 100


def with_definitions(pieces: Sequence[tree.CDefinition], view: KernelView, options: CompileOptions, report: Report) -> KernelView:
    """The kernel with the program's types in front of its own; complaints go to the report."""
    if not pieces and not options.includes:
        return view
    pieces = pieces or (tree.CDefinition("", span=Span(0, 0)),)
    try:
        from kubebpf.compiler.cdefs.reading import read  # libclang is large, and few programs have C in them
    except ImportError:
        report.add(NoCompilerForC(span=pieces[0].span))
        return view
    definitions = read(pieces, view, options, report)
    return view if definitions is None else view.with_types_of(definitions)


def macro(t: Typing, node: tree.Identifier) -> typed.Expr | None:
    """The value of a name that a `#define` gives a text to; None when none does."""
    text = None if t.view.program is None or node.name in t.expanding else t.view.program.macro(node.name)
    if text is None:
        return None
    expression = _parsed(text, node.span)
    if expression is None:
        return t.bad(node, BadMacro(span=node.span, name=node.name, text=text))
    # As in C, a macro is not expanded in its own text: `#define A A` leaves the enum constant A visible.
    t.expanded += 1
    if t.expanded > MOST_EXPANSIONS or len(t.expanding) >= DEEPEST_EXPANSION:
        what, limit = ("levels", DEEPEST_EXPANSION) if t.expanded <= MOST_EXPANSIONS else ("expressions", MOST_EXPANSIONS)
        return t.bad(node, ExpansionTooLarge(span=node.span, what=what, limit=limit))
    t.expanding.add(node.name)
    try:
        return t.expr(expression)
    finally:
        t.expanding.discard(node.name)


def _parsed(text: str, span: Span) -> tree.Expr | None:
    """A text as an expression that stands at a place."""
    report = Report([])
    program = parse(Source("", f"begin {{ _ = ({text}); }}"), report)
    if report.complaints or len(program.probes) != 1 or len(program.probes[0].body.statements) != 1:
        return None
    statement = program.probes[0].body.statements[0]
    if not isinstance(statement, tree.Discard):
        return None
    moved: tree.Expr = _moved(statement.value, span)
    return moved


def _moved(node: Any, span: Span) -> Any:
    """The tree with all its nodes at one place."""
    if isinstance(node, tuple):
        return tuple(_moved(n, span) for n in node)
    if not isinstance(node, tree.Node):
        return node
    changes = {f.name: _moved(getattr(node, f.name), span) for f in fields(node) if not f.name.endswith("span")}
    places = {f.name: span for f in fields(node) if f.name.endswith("span")}
    return replace(node, **changes, **places)
