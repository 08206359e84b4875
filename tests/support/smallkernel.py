"""A kernel of a few types and tracepoints, the same on every machine: what diagnostics say about it can be written down.

view = small_kernel(tmp_path)
view.struct("task_struct"), view.tracepoint("sched", "sched_switch"), view.rawtracepoint("sched_switch")
"""

from __future__ import annotations

from pathlib import Path

from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.formats import Formats
from kubebpf.compiler.kernel.view import KernelView
from support.btfwriter import BtfWriter

_COMMON = """\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""
_FIELDS = {
    "sched/sched_switch": """
\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
""",
    "sched/sched_wakeup": """
\tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;
""",
    "syscalls/sys_enter_read": """
\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;

\tfield:unsigned int fd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:char * buf;\toffset:24;\tsize:8;\tsigned:0;
\tfield:size_t count;\toffset:32;\tsize:8;\tsigned:0;
""",
    "syscalls/sys_exit_read": """
\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;

\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;
""",
    "irq/softirq_entry": """
\tfield:unsigned int vec;\toffset:8;\tsize:4;\tsigned:0;
""",
}


def small_kernel(folder: Path) -> KernelView:
    """The view; its tracepoint formats are written into `folder`."""
    for number, (name, fields) in enumerate(_FIELDS.items(), 300):
        place = folder / "events" / name
        place.mkdir(parents=True, exist_ok=True)
        text = f'name: {place.name}\nID: {number}\nformat:\n{_COMMON}{fields}\nprint fmt: ""\n'
        (place / "format").write_text(text)
    return KernelView(Btf.parse(_types()), Formats(folder / "events"))


def _types() -> bytes:
    b = BtfWriter()
    number = b.integer("int", 4, signed=True)
    char = b.integer("char", 1, signed=True)
    long = b.integer("long", 8, signed=True)
    wide = b.integer("unsigned long long", 8)
    unsigned = b.integer("unsigned int", 4)
    comm = b.array(char, 16, number)
    numbers = b.array(number, 4, number)
    void_pointer = b.pointer(0)
    b.typedef("pid_t", number)
    b.typedef("u64", wide)
    entity = b.struct("sched_entity", 16, [("weight", wide, 0), ("vruntime", wide, 64)])
    user = b.pointer(b.tag("user", char))
    inner = b.struct("", 8, [("first", number, 0), ("second", number, 32)], union=False)
    task = b.next + 1  # the pointer below comes first
    parent = b.pointer(task)
    b.struct(
        "task_struct",
        128,
        [
            ("pid", number, 0, 0),
            ("tgid", number, 32, 0),
            ("comm", comm, 64, 0),
            ("real_parent", parent, 192, 0),
            ("group_leader", parent, 256, 0),
            ("se", entity, 320, 0),
            ("in_execve", unsigned, 448, 1),
            ("level", unsigned, 449, 3),
            ("stack", void_pointer, 512, 0),
            ("numbers", numbers, 576, 0),
            ("", inner, 704, 0),
            ("where", user, 768, 0),
        ],
    )
    b.enum("color", {"RED": 0, "GREEN": 1, "BLUE": 7})
    b.struct("trace_event_raw_sys_enter", 64, [("ent", wide, 0), ("id", long, 64), ("args", b.array(wide, 6, number), 128)])
    b.struct("trace_event_raw_sys_exit", 24, [("ent", wide, 0), ("id", long, 64), ("ret", long, 128)])
    b.typedef("btf_trace_sched_switch", b.pointer(b.prototype(0, [("", void_pointer), ("", parent), ("", number)])))
    b.function("__traceiter_sched_switch", number, [("__data", void_pointer), ("prev", parent), ("state", number)])
    b.typedef("btf_trace_sys_enter", b.pointer(b.prototype(0, [("", void_pointer), ("", long)])))
    b.function("__traceiter_sys_enter", number, [("__data", void_pointer), ("id", long)])
    return b.build()
