"""uprobes at places of all kinds: C++ names, binaries without symbols, lines, offsets, many functions by one link, symbols."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubebpf.agent.session.errors import AttachError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.values import Value
from support.programs import compiled, pair, result, running
from support.targets import targets, view, x86

pytestmark = [pytest.mark.kernel, x86]


def printed(text: str, program: Path, **options: object) -> list[Value]:
    """What probes print while a program runs; `APP` in the text is the program."""
    with running(text.replace("APP", str(program)), **options) as session:  # type: ignore[arg-type]
        subprocess.run([program], check=True, capture_output=True)
    return result(session).printed


def test_names_of_cpp() -> None:
    text = """uprobe:APP:cpp:"ns::f(int)" { print(("int", arg0)); } uprobe:APP:cpp:"ns::f" { print(("any", (int8)arg0)); }
        uretprobe:APP:cpp:"ns::twice*" { print(("twice", retval)); } uprobe:APP:cpp:"*Object::get*" { print(("get", arg1)); }
        uprobe:APP:_ZN2ns1fEi { print(("mangled", arg0)); }"""
    ran = printed(text, targets().cpp)
    expected = [("int", 1), ("any", 1), ("any", 2), ("twice", 18), ("get", 7), ("mangled", 1)]
    assert sorted(map(str, ran)) == sorted(str(pair(*e)) for e in expected)


@pytest.mark.parametrize("name", ["linked", "mini"])
def test_symbols_of_stripped_programs_are_elsewhere(name: str) -> None:
    assert printed("uprobe:APP:places { print(arg0) }", getattr(targets(), name)) == [1]


def test_a_stripped_program_has_no_names() -> None:
    with (
        pytest.raises(AttachError, match="no function places in"),
        Session(compiled(f"uprobe:{targets().stripped}:places {{ }}")),
    ):
        pass


def test_lines() -> None:
    source = Path(__file__).parents[1] / "support/targets.c"
    number = next(i for i, line in enumerate(source.read_text().splitlines(), 1) if 'pointers("a string"' in line)
    text = f"uprobe:APP@targets.c:{number} {{ print(1) }} uprobe:APP@support/targets.c:{number}:5 {{ print(1) }}"
    assert printed(text, targets().app) == [1, 1]
    with pytest.raises(AttachError, match="no code of targets"):
        Session(compiled(f"uprobe:{targets().app}@targets.c:1 {{ }}")).__enter__()


def test_offsets_have_to_be_starts_of_instructions() -> None:
    app = targets().app
    lines = subprocess.run(
        ["objdump", "-d", "--disassemble=main", "--no-show-raw-insn", app], capture_output=True, text=True
    ).stdout
    starts = [int(line.split(":")[0], 16) for line in lines.splitlines() if line.startswith("  ") and ":" in line]
    offsets = [address - starts[0] for address in starts]
    middle = next(offset for offset in range(1, offsets[-1]) if offset not in offsets)
    assert printed(f"uprobe:APP:main+{offsets[2]} {{ print(1) }} uprobe:APP:{starts[2]:#x} {{ print(1) }}", app) == [1, 1]
    for where in (f"main+{middle}", hex(starts[0] + middle)):
        with (
            pytest.raises(AttachError, match="in the middle of an instruction"),
            Session(compiled(f"uprobe:{app}:{where} {{ }}")),
        ):
            pass
    with Session(compiled(f"uprobe:{app}:main+{middle} {{ }}"), Options(unsafe=True)) as session:
        assert session.points[0].target["address"] == starts[0] + middle
    with pytest.raises(AttachError, match="main has only"), Session(compiled(f"uprobe:{app}:main+100000 {{ }}")):
        pass


def test_many_functions_by_one_link() -> None:
    text = "uprobe:APP:[ipv]*s { @ = count(); @ip[func] = count(); } uretprobe:APP:*ints { @back = count(); }"
    app = targets().app
    with running(text.replace("APP", str(app))) as session:
        links = session.loaded.links
        assert len(links) == 2
        assert session.attached > len(links)
        subprocess.run([app], check=True, capture_output=True)
    ran = result(session)
    assert (ran.cell("@"), ran.cell("@back")) == (Count(4), Count(1))
    assert len(ran.maps["@ip"]) == 4


def test_uaddr() -> None:
    text = """uprobe:APP:ints { print((*uaddr("word"), *uaddr("tiny"))); } uretprobe:APP:ints { print(*uaddr("word")); }
        usdt:APP:places { print(*(int32 *)uaddr("table") + arg0); }
        uprobe:APP:[ip]*s { @[*uaddr("users"), *uaddr("tiny")] = count(); }"""
    assert printed(text, targets().app, view=view()) == [pair(77, 7), 77, 11, 5]
    with (
        pytest.raises(AttachError, match="no symbol nothing in"),
        Session(compiled(f'uprobe:{targets().app}:ints {{ print(uaddr("nothing")) }}')),
    ):
        pass
