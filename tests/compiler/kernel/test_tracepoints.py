"""The way to a tracepoint's arguments, on kernels that the tests made up: BTF and formats of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.kernel import packaged
from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.formats import FormatField, Formats, parse
from kubebpf.compiler.kernel.tracepoints import Tracepoints
from kubebpf.compiler.types.model import Array, Int, Pointer, Space, Struct
from support.btfwriter import BtfWriter, Member

COMMON = """\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""


class Kernel:
    """BTF with the types that tracepoints need, and a tracefs in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.w = BtfWriter()
        self.int = self.w.integer("int", 4, signed=True)
        self.long = self.w.integer("unsigned long", 8)
        self.u32 = self.w.typedef("u32", self.w.integer("unsigned int", 4))
        self.char = self.w.integer("char", 1)
        self.data = self.w.pointer(0)
        self.entry = self.w.struct("trace_entry", 8)

    def record(self, name: str, members: list[Member], size: int) -> int:
        head: list[Member] = [("ent", self.entry, 0)]
        return self.w.struct(f"trace_event_raw_{name}", size, [*head, *members, ("__data", self.w.array(self.char, 0), size * 8)])

    def event(self, name: str, params: list[int]) -> None:
        proto = self.w.prototype(0, [("", t) for t in (self.data, *params)])
        self.w.typedef(f"btf_trace_{name}", self.w.pointer(proto))

    def fill(self, name: str, params: list[int]) -> None:
        """The function that fills the record of a class."""
        named = [(f"p{i}", t) for i, t in enumerate((self.data, *params))]
        self.w.function(f"trace_event_raw_event_{name}", 0, named)

    def format(self, category: str, event: str, fields: list[str]) -> None:
        path = self.root / "events" / category / event
        path.mkdir(parents=True)
        path.joinpath("format").write_text(f"name: {event}\nID: 1\nformat:\n{COMMON}" + "\n".join(fields) + "\n\nprint fmt: x\n")

    def tracepoints(self, formats: bool = True) -> Tracepoints:
        return Tracepoints(Btf.parse(self.w.build()), Formats(self.root) if formats else None)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def line(declaration: str, offset: int, size: int, signed: int = 0) -> str:
    return f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};"


def test_a_format_is_read_without_its_common_fields() -> None:
    text = COMMON + line("char comm[16]", 8, 16) + "\n" + line("int x", 24, 4, 1) + '\n\nprint fmt: "field:int y; offset:0"'
    assert parse(text) == (FormatField("char comm[16]", 8, 16, False), FormatField("int x", 24, 4, True))


def test_names_come_from_the_directories_of_a_copy(kernel: Kernel) -> None:
    for category, event in (("sched", "wake"), ("ftrace", "function"), ("block", "issue")):
        kernel.format(category, event, [])
    formats = Formats(kernel.root)
    assert formats.names == (("block", "issue"), ("sched", "wake"))
    assert Formats(kernel.root / "events").names == formats.names
    assert formats.read("sched", "wake") == ()
    for category, event in (("sched", "sleep"), ("..", "events"), ("sched", "../block/issue"), ("ftrace", "function")):
        assert formats.read(category, event) is None


def test_no_tracefs_is_no_formats(tmp_path: Path) -> None:
    assert Formats.find((tmp_path / "nothing", tmp_path)) is None


def test_an_event_of_its_own_class(kernel: Kernel) -> None:
    kernel.record("wake", [("cpu", kernel.int, 64), ("__data_loc_name", kernel.u32, 96)], 16)
    kernel.format("sched", "wake", [line("int cpu", 8, 4, 1), line("__data_loc char[] name", 12, 4)])
    args = kernel.tracepoints().args("sched", "wake")
    assert args and args.struct and args.struct.name == "trace_event_raw_wake"
    cpu, name = args.fields
    assert (cpu.type, cpu.struct, cpu.member, cpu.index, cpu.data_loc) == (Int(32, True), args.struct, "cpu", None, False)
    assert (name.name, name.member, name.data_loc, name.relative, name.size) == ("name", "__data_loc_name", True, False, 4)
    assert isinstance(name.type, Pointer) and (name.type.target, name.type.space) == (Int(8, False), Space.KERNEL)
    assert args.field("cpu") == cpu
    assert args.field("nothing") is None


def test_places_that_count_from_the_field(kernel: Kernel) -> None:
    kernel.record("wake", [("__rel_loc_mask", kernel.u32, 64)], 12)
    kernel.format("sched", "wake", [line("__rel_loc unsigned long[] mask", 8, 4)])
    args = kernel.tracepoints().args("sched", "wake")
    mask = args.field("mask") if args else None
    assert mask and (mask.member, mask.data_loc, mask.relative) == ("__rel_loc_mask", True, True)
    assert mask.type == Pointer(Int(64, False))


def test_the_class_is_the_one_whose_members_are_the_format(kernel: Kernel) -> None:
    """Three classes take the same arguments; only one has the fields."""
    for name, members in (
        ("rq_start", [("a", kernel.int, 64)]),
        ("rq", [("a", kernel.int, 64), ("b", kernel.int, 96)]),
        ("other", [("a", kernel.int, 96), ("b", kernel.int, 64)]),
    ):
        kernel.record(name, list(members), 16)
        kernel.fill(name, [kernel.int])
    kernel.event("rq_start_late", [kernel.int])
    kernel.format("block", "rq_start_late", [line("int a", 8, 4, 1), line("int b", 12, 4, 1)])
    args = kernel.tracepoints().args("block", "rq_start_late")
    assert args and args.struct and args.struct.name == "trace_event_raw_rq"


def test_a_class_with_other_arguments_is_never_taken(kernel: Kernel) -> None:
    kernel.record("stranger", [("a", kernel.int, 64)], 12)
    kernel.fill("stranger", [kernel.long])
    kernel.event("mine", [kernel.int])
    kernel.format("x", "mine", [line("int a", 8, 4, 1)])
    args = kernel.tracepoints().args("x", "mine")
    assert args and args.struct is None
    (field,) = args.fields
    assert (field.struct, field.member, field.offset, field.size, field.type) == (None, "", 8, 4, Int(32, True))


def test_typedefs_do_not_part_an_event_from_its_class(kernel: Kernel) -> None:
    kernel.record("range", [("a", kernel.int, 64)], 12)
    kernel.fill("range", [kernel.w.const(kernel.int)])
    kernel.event("range_of_days", [kernel.w.typedef("days_t", kernel.int)])
    kernel.format("x", "range_of_days", [line("int a", 8, 4, 1)])
    for formats in (True, False):
        args = kernel.tracepoints(formats).args("x", "range_of_days")
        assert args and args.struct and args.struct.name == "trace_event_raw_range"


def test_a_struct_that_is_laid_out_otherwise_is_left_alone(kernel: Kernel) -> None:
    """BTF of another build than the tracefs: the format is right about this kernel."""
    kernel.record("wake", [("cpu", kernel.int, 96)], 16)
    kernel.format("sched", "wake", [line("int cpu", 8, 4, 1)])
    args = kernel.tracepoints().args("sched", "wake")
    assert args and args.struct is None and args.fields[0].offset == 8


def test_without_formats_one_class_of_that_prototype_is_enough(kernel: Kernel) -> None:
    kernel.record("solo", [("a", kernel.int, 64), ("__data_loc_s", kernel.u32, 96)], 16)
    kernel.fill("solo", [kernel.int])
    kernel.event("zz_any_event", [kernel.int])
    args = kernel.tracepoints(False).args("anything", "zz_any_event")
    assert args and args.known and [(f.name, f.declared) for f in args.fields] == [("a", "int a"), ("s", "__data_loc char[] s")]


def test_without_formats_two_classes_of_that_prototype_are_not_guessed_between(kernel: Kernel) -> None:
    for name in ("zz_one", "zz_two"):
        kernel.record(name, [("a", kernel.int, 64)], 12)
        kernel.fill(name, [kernel.int])
    kernel.event("zz_one_event", [kernel.int])
    args = kernel.tracepoints(False).args("anything", "zz_one_event")
    assert args and not args.known and args.fields == ()


def test_without_formats_the_table_tells_two_classes_apart(kernel: Kernel) -> None:
    assert packaged.class_of("block", "block_rq_issue") == "block_rq"
    for name in ("block_rq", "block_bio"):
        kernel.record(name, [("a", kernel.int, 64)], 12)
        kernel.fill(name, [kernel.int])
    kernel.event("block_rq_issue", [kernel.int])
    args = kernel.tracepoints(False).args("block", "block_rq_issue")
    assert args and args.struct and args.struct.name == "trace_event_raw_block_rq"
    assert kernel.tracepoints(False).args("sched", "block_rq_issue") is None


def test_without_formats_an_unknown_event_does_not_exist(kernel: Kernel) -> None:
    assert kernel.tracepoints(False).args("sched", "nonsense") is None


def enter(kernel: Kernel) -> None:
    array = kernel.w.array(kernel.long, 6)
    kernel.record("sys_enter", [("id", kernel.w.integer("long", 8, signed=True), 64), ("args", array, 128)], 64)
    kernel.event("sys_enter", [kernel.long])
    kernel.w.struct("sigaction", 32)


@pytest.mark.parametrize("formats", [True, False])
def test_system_calls_have_slots_of_an_array(kernel: Kernel, formats: bool) -> None:
    enter(kernel)
    fields = ["int __syscall_nr", "int sig", "const struct sigaction * act", "struct sigaction * oact", "size_t sigsetsize"]
    places = [(8, 4), (16, 8), (24, 8), (32, 8), (40, 8)]
    kernel.format("syscalls", "sys_enter_rt_sigaction", [line(d, o, s) for d, (o, s) in zip(fields, places, strict=True)])
    args = kernel.tracepoints(formats).args("syscalls", "sys_enter_rt_sigaction")
    assert args and args.struct and args.struct.name == "trace_event_raw_sys_enter"
    assert [(f.name, f.member, f.index, f.offset, f.size) for f in args.fields] == [
        ("__syscall_nr", "id", None, 8, 4), ("sig", "args", 0, 16, 4), ("act", "args", 1, 24, 8),
        ("oact", "args", 2, 32, 8), ("sigsetsize", "args", 3, 40, 8),
    ]  # fmt: skip
    act = args.fields[2].type
    assert isinstance(act, Pointer) and isinstance(act.target, Struct)
    assert (act.target.name, act.target.size, act.space) == ("sigaction", 32, Space.USER)


def test_system_calls_on_a_kernel_without_btf_of_them(kernel: Kernel) -> None:
    kernel.format("syscalls", "sys_enter_zz", [line("int __syscall_nr", 8, 4, 1), line("struct no_such * p", 16, 8)])
    kernel.format("syscalls", "sys_exit_zz", [line("int __syscall_nr", 8, 4, 1), line("long ret", 16, 8, 1)])
    entry, leave = (kernel.tracepoints().args("syscalls", f"sys_{way}_zz") for way in ("enter", "exit"))
    assert entry and leave and (entry.struct, leave.struct) == (None, None)
    pointer = entry.fields[1]
    assert (pointer.struct, pointer.member, pointer.index, pointer.offset, str(pointer.type)) == (None, "", None, 16, "void*")
    assert [(f.name, f.offset, f.type) for f in leave.fields] == [("__syscall_nr", 8, Int(32, True)), ("ret", 16, Int(64, True))]


def test_system_calls_need_their_tracepoint(kernel: Kernel) -> None:
    assert kernel.tracepoints(False).args("syscalls", "sys_enter_read") is None
    enter(kernel)
    assert kernel.tracepoints(False).args("syscalls", "sys_enter_read")
    assert kernel.tracepoints(False).args("syscalls", "sys_enter_nonsense") is None
    assert kernel.tracepoints(False).args("syscalls", "nonsense") is None


def test_types_that_btf_does_not_know_are_integers_of_their_size(kernel: Kernel) -> None:
    kernel.format("x", "y", [line("xlog_tid_t tid", 8, 4), line("blob_t blob", 12, 12), line("enum gone e", 24, 4, 1)])
    args = kernel.tracepoints().args("x", "y")
    assert args and [f.type for f in args.fields] == [Int(32, False), Array(Int(8, False), 12), Int(32, True)]
