"""The registry of builtins: complete, and every record is checked and emitted."""

from __future__ import annotations

import pytest

from kubebpf.compiler.builtins.registry import BUILTINS, MODULES
from kubebpf.compiler.kernel.view import KernelView
from support.programs import checked, codes, compiled

NAMES = ("pid", "tid", "uid", "gid", "comm", "cpu", "cgroup", "nsecs", "elapsed", "rand", "curtask", "ppid", "pcomm", "ncpus",
         "numaid",
         "jiffies", "probe", "probetype")  # fmt: skip
CALLS = {
    "str": "print(str(0))", "printf": 'printf("%d", 1)', "print": "print(1)", "clear": "clear(@m)", "zero": "zero(@m)",
    "delete": "delete(@k, 1)", "exit": "exit()", "has_key": "print(has_key(@k, 1))", "len": "print(len(@k))",
    "cgroup_path": "print(cgroup_path(1))", "strftime": 'print(strftime("%Y", 1))', "time": "time()", "errorf": 'errorf("x")',
    "warnf": 'warnf("x")', "cat": 'cat("/dev/null")', "join": "join(0)", "unwatch": "unwatch(0)", "system": 'system("true")',
    **{f: f"@a = {f}()" for f in ("count",)},
    **{f: f"@a = {f}(1)" for f in ("sum", "min", "max", "avg", "stats", "hist")},
    "lhist": "@a = lhist(1, 0, 10, 1)", "tseries": "@a = tseries(1, 1s, 10)",
}  # fmt: skip
BY_PROBE = {"arg0", "retval", "args"}  # have tests with the probes that offer them
SETUP = "@m = 1; @k[1] = 1;"


def test_names_are_unique() -> None:
    names = [b.name for module in MODULES for b in module.ALL]
    assert len(names) == len(set(names)) == len(BUILTINS)


def test_all_of_them_are_there() -> None:
    assert set(NAMES) | set(CALLS) | BY_PROBE <= set(BUILTINS)


@pytest.mark.parametrize("name", NAMES)
def test_bare_names_and_calls_are_the_same(name: str, small: KernelView) -> None:
    types = {str(checked(f"begin {{ @ = {spelling}; }}", small).program.maps[0].value) for spelling in (name, f"{name}()")}  # type: ignore[union-attr]
    assert len(types) == 1


@pytest.mark.parametrize("name", NAMES)
def test_upstream_s_spelling_of_builtins(name: str, small: KernelView) -> None:
    assert codes(f"begin {{ print(__builtin_{name}); }}", small) == []


@pytest.mark.parametrize("text", [f"print({n})" for n in NAMES] + list(CALLS.values()))
def test_all_of_them_compile(text: str, small: KernelView) -> None:
    artifact = compiled(f"begin {{ {SETUP} {text}; }}", small, unsafe=True)
    assert artifact.manifest.attaches


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"exit", "time"}))
def test_what_needs_arguments_says_so(name: str, small: KernelView) -> None:
    if name == "count":
        assert codes("begin { @ = count(1); }", small) == ["WrongArgumentCount"]
        return
    text = f"begin {{ @ = {name}(); }}" if BUILTINS[name].aggregate else f"begin {{ {name}(); }}"
    assert codes(text, small) == ["WrongArgumentCount"]


def test_unsafe_helpers_are_named_in_the_manifest(small: KernelView) -> None:
    assert compiled('begin { system("true"); }', small, unsafe=True).manifest.unsafe == ("system",)
    assert codes('begin { system("true"); }', small) == ["UnsafeNotAllowed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("str(0, 0)", 1), ("str(0, 1)", 1), ("str(0, 5)", 5), ("str(0, 100000)", 1024), ("str(0, pid)", 1024),
        ('str("abc")', 4), ('str("abcdef", 3)', 3),
        ("str(comm)", 16), ("str(comm, 4)", 4), ("str(curtask.comm)", 16), ("str($1)", 1024),
    ],
)  # fmt: skip
def test_capacity_of_str(text: str, expected: int, small: KernelView) -> None:
    program = checked(f"begin {{ @ = {text}; }}", small).program
    assert program is not None
    assert str(program.maps[0].value) == f"string[{expected}]"


def test_max_strlen_decides_the_capacity(small: KernelView) -> None:
    program = checked("config = { max_strlen = 64 } begin { @ = str(0); }", small).program
    assert program is not None
    assert str(program.maps[0].value) == "string[64]"


def test_names_are_not_taken_for_variables_or_types(small: KernelView) -> None:
    assert codes("begin { print(sizeof(pid)); print(sizeof(comm)); print(sizeof(uint8)); }", small) == []
