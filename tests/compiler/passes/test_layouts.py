"""What of a kernel's layout an object says that it counts on: all that is not relocated, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.artifact.layouts import Layout, Part
from kubebpf.compiler.artifact.manifest import Manifest
from support.programs import checked, compiled
from support.smallkernel import small_kernel

Shown = dict[str, tuple[int | None, list[tuple[str, int | None, int | None]]]]
ENTITY: tuple[int | None, list[tuple[str, int | None, int | None]]] = (16, [("weight", 0, 64), ("vruntime", 64, 64)])
TASK = "struct task_struct"


def found(program: str, folder: Path) -> Shown:
    """Sort and name -> size in bytes, and (member, place, size) of the parts, in bits."""
    result = checked(program, small_kernel(folder))
    assert result.program is not None, [str(complaint) for complaint in result.report]
    return {
        f"{layout.sort} {layout.name}".strip(): (layout.size, [(part.name, part.at, part.size) for part in layout.parts])
        for layout in result.program.layouts
    }


CASES: dict[str, tuple[str, Shown]] = {
    "nothing": ("begin { print(1); }", {}),
    "a number: found by name, so many bytes are read": ("begin { print(curtask.pid); }", {TASK: (None, [("pid", None, 32)])}),
    "a string": ("begin { print(curtask.comm); }", {TASK: (None, [("comm", None, 128)])}),
    "pointers have one size everywhere": (
        "begin { print(curtask.real_parent.tgid); }",
        {TASK: (None, [("tgid", None, 32), ("real_parent", None, None)])},
    ),
    "all about a bitfield is relocated": ("begin { print(curtask.level); }", {TASK: (None, [("level", None, None)])}),
    "of a struct in a struct only what is read": (
        "begin { print(curtask.se.vruntime); }",
        {"struct sched_entity": (None, [("vruntime", None, 64)])},
    ),
    "members of an unnamed struct are its owner's": ("begin { print(curtask.second); }", {TASK: (None, [("second", None, 32)])}),
    "an element: that there is one": ("begin { print(curtask.numbers[1]); }", {TASK: (None, [("numbers[1]", None, 32)])}),
    "any element: how long the array is": (
        "begin { $i = 2; print(curtask.numbers[$i]); }",
        {TASK: (None, [("numbers", None, 128)])},
    ),
    "printed whole": ("begin { print(curtask.se); }", {"struct sched_entity": ENTITY, TASK: (None, [("se", None, 128)])}),
    "copied whole": ("begin { @ = *(struct sched_entity *)0; }", {"struct sched_entity": ENTITY}),
    "in a tuple": ("begin { $x = (1, *(struct sched_entity *)0); print($x.1.weight); }", {"struct sched_entity": ENTITY}),
    "the distance of elements is relocated": (
        "begin { $p = (struct sched_entity *)0; print($p[2].weight); print($p + 1); }",
        {"struct sched_entity": (None, [("weight", None, 64)])},
    ),
    "but not that of a step": ("begin { $p = (struct sched_entity *)0; $p++; }", {"struct sched_entity": (16, [])}),
    "a size that is not": (
        "begin { print(sizeof(curtask.comm)); print(sizeof(*curtask)); }",
        {TASK: (None, [("comm", None, 128)])},
    ),
    "sizes are relocated, if there is the struct": ("begin { print(sizeof(struct task_struct)); }", {TASK: (None, [])}),
    "so are places": (
        "begin { print(offsetof(struct task_struct, se.weight)); }",
        {TASK: (None, [("se", None, None)]), "struct sched_entity": (None, [("weight", None, None)])},
    ),
    "a constant": (
        "begin { print(curtask.pid == BLUE); }",
        {"enum color": (None, [("BLUE", 7, None)]), TASK: (None, [("pid", None, 32)])},
    ),
    "names that are printed": (
        "begin { print((enum color)1); }",
        {"names color": (None, [("RED", 0, None), ("GREEN", 1, None), ("BLUE", 7, None)])},
    ),
    "an argument of a raw tracepoint": (
        "rawtracepoint:sched_switch { print(args.state); }",
        {"rawtracepoint sched_switch": (None, [("state", 1, None)])},
    ),
    "a tracepoint that BTF does not know": (
        "tracepoint:sched:sched_switch { print(args.prev_pid); }",
        {"tracepoint sched:sched_switch": (None, [("prev_pid", 192, 32)])},
    ),
    "a system call": (
        "tracepoint:syscalls:sys_enter_read { print(args.fd); }",
        {"struct trace_event_raw_sys_enter": (None, [("args", None, 384)])},
    ),
    "the program's own": (
        "struct sched_entity { int a; } enum color { RED = 3 } begin { print(*(struct sched_entity *)0); print(RED); }",
        {},
    ),
    "in a function": (
        "fn f($t: struct task_struct *): int32 { return $t.pid; } begin { print(f(curtask)); }",
        {TASK: (None, [("pid", None, 32)])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layouts(name: str, tmp_path: Path) -> None:
    program, expected = CASES[name]
    assert found(program, tmp_path) == expected


def test_which_probes_count_on_it(tmp_path: Path) -> None:
    program = "begin { print(curtask.pid); } end { print(curtask.tgid); print(curtask.se); } interval:1s { print(1); }"
    result = checked(program, small_kernel(tmp_path)).program
    assert result is not None
    assert {layout.name: layout.probes for layout in result.layouts} == {"task_struct": (0, 1), "sched_entity": (1,)}


def test_in_the_manifest(tmp_path: Path) -> None:
    manifest = compiled("begin { print(curtask.pid); }", small_kernel(tmp_path)).manifest
    assert manifest.layouts == (Layout("struct", "task_struct", None, (Part("pid", None, 32),), (0,)),)
    assert Manifest.from_json(manifest.to_json()) == manifest
    # Objects of before have none, and such that need none are the same bytes as before.
    assert "layouts" not in compiled("begin { print(1); }", small_kernel(tmp_path)).manifest.to_json()
