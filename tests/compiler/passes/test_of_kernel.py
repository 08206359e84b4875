"""Which refusals another kernel may take back: those about what the kernel in view has, and no others."""

from __future__ import annotations

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import check_script
from support.btfwriter import BtfWriter


@pytest.fixture(scope="module")
def view() -> KernelView:
    """A kernel with a task that has a pid, a function, a raw tracepoint, an iterator and an enum."""
    btf = BtfWriter()
    number = btf.integer("int", 4, signed=True)
    task = btf.struct("task_struct", 4, [("pid", number, 0)])
    pointer = btf.pointer(task)
    btf.enum("state", {"RUNNING": 0})
    btf.function("vfs_read", number, [("task", pointer)])
    btf.function("vfs_done", 0, [("task", pointer)])
    btf.typedef("btf_trace_switched", btf.pointer(btf.prototype(0, [("", btf.pointer(0)), ("task", pointer)])))
    btf.struct("bpf_iter__task", 8, [("task", pointer, 0)])
    return KernelView(Btf.parse(btf.build()))


def report(text: str, view: KernelView) -> Report:
    return check_script(text, view, CompileOptions(unsafe=True)).report


LACKING = (
    "begin { @ = curtask.newname }",
    "begin { @ = curtask.pid; @b = curtask.__state }",
    "begin { @ = ((struct task_struct *)0).newname }",
    "begin { @ = (struct new_thing *)0 }",
    "begin { @ = sizeof(struct new_thing) }",
    "begin { @ = sizeof(new_t) }",
    "begin { @ = offsetof(struct task_struct, newname) }",
    "begin { @ = offsetof(struct new_thing, newname) }",
    "begin { @ = NEW_STATE }",
    "begin { @ = (enum state)7 }",
    "fentry:vfs_new { @ = 1 }",
    "fentry:vfs_raed { @ = 1 }",
    "fexit:new_module:vfs_read { @ = 1 }",
    "fentry:vfs_read { @ = args.newname }",
    "fexit:vfs_done { @ = retval }",
    "fentry:vfs_n* { @ = args.task }",
    "fentry:vfs_* { @ = args.newname }",
    "rawtracepoint:renamed { @ = 1 }",
    "rawtracepoint:switched { @ = arg3 }",
    "rawtracepoint:switched { @ = args.newname }",
    "tracepoint:sched:renamed { @ = 1 }",
    "iter:new_things { @ = 1 }",
    "struct mine { struct new_thing x; }; begin { @ = sizeof(struct mine) }",
    "struct mine { new_t x; }; begin { @ = sizeof(struct mine) }",
)

WRONG = (
    "begin { @ = }",
    "begin { @ = $x }",
    "begin { @ = nosuchfunction(1) }",
    'begin { @ = 1; @ = "text" }',
    "begin { @ = curtask.pid.value }",
    "begin { $x = (a=1, b=2); @ = $x.newname }",
    "struct mine { int x; }; begin { @ = ((struct mine *)0).newname }",
    "struct mine { int x[; }; begin { @ = sizeof(struct mine) }",
    "enum own { ONE = 1 }; begin { @ = (enum own)7 }",
    "macro m() { 1 } begin { @ = sizeof(m) }",
    "nosuchprovider:x { @ = 1 }",
    "fentry: { @ = 1 }",
    "software:nosuchevent:1 { @ = 1 }",
    "uprobe:/no/such/file:main { @ = args.x }",
    "begin { @ = hist() }",
    # One mistake of its own is enough: no kernel takes it.
    "begin { @ = curtask.newname; @b = $x }",
    'fentry:vfs_new { @ = 1 } begin { @b = 1; @b = "text" }',
)


@pytest.mark.parametrize("text", LACKING)
def test_another_kernel_may_take_it(text: str, view: KernelView) -> None:
    found = report(text, view)
    assert found.errors
    assert found.of_kernel, found.errors


@pytest.mark.parametrize("text", WRONG)
def test_no_kernel_takes_it(text: str, view: KernelView) -> None:
    found = report(text, view)
    assert found.errors
    assert not found.of_kernel, found.errors


def test_a_program_that_compiles_is_not_refused_by_a_kernel(view: KernelView) -> None:
    assert not report("begin { @ = curtask.pid }", view).of_kernel
    assert not report('config = { missing_probes = "warn" } fentry:vfs_new,fentry:vfs_read { @ = 1 }', view).of_kernel
