"""`args` of uprobes: parameters typed by DWARF, in registers, on the stack, by value and by pointer."""

from __future__ import annotations

import subprocess

import pytest

from kubebpf.compiler.artifact.values import Value
from support.programs import codes, compiled, pair, result, running
from support.targets import targets, view, x86

pytestmark = [pytest.mark.kernel, x86]


def printed(text: str, cpp: bool = False) -> list[Value]:
    """What probes print while a program runs; `APP` in the text is the program."""
    program = targets().cpp if cpp else targets().app
    with running(text.replace("APP", str(program)), view=view()) as session:
        subprocess.run([program], check=True, capture_output=True)
    return result(session).printed


def test_numbers() -> None:
    text = "uprobe:APP:ints { print((args.a, args.b, args.c, args.d, args.e, args.f, args.g, args.h)) }"
    assert printed(text) == [pair(-1, 255, -300, 4000000000, -5, True, -77, -8)]


def test_what_pointers_point_to() -> None:
    text = """uprobe:APP:pointers {
        print((str(args.s), args.n->value, args.n->next->value, args.n->in.a, args.n.next.in.b, args.n->text));
        print((args.n->whole, args.n->low, args.array[2], args.c == 5));
    } uprobe:APP:returned { print((args.x, args.b->a, args.b->b, args.b->c)) }"""
    assert printed(text) == [pair("a string", 1, 2, -5, 4, "one"), pair(66, 66, 30, True), pair(33, 5, -7, 1 << 35)]


def test_structs_by_value() -> None:
    text = "uprobe:APP:values { print((args.i.a, args.i.b, args.b.tail, args.b.x[2], args.p.second, args.p.name, args.last)) }"
    assert printed(text) == [pair(-1, 2, 9, 3, 12, "pair", 42)]


def test_args_as_a_whole() -> None:
    [record, inner] = printed("uprobe:APP:ints { print(args) } uprobe:APP:values { print(args.i) }")
    assert "a" in str(record) and "-77" in str(record)
    assert "-1" in str(inner)


def test_methods_and_base_classes() -> None:
    text = """uprobe:APP:cpp:"ns::Object::get" { print((args.this->x, args.this->base, args.by)) }
        uprobe:APP:cpp:"ns::f(char, ns::Object const&)" { print((args.a, args.o->x)) }"""
    assert sorted(map(str, printed(text, cpp=True))) == sorted(map(str, [pair(4, 3, 7), pair(2, 4)]))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("uprobe:APP:values { print(args.d) }", "UnreadableParameter"),
        ("uprobe:APP:ints { print(args.z) }", "NoSuchField"),
        ("uprobe:APP:ints+4 { print(args.a) }", "UnknownParameters"),
        ("uprobe:APP:*s { print(args.a) }", "UnknownParameters"),
        ("uprobe:STRIPPED:0x1139 { print(args.a) }", "UnknownParameters"),
        ("uprobe:/no/such:f { print(args.a) }", "UnknownParameters"),
        ("uretprobe:APP:ints { print(args.a) }", "WrongProbe"),
    ],
)
def test_what_is_refused(text: str, code: str) -> None:
    text = text.replace("APP", str(targets().app)).replace("STRIPPED", str(targets().stripped))
    assert codes(text, view()) == [code]


def test_without_the_binary_registers_are_left() -> None:
    """The operator compiles for nodes that have the binary; it does not look at files of its own."""
    text = f"uprobe:{targets().app}:ints {{ print(args.a) }}"
    from support.programs import kernel

    assert codes(text, kernel()) == ["UnknownParameters"]
    assert compiled(f"uprobe:{targets().app}:ints {{ print((int8)arg0) }}")
