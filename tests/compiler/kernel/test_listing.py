"""What `kubebpf list` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.btf_raw import Kind
from kubebpf.compiler.kernel.formats import Formats
from kubebpf.compiler.kernel.listing import lines
from kubebpf.compiler.kernel.spelling import declare
from kubebpf.compiler.kernel.view import KernelView
from support.btfwriter import BtfWriter


@pytest.fixture
def view(tmp_path: Path) -> KernelView:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    size, data = w.typedef("size_t", w.integer("unsigned long", 8)), w.pointer(0)
    text = w.pointer(w.const(w.integer("char", 1)))
    w.function("vfs_read", size, [("buf", text), ("n", size)])
    w.function("vfs_sync", 0)
    w.typedef("btf_trace_tick", w.pointer(w.prototype(0, [("", data), ("", number)])))
    w.function("__probestub_tick", 0, [("__data", data), ("cpu", number)])
    task = w.struct("task", 8, [("", w.struct("", 4, [("a", number, 0), ("b", number, 0)], union=True), 0), ("f", number, 32, 3)])
    pointer = w.struct("", 8, [("task", w.pointer(task), 0)], union=True)
    w.struct("bpf_iter__task", 8, [("", pointer, 0)])
    w.enum("mode", {"OFF": 0, "ON": 1})
    format_ = tmp_path / "events" / "sched" / "wake" / "format"
    format_.parent.mkdir(parents=True)
    format_.write_text("format:\n\tfield:int cpu;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:char comm[4];\toffset:12;\tsize:4;\n")
    return KernelView(Btf.parse(w.build()), Formats(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("tracepoint:sched:wake", ["tracepoint:sched:wake"]),
        ("t:*:w*", ["tracepoint:sched:wake"]),
        ("t", ["tracepoint:sched:wake"]),
        ("T:wake", ["tracepoint:sched:wake"]),
        ("tracepoint:sched:sleep", []),
        ("rt:*", ["rawtracepoint:tick"]),
        ("f:vfs_*", ["fentry:vmlinux:vfs_read", "fentry:vmlinux:vfs_sync"]),
        ("f:vmlinux:*read", ["fentry:vmlinux:vfs_read"]),
        ("*:*vfs_read", ["kprobe:vfs_read", "kretprobe:vfs_read", "fentry:vmlinux:vfs_read", "fexit:vmlinux:vfs_read"]),
        ("*vfs_sync", ["kprobe:vfs_sync", "kretprobe:vfs_sync", "fentry:vmlinux:vfs_sync", "fexit:vmlinux:vfs_sync"]),
        ("software:cs", ["software:cs:"]),
        ("s:cpu-*", ["software:cpu-clock:", "software:cpu-migrations:"]),
        ("h:cycles:", ["hardware:cycles:"]),
        ("interval", ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]),
        ("p:hz", ["profile:hz:"]),
        ("begin", ["begin"]),
        ("it", ["iter:task"]),
        ("struct ta*", ["struct task"]),
        ("nonsense", []),
        ("nonsense:*", []),
    ],
)
def test_patterns(view: KernelView, pattern: str, expected: list[str]) -> None:
    assert list(lines(view, pattern)) == expected


def test_everything(view: KernelView) -> None:
    found = list(lines(view))
    providers = "begin end self interval profile software hardware tracepoint rawtracepoint iter kprobe kretprobe fentry fexit"
    assert " ".join(dict.fromkeys(line.partition(":")[0] for line in found)) == providers
    assert list(lines(view, "*")) == found


@pytest.mark.parametrize(
    ("pattern", "arguments"),
    [
        ("tracepoint:sched:wake", ["int cpu", "char comm[4]"]),
        ("rawtracepoint:tick", ["int cpu"]),
        ("fentry:vfs_read", ["const char * buf", "size_t n"]),
        ("fexit:vfs_read", ["const char * buf", "size_t n", "size_t retval"]),
        ("fexit:vfs_sync", []),
        ("iter:task", ["struct task* task"]),
    ],
)
def test_arguments(view: KernelView, pattern: str, arguments: list[str]) -> None:
    assert list(lines(view, pattern, verbose=True))[1:] == ["    " + argument for argument in arguments]


def test_types(view: KernelView) -> None:
    assert list(lines(view, "struct task", verbose=True)) == [
        "struct task {", "    union {", "        int a;", "        int b;", "    };", "    int f:3;", "};",
    ]  # fmt: skip
    assert list(lines(view, "enum mode", verbose=True)) == ["enum mode {", "    OFF = 0,", "    ON = 1,", "};"]


def test_only_functions_that_ftrace_knows_are_listed(view: KernelView, tmp_path: Path) -> None:
    (tmp_path / "available_filter_functions").write_text("vfs_sync\nother [module]\n")
    assert list(lines(view, "fentry:*")) == ["fentry:vmlinux:vfs_sync"]
    assert list(lines(view, "k:*")) == ["kprobe:other", "kprobe:vfs_sync"]


def test_declarations() -> None:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    cases = {
        w.pointer(w.pointer(number)): "int * * x",
        w.const(w.pointer(number)): "int * const x",
        w.pointer(w.const(number)): "const int * x",
        w.array(w.pointer(number), 3): "int * x[3]",
        w.pointer(w.array(number, 3)): "int (* x)[3]",
        w.pointer(w.prototype(0, [("a", number), ("", w.pointer(number))])): "void (* x)(int a, int *)",
        w.prototype(w.pointer(0), [("a", number), ("", 0)]): "void * x(int a, ...)",
        w.pointer(w.forward("later", union=True)): "union later * x",
        w.pointer(w.tag("user", w.volatile(number))): "volatile int * x",
        w.enum("mode", {}): "enum mode x",
    }
    raw = Btf.parse(w.build()).raw
    assert {number: declare(raw, number, "x") for number in cases} == cases
    assert declare(raw, 0) == "void"
    assert raw.kind(1) is Kind.INT
