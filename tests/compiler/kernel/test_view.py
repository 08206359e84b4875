"""The view of a kernel: modules, wildcards, suggestions, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.kernel import perf
from kubebpf.compiler.kernel.btf import Btf, BtfError
from kubebpf.compiler.kernel.view import KernelView, closest, matching
from kubebpf.compiler.types.model import Int, Struct
from support.btfwriter import BtfWriter


@pytest.fixture
def view(tmp_path: Path) -> KernelView:
    """vmlinux and the modules ext4 and nfs, in files."""
    base = BtfWriter()
    number = base.integer("int", 4, signed=True)
    data = base.pointer(0)
    base.forward("inode_private")
    base.function("vfs_read", number, [("fd", number)])
    base.typedef("btf_trace_tick", base.pointer(base.prototype(0, [("", data), ("", number)])))
    base.function("__traceiter_tick", number, [("__data", data), ("cpu", number)])
    ext4 = BtfWriter(base)
    ext4.struct("inode_private", 16, [("a", number, 0)])
    ext4.function("ext4_read", number, [("n", number)])
    ext4.function("common", number)
    ext4.typedef("btf_trace_ext4_sync", ext4.pointer(ext4.prototype(0, [("", data), ("", number)])))
    nfs = BtfWriter(base)
    nfs.enum("nfs_stat", {"NFS_OK": 0, "NFS_STALE": 70})
    nfs.function("common", number, [("x", number)])
    for name, writer in (("vmlinux", base), ("ext4", ext4), ("nfs", nfs)):
        (tmp_path / name).write_bytes(writer.build())
    modules = {name: tmp_path / name for name in ("ext4", "nfs")}
    return KernelView(Btf.read(tmp_path / "vmlinux"), modules=modules)


def test_modules_add_to_vmlinux(view: KernelView) -> None:
    struct = view.struct("inode_private")
    assert struct and (struct.size, [f.name for f in struct.fields]) == (16, ["a"])
    found = view.enum_constant("NFS_STALE")
    assert found and found[1] == 70
    assert view.typedef("int") == Int(32, True)
    assert view.modules == ("vmlinux", "ext4", "nfs")


def test_functions_are_found_by_module(view: KernelView) -> None:
    assert view.module_of("vfs_read") == "vmlinux"
    assert view.module_of("ext4_read") == "ext4"
    assert view.module_of("nothing") == ""
    first, second = view.function("common"), view.function("common", "nfs")
    assert first and second and (first.params, second.params) == ((), (("x", Int(32, True)),))
    assert view.function("ext4_read", "vmlinux") is None
    assert view.function("vfs_read", "no_such_module") is None
    assert ("ext4", "ext4_read") in view.functions()
    assert [f for m, f in view.functions("nfs")] == ["common"]


def test_modules_are_opened_only_when_asked_for(view: KernelView) -> None:
    view._modules["broken"] = Path("/nothing/at/all")
    assert view.function("vfs_read") and view.typedef("int")
    with pytest.raises(BtfError, match="cannot read"):
        view.function("nothing")


def test_raw_tracepoints_take_their_names_from_a_function(view: KernelView) -> None:
    tick, sync = view.rawtracepoint("tick"), view.rawtracepoint("ext4_sync")
    assert tick and tick.params == (("cpu", Int(32, True)),)
    assert sync and sync.params == (("arg0", Int(32, True)),)
    assert view.rawtracepoint("nothing") is None
    assert list(view.raw_tracepoints()) == ["tick", "ext4_sync"]


def test_wildcards(view: KernelView) -> None:
    assert list(view.match("fentry", "*_read")) == ["vmlinux:vfs_read", "ext4:ext4_read"]
    assert list(view.match("fentry", "ext?:*")) == []
    assert list(view.match("fentry", "ext[5-9]:*")) == []
    assert list(view.match("fentry", "ext[456]:*")) == ["ext4:ext4_read", "ext4:common"]
    assert list(view.match("rawtracepoint", "t*")) == ["tick"]
    assert list(view.match("software", "c[ps]u*")) == ["cpu", "cpu-clock", "cpu-migrations"]
    assert list(view.match("nonsense", "*")) == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.c", ["a.c"]), ("a*c", ["abc", "a.c", "ac"]), ("a**c", ["abc", "a.c", "ac"]), ("a[.b]c", ["abc", "a.c"]),
        ("a[!b]c", ["a.c"]), ("[", ["["]), ("[]", []),
        ("a[!.]c", ["abc"]), ("a[z-a]c", []), ("a?c", []), ("a[?b]c", ["abc"]), ("*", ["abc", "a.c", "ac", "["]),
    ],
)  # fmt: skip
def test_everything_but_stars_and_brackets_is_literal(pattern: str, names: list[str]) -> None:
    assert list(matching(["abc", "a.c", "ac", "["], pattern)) == names


def test_suggestions() -> None:
    names = ["vfs_read", "vfs_readv", "vfs_write", "task_struct", "tcp_sendmsg"]
    assert closest("vfs_reed", names)[0] == "vfs_read"
    assert closest("tsak_struct", names) == ["task_struct"]
    assert closest("quite_something_else", names) == []
    assert closest("vfs_rea", names, limit=1) == ["vfs_read"]


def test_offline_anything_exists_and_nothing_is_known_of_it(tmp_path: Path) -> None:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    w.function("known", number, [("a", number)])
    path = tmp_path / "btf"
    path.write_bytes(w.build())
    view = KernelView.offline(path)
    known, made_up = view.function("known"), view.function("made_up")
    assert known and known.known and known.params
    assert made_up and not made_up.known
    assert (raw := view.rawtracepoint("made_up")) and not raw.known
    assert (args := view.tracepoint("made", "up")) and not args.known
    assert view.has_tracepoint("made", "up")
    assert view.struct("made_up") is None
    assert view.digest != KernelView.from_file(path).digest


def test_offline_with_a_named_file_needs_it(tmp_path: Path) -> None:
    with pytest.raises(BtfError):
        KernelView.offline(tmp_path / "nothing")


def test_a_saved_kernel(tmp_path: Path) -> None:
    path = tmp_path / "btf"
    path.write_bytes(BtfWriter().build())
    format_ = tmp_path / "copy" / "events" / "x" / "y" / "format"
    format_.parent.mkdir(parents=True)
    format_.write_text("name: y\nformat:\n\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n")
    view = KernelView.from_file(path, tmp_path / "copy")
    assert list(view.tracepoints()) == [("x", "y")]
    args = view.tracepoint("x", "y")
    assert args and [f.name for f in args.fields] == ["a"]
    assert view.tracepoint("x", "z") is None
    before = view.digest
    format_.write_text(format_.read_text().replace("int a", "int b"))
    assert KernelView.from_file(path, tmp_path / "copy").digest != before
    with pytest.raises(BtfError, match="no directory"):
        KernelView.from_file(path, tmp_path / "nothing")


def test_anonymous_structs_are_named_by_their_typedef(tmp_path: Path) -> None:
    w = BtfWriter()
    w.typedef("kuid_t", w.struct("", 4, [("val", w.integer("int", 4), 0)]))
    path = tmp_path / "btf"
    path.write_bytes(w.build())
    view = KernelView.from_file(path)
    struct = view.typedef("kuid_t")
    assert isinstance(struct, Struct) and (struct.name, view.alias(struct)) == ("", "kuid_t")


def test_perf_events() -> None:
    for name, config, count in (("cpu", 0, 1_000_000), ("faults", 2, 100), ("cs", 3, 1000), ("task-clock", 1, 1)):
        event = perf.find(perf.SOFTWARE, name)
        assert event and (event.config, event.count) == (config, count)
    for name, config, count in (("cycles", 0, 1_000_000), ("branches", 4, 100_000), ("bus-cycles", 6, 100_000)):
        event = perf.find(perf.HARDWARE, name)
        assert event and (event.config, event.count) == (config, count)
    assert perf.find(perf.SOFTWARE, "") is None
    assert perf.find(perf.HARDWARE, "cs") is None
    for table in (perf.SOFTWARE, perf.HARDWARE):
        assert sorted(e.config for e in table) == list(range(len(table)))
