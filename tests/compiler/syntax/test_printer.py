"""Canonical text: a table of forms, and for any tree that a text can mean, that its text means it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.formatter import format_program
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.printer import expression_text, print_program
from kubebpf.compiler.syntax.providers import PROVIDERS
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tokens import ASSIGNMENTS, PRECEDENCE

WRITTEN = [
    ("k:f/pid==1/{@[comm]=count()}", "kprobe:f\n/ pid == 1 /\n{\n\t@[comm] = count();\n}\n"),
    ("begin,a=k:f{}", "begin,\na=kprobe:f\n{}\n"),
    ('u:"/a b":"f" { }', 'uprobe:"/a b":"f"\n{}\n'),
    ("config={a=1;b=x}begin{}", "config = {\n\ta = 1;\n\tb = x;\n}\n\nbegin\n{}\n"),
    ("macro m($x,e){e}fn f($a:int8):void{}", "macro m($x, e) {\n\te\n}\n\nfn f($a: int8): void {}\n"),
    ("let @a=hash(1);let @b=hash(2)", "let @a = hash(1);\nlet @b = hash(2);\n"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "canonical"), WRITTEN, ids=[text for text, _ in WRITTEN])
def test_canonical_programs(parsed: Callable[[str], tree.Program], text: str, canonical: str) -> None:
    assert print_program(parsed(text)) == canonical
    assert print_program(parsed(canonical)) == canonical


EXPRESSIONS = [
    ("((1 + 2)) + 3", "1 + 2 + 3"),
    ("1 + (2 + 3)", "1 + (2 + 3)"),
    ("(1 * 2) + 3 ? 4 : (5)", "1 * 2 + 3 ? 4 : 5"),
    ("(1 ? 2 : 3) ? 4 : 5", "(1 ? 2 : 3) ? 4 : 5"),
    ("- (-1)", "-(-1)"),
    ("-(--$x)", "-(--$x)"),
    ("(*$x).y", "(*$x).y"),
    ("((struct s*)$x)->y", "((struct s*)$x)->y"),
    ("(a,)", "(a,)"),
    ("@m[(1,2)]", "@m[1, 2]"),
    ("(@m)[1]", "(@m)[1]"),
    ("sizeof((a[1]))", "sizeof((a[1]))"),
    ("10ms+0x1f", "10ms + 0x1f"),
    (r'"\x41\0\n"', r'"A\x00\n"'),
    ("1 / ({ 2 })", "1 / ({\n\t2\n})"),
]


@pytest.mark.parametrize(("text", "canonical"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_canonical_expressions(parsed: Callable[[str], tree.Program], text: str, canonical: str) -> None:
    (statement,) = parsed(f"begin {{ _ = {text} }}").probes[0].body.statements
    assert isinstance(statement, tree.Discard)
    assert expression_text(statement.value) == canonical


# --- Any tree ---------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b_1", "print", "pid", "arg0", "my_t", "config", "sizeof", "x9"])
fields = st.sampled_from(["a", "for", "struct", "_b"])
words = st.sampled_from(["a", "b_1", "my_t"])
variables = st.sampled_from(["$x", "$a_1", "$_"]).map(tree.Variable)
maps = st.sampled_from(["@", "@m", "@_1"]).map(tree.Map)
# A value that the lexer can make: characters that are bytes, decoded.
texts = st.binary(max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape")).map(tree.String)
numbers = st.one_of(
    st.integers(0, 2**64 - 1).map(tree.Integer), st.builds(tree.Integer, st.integers(0, 2**63), duration=st.just(True))
)
leaves: st.SearchStrategy[tree.Expr] = st.one_of(
    numbers,
    texts,
    variables,
    maps,
    names.map(tree.Identifier),
    st.booleans().map(tree.Boolean),
    st.integers(1, 99).map(tree.PositionalParameter),
    st.just(tree.ParameterCount()),
)

named_types = st.one_of(
    st.sampled_from(["uint64", "string", "bool"]).map(tree.NamedType),
    st.builds(tree.NamedType, words, st.sampled_from(["struct", "union", "enum"])),
)
lengths = st.none() | st.integers(0, 99).map(tree.Integer)
known_types: st.SearchStrategy[tree.TypeSyntax] = st.recursive(
    named_types,
    lambda inner: st.builds(tree.PointerType, inner) | st.builds(tree.ArrayType, inner, lengths),
    max_leaves=4,
)
type_annotations: st.SearchStrategy[tree.TypeSyntax] = st.recursive(
    known_types | words.map(tree.NamedType),
    lambda inner: st.builds(tree.TupleType, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=3,
)


def grown(inner: st.SearchStrategy[tree.Expr]) -> st.SearchStrategy[tree.Expr]:
    """Every way in which expressions hold expressions."""
    several = st.lists(inner, max_size=3).map(tuple)
    entries = st.builds(tree.MapAccess, maps, inner)
    counters = st.one_of(variables, maps, entries)
    operands = st.one_of(known_types, st.builds(tree.TypeofType, inner | known_types), inner)
    values = st.builds(tree.BlockExpr, st.lists(simple(inner), max_size=2).map(tuple), inner)
    return st.one_of(
        entries,
        st.builds(tree.Unary, st.sampled_from("!~-*"), inner),
        st.builds(tree.Unary, st.just("&"), variables | maps),
        st.builds(tree.Increment, st.sampled_from(["++", "--"]), counters, st.booleans()),
        st.builds(tree.Binary, st.sampled_from(sorted(PRECEDENCE)), inner, inner),
        st.builds(tree.Ternary, inner, st.none() | inner, inner),
        st.builds(tree.FieldAccess, inner, fields, st.booleans()),
        st.builds(tree.TupleAccess, inner, st.integers(0, 9)),
        st.builds(tree.Index, inner, inner),
        st.builds(tree.Cast, st.one_of(known_types, words.map(tree.NamedType)), inner),
        st.builds(tree.Tuple, several),
        st.lists(inner, min_size=1, max_size=2).map(lambda values: tree.Record(tuple(zip(("a", "b"), values, strict=False)))),
        st.builds(tree.Call, st.sampled_from(["f", "print"]), several),
        st.builds(tree.Call, st.just("f"), st.builds(tree.TypeofType, inner).map(lambda t: (t,))),
        st.builds(tree.Sizeof, operands),
        st.builds(tree.Typeinfo, operands),
        st.builds(tree.Offsetof, operands, st.lists(fields, min_size=1, max_size=2).map(tuple)),
        st.builds(tree.Comptime, inner),
        values,
        st.builds(tree.IfExpr, inner, values, values, st.just(False)),
    )


def simple(inner: st.SearchStrategy[tree.Expr]) -> st.SearchStrategy[tree.Statement]:
    """Statements without blocks."""
    targets = st.one_of(variables, maps, st.builds(tree.MapAccess, maps, inner))
    return st.one_of(
        st.builds(tree.ExprStatement, inner),
        st.builds(tree.Discard, inner),
        st.builds(tree.Assign, targets, st.sampled_from(sorted(ASSIGNMENTS)), inner),
        st.builds(tree.Let, variables, st.none() | type_annotations, st.none() | inner),
        st.builds(tree.Return, st.none() | inner),
        st.just(tree.Break()),
        st.just(tree.Continue()),
        st.builds(tree.Import, st.just("lib")),
    )


expressions = st.recursive(leaves, grown, max_leaves=12)


def nested(inner: st.SearchStrategy[tree.Statement]) -> st.SearchStrategy[tree.Statement]:
    """Statements with blocks."""
    blocks = st.builds(tree.Block, st.lists(inner, max_size=2).map(tuple))
    ifs = st.builds(tree.If, expressions, blocks, st.none() | blocks, st.just(False))
    ranges = st.builds(tree.Range, expressions, expressions)
    return st.one_of(
        blocks,
        ifs,
        st.builds(tree.If, expressions, blocks, ifs, st.just(False)),
        st.builds(tree.While, expressions, blocks),
        st.builds(tree.Unroll, expressions, blocks),
        st.builds(tree.For, variables, maps | ranges, blocks),
    )


statements = st.recursive(simple(expressions), nested, max_leaves=5)
bodies = st.builds(tree.Block, st.lists(statements, max_size=3).map(tuple))
parts = st.text(st.characters(codec="utf-8", exclude_characters="$\n\r\0"), max_size=6)
points = st.builds(
    tree.AttachPoint,
    st.sampled_from([*PROVIDERS, "k*probe"]),
    st.lists(parts, max_size=3).map(tuple),
    name=st.sampled_from(["", "mine"]),
)
probes = st.builds(tree.Probe, st.lists(points, min_size=1, max_size=2).map(tuple), st.none() | expressions, bodies)
entries = st.builds(
    tree.ConfigEntry, words, st.one_of(st.booleans(), st.integers(0, 99), st.sampled_from(["perf", "a b", "true"]))
)
parameters = st.builds(tree.MacroParameter, st.sampled_from(["$x", "@m", "e"])) | st.just(tree.MacroParameter("t", True))
macro_bodies = bodies | st.builds(tree.BlockExpr, st.lists(simple(expressions), max_size=1).map(tuple), expressions)
macros = st.builds(tree.Macro, words, st.lists(parameters, max_size=2).map(tuple), macro_bodies)
functions = st.builds(
    tree.Function,
    words,
    st.lists(st.builds(tree.FunctionParameter, st.just("$a"), type_annotations), max_size=2).map(tuple),
    type_annotations,
    bodies,
)
programs = st.builds(
    tree.Program,
    st.lists(st.sampled_from(["#include <a.h>", "struct s { int x; };"]).map(tree.CDefinition), max_size=2).map(tuple),
    st.none() | st.builds(tree.Config, st.lists(entries, max_size=2).map(tuple)),
    st.lists(st.just(tree.Import("a.bt")), max_size=1).map(tuple),
    st.lists(st.builds(tree.MapDeclaration, maps, words, st.integers(0, 9).map(tree.Integer)), max_size=1).map(tuple),
    st.lists(macros, max_size=1).map(tuple),
    st.lists(functions, max_size=1).map(tuple),
    st.lists(probes, max_size=2).map(tuple),
)


FORMATTED = Path(__file__).parent / "formatted"


def test_the_formatter_keeps_comments(parsed: Callable[[str], tree.Program]) -> None:
    written, canonical = ((FORMATTED / name).read_text() for name in ("written.bt", "canonical.bt"))
    assert format_program(written, parsed(written)) == canonical
    assert format_program(canonical, parsed(canonical)) == canonical
    assert parsed(canonical) == parsed(written)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs, st.randoms(use_true_random=False))
def test_formatting_keeps_the_tree_and_every_comment(program: tree.Program, random: Random) -> None:
    lines = print_program(program).split("\n")
    head = [i for i, line in enumerate(lines) if line.startswith("struct s")]
    text, count = "", 0
    for i, line in enumerate(lines):
        comment = random.choice(["", " // one", "\n/* two\n  lines */", "\n\n"]) if i not in head else ""
        count += "/" in comment
        text += line + comment + "\n"
    formatted = format_program(text, _parsed(text))
    assert _parsed(formatted) == _parsed(text), formatted
    assert format_program(formatted, _parsed(formatted)) == formatted
    assert formatted.count("// one") + formatted.count("/* two") == count


def _parsed(text: str) -> tree.Program:
    report = Report([Source("text", text)])
    found = parse(report.sources[0], report)
    assert not report.complaints, text + render_all(report)
    return found


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_what_is_printed_parses_to_the_same_tree(program: tree.Program) -> None:
    text = print_program(program)
    report = Report([Source("printed", text)])
    again = parse(report.sources[0], report)
    assert not report.complaints, text + render_all(report)
    assert again == program, text
    assert print_program(again) == text
