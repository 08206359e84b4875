"""This machine's BTF and tracefs, checked against libbpf and against the offsets that the formats print."""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebpf.compiler.kernel import packaged
from kubebpf.compiler.kernel.btf import Btf, BtfError
from kubebpf.compiler.kernel.btf_raw import Kind
from kubebpf.compiler.kernel.ctype import parse
from kubebpf.compiler.kernel.formats import Formats
from kubebpf.compiler.kernel.tracepoints import TracepointField, Tracepoints
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.types.model import Array, Int, Pointer, Space, Struct, sizeof

pytestmark = pytest.mark.kernel
VMLINUX = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="module")
def view() -> KernelView:
    return KernelView.running()


@pytest.fixture(scope="module")
def formats(view: KernelView) -> Formats:
    assert view.formats
    return view.formats


class LibBpf:
    """libbpf's own reader of BTF."""

    def __init__(self) -> None:
        lib = ctypes.CDLL("libbpf.so.1")
        lib.btf__parse.restype = ctypes.c_void_p
        lib.btf__parse.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        for name, arguments in {
            "btf__type_cnt": [ctypes.c_void_p],
            "btf__resolve_size": [ctypes.c_void_p, ctypes.c_uint32],
            "btf__find_by_name_kind": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32],
        }.items():
            getattr(lib, name).argtypes = arguments
        lib.btf__resolve_size.restype = ctypes.c_int64
        self.lib, self.handle = lib, lib.btf__parse(str(VMLINUX).encode(), None)
        assert self.handle

    def count(self) -> int:
        return int(self.lib.btf__type_cnt(self.handle))

    def size(self, number: int) -> int:
        return int(self.lib.btf__resolve_size(self.handle, number))

    def find(self, name: str, kind: Kind) -> int:
        return int(self.lib.btf__find_by_name_kind(self.handle, name.encode(), int(kind)))


@pytest.fixture(scope="module")
def libbpf() -> LibBpf:
    return LibBpf()


def test_opening_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    btf = Btf.read(VMLINUX)
    opened = time.perf_counter()
    assert btf.struct("task_struct")
    with capsys.disabled():
        print(f"\n  BTF of {btf.raw.end - 1} types: opened in {(opened - start) * 1000:.0f} ms, ", end="")
        print(f"the first struct in another {(time.perf_counter() - opened) * 1000:.1f} ms")


def test_libbpf_counts_the_same_types(view: KernelView, libbpf: LibBpf) -> None:
    assert view.btf.raw.end == libbpf.count()


def test_libbpf_finds_the_same_numbers(view: KernelView, libbpf: LibBpf) -> None:
    raw = view.btf.raw
    for kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.TYPEDEF, Kind.FUNC, Kind.INT):
        names = list(raw.names(kind))
        for name in names[:: max(1, len(names) // 25)]:
            assert raw.find(name, (kind,)) == libbpf.find(name, kind), (kind, name)
        assert libbpf.find("no_such_name", kind) < 0
        assert raw.find("no_such_name", (kind,)) is None


def test_libbpf_gives_the_same_sizes(view: KernelView, libbpf: LibBpf) -> None:
    wrong, compared = [], 0
    for number in range(1, view.btf.raw.end):
        size = libbpf.size(number)
        if size < 0:
            continue
        try:
            ours = sizeof(view.btf.type(number))
        except BtfError:
            assert view.btf.raw.kind(number) in (Kind.VAR, Kind.DATASEC)
            continue
        compared += 1
        if ours != size:
            wrong.append((number, view.btf.raw.name(number), ours, size))
    assert compared > 20_000
    assert wrong == []


def test_members_of_every_struct_lie_inside_it(view: KernelView) -> None:
    for kind in (Kind.STRUCT, Kind.UNION):
        for number in view.btf.raw.numbers(kind):
            struct = view.btf.type(number)
            assert isinstance(struct, Struct)
            for field in struct.fields:
                bits = field.bit_size or sizeof(field.type) * 8
                assert field.bit_offset + bits <= struct.size * 8, (struct, field)


def ways(view: KernelView, formats: Formats) -> Iterator[tuple[str, str, list[TracepointField]]]:
    for category, event in formats.names:
        args = view.tracepoint(category, event)
        assert args and args.known
        yield category, event, list(args.fields)


def test_every_field_is_where_the_format_says(view: KernelView, formats: Formats) -> None:
    """The offset of the BTF member that a program would read is compared with the offset that the kernel prints."""
    for category, event, fields in ways(view, formats):
        expected = formats.read(category, event)
        assert expected is not None
        assert [f.name for f in fields] == [parse(e.declaration).name for e in expected]
        for field, line in zip(fields, expected, strict=True):
            assert field.offset == line.offset, (category, event, field)
            assert field.size <= line.size if category == "syscalls" else field.size == line.size, (category, event, field)
            if field.struct:
                member = next(f for f in field.struct.fields if f.name == field.member)
                assert member.offset + 8 * (field.index or 0) == line.offset, (category, event, field)


def test_tracepoints_have_a_btf_struct(view: KernelView, formats: Formats, capsys: pytest.CaptureFixture[str]) -> None:
    without = [(c, e) for c, e in formats.names if not (args := view.tracepoint(c, e)) or not args.struct]
    with capsys.disabled():
        print(
            f"\n  {len(formats.names) - len(without)} of {len(formats.names)} tracepoints have a BTF struct; without: {without}"
        )
    assert len(without) * 100 <= len(formats.names)


def test_btf_alone_finds_the_same_struct(view: KernelView, formats: Formats) -> None:
    bare = KernelView(view.btf)
    for category, event in formats.names:
        ours, other = view.tracepoint(category, event), bare.tracepoint(category, event)
        assert ours and other
        if ours.struct and other.struct:
            assert ours.struct == other.struct
            assert [(f.name, f.member, f.index, f.offset) for f in ours.fields] == [
                (f.name, f.member, f.index, f.offset) for f in other.fields
            ]


def test_prototypes_alone_never_lead_to_a_wrong_class(
    view: KernelView, formats: Formats, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a kernel gets whose tracepoints the package's table does not have."""
    monkeypatch.setattr(packaged, "class_of", lambda category, event: "")
    monkeypatch.setattr(packaged, "category_of", lambda event: ())
    bare, full, result = Tracepoints(view.btf, None), Tracepoints(view.btf, formats), Counter[str]()
    for category, event in formats.names:
        if category == "syscalls":
            continue
        ours, other = full.args(category, event), bare.args(category, event)
        assert ours and other
        result["unknown" if not other.known else "same" if other.struct == ours.struct else "wrong"] += 1
    with capsys.disabled():
        print(f"\n  without formats and without the table: {dict(result)}")
    assert result["wrong"] == 0
    assert result["same"] > 3 * result["unknown"]


def test_the_packaged_system_calls_are_those_of_the_formats(formats: Formats) -> None:
    """Only of those that both know: another kernel has others."""
    compared = 0
    for name in packaged.syscalls():
        fields = formats.read("syscalls", f"sys_enter_{name}")
        if fields is not None:
            compared += 1
            assert [parse(d).name for d in packaged.syscall(name) or ()] == [parse(f.declaration).name for f in fields[1:]]
    assert compared > 250


def test_system_calls_point_into_user_memory(view: KernelView) -> None:
    read, capget = view.tracepoint("syscalls", "sys_enter_read"), view.tracepoint("syscalls", "sys_enter_capget")
    execve, nanosleep = view.tracepoint("syscalls", "sys_enter_execve"), view.tracepoint("syscalls", "sys_enter_nanosleep")
    assert read and capget and execve and nanosleep
    fd, buf = read.field("fd"), read.field("buf")
    assert fd and (fd.type, fd.index, fd.size, fd.member) == (Int(32, False), 0, 4, "args")
    assert buf and isinstance(buf.type, Pointer) and (buf.type.space, buf.index, buf.declared) == (Space.USER, 1, "char * buf")
    header = capget.field("header")  # a typedef of a pointer
    assert header and isinstance(header.type, Pointer) and header.type.space is Space.USER
    argv = execve.field("argv")
    assert argv and isinstance(argv.type, Pointer) and isinstance(argv.type.target, Pointer)
    assert argv.type.target.space is Space.USER
    rqtp = nanosleep.field("rqtp")
    assert rqtp and isinstance(rqtp.type, Pointer) and isinstance(rqtp.type.target, Struct)
    assert [f.name for f in rqtp.type.target.fields] == ["tv_sec", "tv_nsec"]


def test_dynamic_arrays_are_marked(view: KernelView) -> None:
    args = view.tracepoint("irq", "irq_handler_entry")
    name = args.field("name") if args else None
    assert name and (name.data_loc, name.relative, name.size, name.member) == (True, False, 4, "__data_loc_name")
    assert isinstance(name.type, Pointer) and name.type.target == Int(8, False)


def test_text_is_told_from_bytes(view: KernelView) -> None:
    args = view.tracepoint("sched", "sched_switch")
    comm = args.field("prev_comm") if args else None
    assert comm and isinstance(comm.type, Array) and isinstance(comm.type.element, Int)
    assert (comm.type.length, comm.type.element.role) == (16, "char")
    address = view.tracepoint("sock", "inet_sock_set_state")
    saddr = address.field("saddr") if address else None
    assert saddr and isinstance(saddr.type, Array) and isinstance(saddr.type.element, Int)
    assert (saddr.type.length, saddr.type.element.role) == (4, "")


def test_raw_tracepoints_have_named_arguments(view: KernelView) -> None:
    switch = view.rawtracepoint("sched_switch")
    assert switch
    assert [name for name, _ in switch.params][:3] == ["preempt", "prev", "next"]
    _, prev = switch.params[1]
    assert isinstance(prev, Pointer) and prev.target == view.struct("task_struct")
    assert view.rawtracepoint("sched_switch", "vmlinux") == switch
    assert view.rawtracepoint("sched_switch", "no_such_module") is None
    events = list(view.raw_tracepoints())
    assert len(events) == len(set(events)) > 500
    functions = {event: view.rawtracepoint(event) for event in events}
    nameless = [e for e, f in functions.items() if not f or (f.params and f.params[0][0] == "arg0")]
    assert nameless == []


def test_names_of_this_kernel(view: KernelView) -> None:
    assert view.typedef("pid_t") == Int(32, True)
    assert view.typedef("unsigned int") == Int(32, False)
    found = view.enum_constant("TCP_CLOSE")
    assert found and found[1] == 7
    function = view.function("vfs_read")
    assert function and [name for name, _ in function.params] == ["file", "buf", "count", "pos"]
    assert view.module_of("vfs_read") == "vmlinux"
    assert view.function("vfs_reed") is None
    assert view.has_tracepoint("sched", "sched_switch")
    assert not view.has_tracepoint("sched", "sched_swtich")
    assert not view.has_tracepoint("..", "sched")


def test_the_digest_is_of_the_kernel(view: KernelView) -> None:
    assert view.digest == KernelView.running().digest
    assert view.digest != KernelView(view.btf).digest
    assert view.digest != KernelView.offline().digest
