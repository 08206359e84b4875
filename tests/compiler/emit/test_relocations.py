"""Every access to a kernel struct is a CO-RE relocation, and only to what the program names."""

from __future__ import annotations

import pytest

from support.core import Relocation, relocations
from support.programs import compiled, kernel

pytestmark = pytest.mark.kernel  # needs this machine's BTF


def fields(text: str, kind: str = "byte_off") -> set[tuple[str, ...]]:
    return {(r.type, *r.path) for r in relocations(compiled(text).elf) if r.kind == kind}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("begin { print(curtask.tgid) }", {("task_struct", "tgid")}),
        ("begin { print(curtask.real_parent.tgid) }", {("task_struct", "real_parent"), ("task_struct", "tgid")}),
        ("begin { print(curtask.se.vruntime) }", {("task_struct", "se", "vruntime")}),
        ("begin { print(curtask.nsproxy.uts_ns.name.sysname) }",
         {("task_struct", "nsproxy"), ("nsproxy", "uts_ns"), ("uts_namespace", "name", "sysname")}),
        ("begin { print(curtask.comm); print(curtask.comm[0]) }", {("task_struct", "comm")}),
        ("begin { print(ppid); print(pcomm) }",
         {("task_struct", "real_parent"), ("task_struct", "tgid"), ("task_struct", "group_leader"), ("task_struct", "comm")}),
        ("begin { print(((struct task_struct *)0).pid) }", {("task_struct", "pid")}),
        ("tracepoint:syscalls:sys_enter_read { print(args.count) }", {("trace_event_raw_sys_enter", "args", "2")}),
        ("tracepoint:syscalls:sys_exit_read { print(args.ret) }", {("trace_event_raw_sys_exit", "ret")}),
        ("tracepoint:sched:sched_process_exec { print(str(args.filename)) }",
         {("trace_event_raw_sched_process_exec", "__data_loc_filename")}),
        ("rawtracepoint:sched_switch { print(args.prev.pid) }", {("task_struct", "pid")}),
        ("begin { print(1); @[comm] = count(); }", set()),
    ],
)  # fmt: skip
def test_fields(text: str, expected: set[tuple[str, ...]]) -> None:
    assert fields(text) == expected


def test_offsets_and_sizes() -> None:
    text = (
        "begin { print(offsetof(struct task_struct, se.vruntime)); print(sizeof(struct task_struct)); "
        "print(sizeof(struct file)); }"
    )
    found = relocations(compiled(text).elf)
    assert {r.type for r in found if r.kind == "type_size"} == {"task_struct", "file"}
    assert {(r.type, *r.path) for r in found if r.kind == "byte_off"} == {("task_struct", "se"), ("sched_entity", "vruntime")}


def test_bitfields_ask_for_their_bytes_and_shifts() -> None:
    found = [r for r in relocations(compiled("begin { print(curtask.in_execve) }").elf) if r.path == ("in_execve",)]
    assert {r.kind for r in found} == {"byte_off", "byte_sz", "lshift", "rshift"}


def test_every_program_of_an_object_has_its_own() -> None:
    text = " ".join(f"tracepoint:syscalls:sys_enter_{call} {{ @{call} = curtask.tgid; }}" for call in ("read", "write", "close"))
    assert relocations(compiled(text).elf) == [Relocation("task_struct", ("tgid",), "byte_off")] * 3


def test_anonymous_members_are_passed_through() -> None:
    struct = kernel().struct("mm_struct")
    assert struct is not None
    ((start, *path),) = fields("begin { print(curtask.mm.pgd) }") - {("task_struct", "mm")}
    assert start == "mm_struct"
    assert path[-1] == "pgd"
