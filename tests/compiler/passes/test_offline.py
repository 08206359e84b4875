"""What an offline check takes to exist is said, and makes no object; where the kernel is known it is a mistake."""

from __future__ import annotations

import pytest

from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import Compilation, compile_script

OFFLINE = KernelView.offline()


def checked(text: str, view: KernelView = OFFLINE) -> Compilation:
    return compile_script(text, view, CompileOptions(offline=view.anything_exists))


ASSUMED = {
    "begin { $x = (struct nowhere *)0; print($x->member + 1); }": "TypeAssumed",
    "begin { let $x: nowhere_t; $x = 1; }": "TypeAssumed",
    "fn f($x: int32): union nowhere { return $x; } begin { f(1); }": "TypeAssumed",
    "begin { $x = nowhere(1, typeof(int32*)); @ = $x; }": "FunctionAssumed",
    "begin { @seen[@nowhere] = 1; if (@nowhere.member) { exit(); } }": "MapAssumed",
    '#include "nowhere.h"\nstruct mine { nowhere_t x; }; begin { print(sizeof(struct mine)); }': "HeaderAssumed",
    "kprobe:f { print(arg0.member); }": "StructAssumed",
    "begin { print(offsetof(*pid, member)); }": "StructAssumed",
}


@pytest.mark.parametrize("text", ASSUMED)
def test_assumed(text: str, small: KernelView) -> None:
    done = checked(text)
    assert done.artifact is None
    assert done.report.errors == []
    assert ASSUMED[text] in {c.code for c in done.report.warnings}
    if "@nowhere" not in text:
        assert checked(text, small).report.errors


CERTAIN = {
    "begin { (uint23)1 }": "UnknownType",  # like a type of the language
    "struct packet { int x; }; begin { (struct packets)1 }": "UnknownType",  # like one of the program's
    "begin { offsetof(struct nowhere, x) }": "UnknownType",  # a definition is needed
    "begin { (enum nowhere)1 }": "UnknownType",
    "macro name() { 1 } begin { sizeof(name) }": "UnknownType",
    "begin { prinft(1) }": "UnknownFunction",
    "begin { nowhere }": "UnknownIdentifier",
    "begin { print(@nowhere) }": "UndefinedMap",
}


@pytest.mark.parametrize("text", CERTAIN)
def test_certain(text: str) -> None:
    assert [c.code for c in checked(text).report.errors] == [CERTAIN[text]]


def test_a_map_that_nothing_assigns_is_0(small: KernelView) -> None:
    done = checked("begin { @y = @x + 1; @z[@k[1]] = 1; }", small)
    assert done.artifact is not None
    assert [c.message.split()[0] for c in done.report.warnings] == ["@x", "@k"]


def test_provider_wildcard() -> None:
    done = checked("t*point:sched:sched_switch { exit(); }")
    assert done.artifact is not None
    assert [a.text for a in done.artifact.manifest.attaches] == ["tracepoint:sched:sched_switch"]


@pytest.mark.parametrize("kind", ["test", "bench"])
def test_names_of_tests_differ(kind: str) -> None:
    assert [c.code for c in checked(f"{kind}:a {{ 1 }} {kind}:a {{ 2 }}").report.errors] == ["NameTwice"]


def test_attributes_behind_the_name() -> None:
    text = "struct S __attribute__((packed)) { char c; int x; }; test:a { return sizeof(struct S) == 5 ? 0 : 1; }"
    done = checked(text + " begin { if comptime (sizeof(struct S) != 5) { nowhere } }")
    assert done.report.errors == []
