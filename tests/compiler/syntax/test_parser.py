"""What texts mean: trees by table. Spans and written forms take no part in the comparison."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.attach_points import with_parameters
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tree import (
    ArrayType,
    AttachPoint,
    Binary,
    Block,
    BlockExpr,
    Boolean,
    Call,
    Cast,
    Comptime,
    Expr,
    ExprStatement,
    FieldAccess,
    Identifier,
    If,
    IfExpr,
    Increment,
    Index,
    Integer,
    Map,
    MapAccess,
    NamedType,
    Offsetof,
    PointerType,
    Program,
    Range,
    Record,
    Sizeof,
    String,
    Ternary,
    Tuple,
    TupleAccess,
    Typeinfo,
    TypeofType,
    Unary,
    Variable,
)

Parsed = Callable[[str], Program]

a, b, c = Identifier("a"), Identifier("b"), Identifier("c")
x, m = Variable("$x"), Map("@m")
one, two, three = Integer(1), Integer(2), Integer(3)

EXPRESSIONS: list[tuple[str, Expr]] = [
    ("1 + 2 * 3", Binary("+", one, Binary("*", two, three))),
    ("(1 + 2) * 3", Binary("*", Binary("+", one, two), three)),
    ("1 - 2 - 3", Binary("-", Binary("-", one, two), three)),
    ("1 << 2 < 3", Binary("<", Binary("<<", one, two), three)),
    ("1 == 2 & 3", Binary("&", Binary("==", one, two), three)),
    ("1 & 2 ^ 3", Binary("^", Binary("&", one, two), three)),
    ("1 | 2 && 3", Binary("&&", Binary("|", one, two), three)),
    ("1 || 2 && 3", Binary("||", one, Binary("&&", two, three))),
    ("1 ? 2 : 3 ? 4 : 5", Ternary(one, two, Ternary(three, Integer(4), Integer(5)))),
    ("1 ? 2 ? 3 : 4 : 5", Ternary(one, Ternary(two, three, Integer(4)), Integer(5))),
    ("1 ?: 2", Ternary(one, None, two)),
    ("1 || 2 ? 3 : 4", Ternary(Binary("||", one, two), three, Integer(4))),
    ("-!~*$x", Unary("-", Unary("!", Unary("~", Unary("*", x))))),
    ("1 - -2", Binary("-", one, Unary("-", two))),
    ("&$x", Unary("&", x)),
    ("1 & &@m", Binary("&", one, Unary("&", m))),
    ("$x++ + ++@m[1]", Binary("+", Increment("++", x, False), Increment("++", MapAccess(m, one), True))),
    ("@m--", Increment("--", m, False)),
    ("@m[1, 2]", MapAccess(m, Tuple((one, two)))),
    ("@m[(1, 2)]", MapAccess(m, Tuple((one, two)))),
    ("@m[1][2]", Index(MapAccess(m, one), two)),
    ("(@m)[2]", Index(m, two)),
    ("@", Map("@")),
    ("$x.y->z.0.1", TupleAccess(TupleAccess(FieldAccess(FieldAccess(x, "y"), "z"), 0), 1)),
    ("$x.for", FieldAccess(x, "for")),
    ("*$x.y", Unary("*", FieldAccess(x, "y"))),
    ("()", Tuple(())),
    ("(1)", one),
    ("(1,)", Tuple((one,))),
    ("(1, 2,)", Tuple((one, two))),
    ("(a = 1, b = 2)", Record((("a", one), ("b", two)))),
    ("(a == 1)", Binary("==", a, one)),
    ("(a, b == 1)", Tuple((a, Binary("==", b, one)))),
    ("f()", Call("f", ())),
    ("f (1, a)", Call("f", (one, a))),
    ("f(typeof(struct s*))", Call("f", (TypeofType(PointerType(NamedType("s", "struct"))),))),
    ("pid", Identifier("pid")),
    ("true", Boolean(True)),
    ("$1", tree.PositionalParameter(1)),
    ("$# - 1", Binary("-", tree.ParameterCount(), one)),
    ('str($1) == "a"', Binary("==", Call("str", (tree.PositionalParameter(1),)), String("a"))),
    ("(uint8)1", Cast(NamedType("uint8"), one)),
    ("(my_t)$x.y", Cast(NamedType("my_t"), FieldAccess(x, "y"))),
    ("((struct s *)$x)->y", FieldAccess(Cast(PointerType(NamedType("s", "struct")), x), "y")),
    ("(int32[4]*)a", Cast(PointerType(ArrayType(NamedType("int32"), Integer(4))), a)),
    ("(struct s*[4])a", Cast(ArrayType(PointerType(NamedType("s", "struct")), Integer(4)), a)),
    ("(int8[])1", Cast(ArrayType(NamedType("int8"), None), one)),
    ("(typeof(*$x))1", Cast(TypeofType(Unary("*", x)), one)),
    ("(a)(uint8)1", Cast(NamedType("a"), Cast(NamedType("uint8"), one))),
    ("(pid) - 1", Binary("-", Identifier("pid"), one)),
    ("(cpu) * 2", Binary("*", Identifier("cpu"), two)),
    ("(arg1)*arg0", Binary("*", Identifier("arg1"), Identifier("arg0"))),
    ("(a[1])", Index(a, one)),
    ("(a * b)", Binary("*", a, b)),
    ("sizeof(uint8)", Sizeof(NamedType("uint8"))),
    ("sizeof(my_t)", Sizeof(Identifier("my_t"))),
    ("sizeof(my_t*)", Sizeof(PointerType(NamedType("my_t")))),
    ("sizeof(a[2])", Sizeof(ArrayType(NamedType("a"), two))),
    ("sizeof(a * b)", Sizeof(Binary("*", a, b))),
    ("sizeof(a[2] + 1)", Sizeof(Binary("+", Index(a, two), one))),
    ("sizeof($x)", Sizeof(x)),
    ("sizeof(string[64])", Sizeof(ArrayType(NamedType("string"), Integer(64)))),
    ("offsetof(struct s, a.b.if)", Offsetof(NamedType("s", "struct"), ("a", "b", "if"))),
    ("offsetof(*$x, y)", Offsetof(Unary("*", x), ("y",))),
    ("typeinfo(a).1", TupleAccess(Typeinfo(a), 1)),
    ("typeinfo(f())", Typeinfo(Call("f", ()))),
    ("comptime 1 + 2", Binary("+", Comptime(one), two)),
    ("comptime (1 + 2)", Comptime(Binary("+", one, two))),
    ("{ $x = 1; $x }", BlockExpr((tree.Assign(x, "=", one),), x)),
    ("if (a) { 1 } else { 2 }", IfExpr(a, BlockExpr((), one), BlockExpr((), two))),
    (
        "if a { 1 } else if comptime (b) { 2 } else { 3 }",
        IfExpr(a, BlockExpr((), one), IfExpr(b, BlockExpr((), two), BlockExpr((), three), comptime=True)),
    ),
    ("10ms / 2", Binary("/", Integer(10_000_000), two)),
]


@pytest.mark.parametrize(("text", "expected"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_expressions(parsed: Parsed, text: str, expected: Expr) -> None:
    program = parsed(f"begin {{ $y = {text}; }}")
    assert program.probes[0].body == Block((tree.Assign(Variable("$y"), "=", expected),))


set_x = tree.Assign(x, "=", one)
STATEMENTS: list[tuple[str, tuple[tree.Statement, ...]]] = [
    ("", ()),
    ("1", (ExprStatement(one),)),
    ("$x = 1", (set_x,)),
    ("@m[1] <<= 2;", (tree.Assign(MapAccess(m, one), "<<=", two),)),
    ("_ = f()", (tree.Discard(Call("f", ())),)),
    ("_ == 1", (ExprStatement(Binary("==", Identifier("_"), one)),)),
    ("let $x", (tree.Let(x, None, None),)),
    ("let $x: my_t *;", (tree.Let(x, PointerType(NamedType("my_t")), None),)),
    ("let $x: uint8 = 1;", (tree.Let(x, NamedType("uint8"), one),)),
    ("let $x: typeof($y) = 1", (tree.Let(x, TypeofType(Variable("$y")), one),)),
    (
        "if (a) { 1 } else { 2 } f()",
        (If(a, Block((ExprStatement(one),)), Block((ExprStatement(two),))), ExprStatement(Call("f", ()))),
    ),
    ("if (a) { 1 } else { 2 }", (If(a, Block((ExprStatement(one),)), Block((ExprStatement(two),))),)),
    ("if (a) { $x = 1; } else if (b) { }", (If(a, Block((set_x,)), If(b, Block(()), None)),)),
    ("if comptime (a) { }", (If(a, Block(()), None, comptime=True),)),
    ("if a { } *$x", (If(a, Block(()), None), ExprStatement(Unary("*", x)))),
    ("{ 1 } -2", (ExprStatement(Binary("-", BlockExpr((), one), two)),)),
    ("{ 1 } f()", (Block((ExprStatement(one),)), ExprStatement(Call("f", ())))),
    ("({ 1 });", (ExprStatement(BlockExpr((), one)),)),
    ("while (a) { break; continue }", (tree.While(a, Block((tree.Break(), tree.Continue()))),)),
    ("unroll(3) { return; }", (tree.Unroll(three, Block((tree.Return(None),))),)),
    ("return 1", (tree.Return(one),)),
    ("for ($x : 1..2) { }", (tree.For(x, Range(one, two), Block(())),)),
    ("for $x : 1..(1 + 2) { }", (tree.For(x, Range(one, Binary("+", one, two)), Block(())),)),
    ("for ($x : @m) { }", (tree.For(x, m, Block(())),)),
    ('import "a";', (tree.Import("a"),)),
    ("/*** ***/ 1; // end", (ExprStatement(one),)),
]


@pytest.mark.parametrize(("text", "expected"), STATEMENTS, ids=[text for text, _ in STATEMENTS])
def test_statements(parsed: Parsed, text: str, expected: tuple[tree.Statement, ...]) -> None:
    assert parsed(f"begin {{ {text}\n }}").probes[0].body == Block(expected)


ATTACH_POINTS: list[tuple[str, AttachPoint]] = [
    ("begin", AttachPoint("begin", ())),
    ("BEGIN", AttachPoint("begin", ())),
    ("k:vfs_read", AttachPoint("kprobe", ("vfs_read",))),
    ("K:Vfs*", AttachPoint("kprobe", ("Vfs*",))),
    ("kfunc:vmlinux:f", AttachPoint("fentry", ("vmlinux", "f"))),
    ("kretfunc:f", AttachPoint("fexit", ("f",))),
    ("u:/bin/sh:f+0x10", AttachPoint("uprobe", ("/bin/sh", "f+0x10"))),
    ("U:/bin/sh:a:b", AttachPoint("usdt", ("/bin/sh", "a", "b"))),
    ("ur:./a-b//c:f", AttachPoint("uretprobe", ("./a-b//c", "f"))),
    ('uprobe:"/a b{":"A::f"+4', AttachPoint("uprobe", ("/a b{", "A::f+4"))),
    (r'usdt:/a:"\"p\""', AttachPoint("usdt", ("/a", '"p"'))),
    ("t:syscalls:sys_enter_*", AttachPoint("tracepoint", ("syscalls", "sys_enter_*"))),
    ("t*point:a:b", AttachPoint("t*point", ("a", "b"))),
    ("kprobe:[abc]d", AttachPoint("kprobe", ("[abc]d",))),
    ("interval:s:1e3", AttachPoint("interval", ("s", "1e3"))),
    ("uprobe:/bin/a:$1", AttachPoint("uprobe", ("/bin/a", "$1"))),
    ("mine=kprobe:f", AttachPoint("kprobe", ("f",), name="mine")),
    ("it:task:/sys/fs/bpf/p", AttachPoint("iter", ("task", "/sys/fs/bpf/p"))),
    ("u:/a@b.c:12:3", AttachPoint("uprobe", ("/a@b.c", "12", "3"))),
]


@pytest.mark.parametrize(("text", "expected"), ATTACH_POINTS, ids=[text for text, _ in ATTACH_POINTS])
@pytest.mark.parametrize("behind", [" ", "\n", "", ", ", " /* c */", " // c\n"])
def test_attach_points(parsed: Parsed, text: str, expected: AttachPoint, behind: str) -> None:
    (point,) = parsed(f"{text}{behind}{{ }}").probes[0].attach_points
    assert (point, point.span.start, point.span.end) == (expected, 0, len(text))


def test_several_attach_points(parsed: Parsed) -> None:
    (probe,) = parsed("begin, k:f ,\nu:/bin/sh:g, { }").probes
    assert [p.provider for p in probe.attach_points] == ["begin", "kprobe", "uprobe"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k:f /a/ { }", a),
        ("k:f/a/{ }", a),
        ("k:f / a /\n// why\n{ }", a),
        ("begin /1 / 2/ { }", Binary("/", one, two)),
        ("u:/bin/sh:f /a/ { }", a),
        ("k:f, /a == b/ { }", Binary("==", a, b)),
    ],
)
def test_predicates(parsed: Parsed, text: str, expected: Expr) -> None:
    assert parsed(text).probes[0].predicate == expected


def test_parameters_of_attach_points(parsed: Parsed) -> None:
    report = Report([Source("stdin", "")])
    probes = parsed('BEG$1 { } $2 { } u:/a:"$1":$3 { }').probes
    points = [with_parameters(p.attach_points[0], ("IN", "kprobe:f"), report) for p in probes]
    assert points == [AttachPoint("begin", ()), AttachPoint("kprobe", ("f",)), AttachPoint("uprobe", ("/a", "$1", ""))]
    assert not report.complaints


def test_a_whole_program(parsed: Parsed) -> None:
    program = parsed(
        """#!/usr/bin/env bpftrace
#include <stdio.h>
#define A 1 \\
  2
struct __attribute__((packed)) s { int x; /* } */ struct { char c; } y; } __attribute__((aligned(8)));
enum e { A, B }
config = { max_strlen = 64; stack_mode = perf; license = "GPL v2"; lazy_symbolication = true }
import "a.bt";
let @m = lruhash(16);
macro add($x, @m, e) { $x + e }
macro set($x) { $x = 1; }
fn f($a : int64, $b: struct s *): void { }
k:f { }
"""
    )
    assert program.shebang == "#!/usr/bin/env bpftrace"
    assert [d.text.split()[0] for d in program.c_definitions] == ["#include", "#define", "struct", "enum"]
    assert program.c_definitions[2].text.endswith("__attribute__((aligned(8)));")
    assert program.config is not None
    assert [(e.name, e.value) for e in program.config.entries] == [
        ("max_strlen", 64),
        ("stack_mode", "perf"),
        ("license", "GPL v2"),
        ("lazy_symbolication", True),
    ]
    assert program.imports == (tree.Import("a.bt"),)
    assert program.map_declarations == (tree.MapDeclaration(m, "lruhash", Integer(16)),)
    add, set_ = program.macros
    assert [p.name for p in add.parameters] == ["$x", "@m", "e"]
    assert (add.body, set_.body) == (BlockExpr((), Binary("+", x, Identifier("e"))), Block((set_x,)))
    (function,) = program.functions
    assert function.returns == NamedType("void")
    assert [p.type for p in function.parameters] == [NamedType("int64"), PointerType(NamedType("s", "struct"))]


@pytest.mark.parametrize("text", ["", "// nothing", "#!/usr/bin/env bpftrace\n", "#define A 1"])
def test_programs_without_probes(parsed: Parsed, text: str) -> None:
    assert parsed(text).probes == ()


@pytest.mark.parametrize(
    ("text", "part", "underlined"),
    [
        ("begin { $y = (1 + 2) * (3 + 4); }", "value", "1 + 2) * (3 + 4)"),
        ("begin { $y = kaddr(1); }", "value", "kaddr(1)"),
        ("begin { $y = (uint8)$x; }", "value", "(uint8)"),
        ("begin { $y = @m[1, 2]; }", "value", "@m[1, 2]"),
        ("begin { $y  =  1 ; }", "", "$y  =  1"),
        ("begin { f(1) ; }", "", "f(1)"),
        ("begin { $x.a.b; }", "value", "$x.a.b"),
    ],
)
def test_spans(parsed: Parsed, text: str, part: str, underlined: str) -> None:
    node = parsed(text).probes[0].body.statements[0]
    span = (getattr(node, part) if part else node).span
    assert text[span.start : span.end] == underlined
