"""Objects of another kernel: what is relocated runs, and what is not is refused before it is loaded, by name and number.

The other kernel is this one with its type information changed: relocations are made by it, and it is what layouts are compared
with.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.agent.cluster.live import why
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.view import KernelView
from support.btfwriter import BtfWriter
from support.doctored import Doctored
from support.programs import compiled, running

pytestmark = pytest.mark.kernel

THERE = "in the kernel that the program was compiled for"
KUBEBPF = (sys.executable, "-c", "from kubebpf.cli.main import main; main()")
Change = Callable[[Doctored], None]
SWITCH = "tracepoint:sched:sched_switch { @[args.next_pid] = count(); }"
STATE = "tracepoint:sock:inet_sock_set_state /args.newstate == TCP_CLOSE/ { @ = count(); }"

REFUSED: dict[str, tuple[str, Change, str, str]] = {
    "field": (
        "begin { print(curtask.pid); }",
        lambda d: d.rename_member("task_struct", "pid", "id"),
        "KernelFieldMissing",
        "this kernel has no field pid in struct task_struct",
    ),
    "pointer on the way": (
        "begin { print(curtask.nsproxy.uts_ns.name.sysname); }",
        lambda d: d.rename_member("nsproxy", "uts_ns", "names"),
        "KernelFieldMissing",
        "this kernel has no field uts_ns in struct nsproxy",
    ),
    "field of a struct in a struct": (
        "begin { print(curtask.nsproxy.uts_ns.name.sysname); }",
        lambda d: d.rename_member("new_utsname", "sysname", "system"),
        "KernelFieldMissing",
        "this kernel has no field sysname in struct new_utsname",
    ),
    "field of an unnamed struct": (
        "begin { print(curtask.mm.arg_start); }",
        lambda d: d.rename_everywhere("arg_start", "first_argument"),
        "KernelFieldMissing",
        "this kernel has no field arg_start in struct mm_struct",
    ),
    "bitfield": (
        "begin { print(curtask.signal.is_child_subreaper); }",
        lambda d: d.rename_member("signal_struct", "is_child_subreaper", "reaper"),
        "KernelFieldMissing",
        "this kernel has no field is_child_subreaper in struct signal_struct",
    ),
    "struct": (
        "begin { print(((struct new_utsname *)1)->sysname); }",
        lambda d: d.rename("struct", "new_utsname", "utsname"),
        "KernelFieldMissing",
        "this kernel has no struct new_utsname",
    ),
    # libbpf says 0 for the size of what is not there.
    "sizeof": (
        "begin { print(sizeof(struct new_utsname)); }",
        lambda d: d.rename("struct", "new_utsname", "utsname"),
        "KernelFieldMissing",
        "this kernel has no struct new_utsname",
    ),
    "offsetof": (
        "begin { print(offsetof(struct task_struct, pid)); }",
        lambda d: d.rename_member("task_struct", "pid", "id"),
        "KernelFieldMissing",
        "this kernel has no field pid in struct task_struct",
    ),
    "constant": (
        STATE,
        lambda d: d.rename_constant("TCP_CLOSE", "TCP_SHUT"),
        "KernelFieldMissing",
        "this kernel has no TCP_CLOSE",
    ),
    "value of a constant": (
        STATE,
        lambda d: d.renumber("TCP_CLOSE", 70),
        "KernelLayoutDiffers",
        f"TCP_CLOSE is 70 here, and 7 {THERE}",
    ),
    "field of a tracepoint": (
        SWITCH,
        lambda d: d.rename_member("trace_event_raw_sched_switch", "next_pid", "next_id"),
        "KernelFieldMissing",
        "this kernel has no field next_pid in struct trace_event_raw_sched_switch",
    ),
    "argument": (
        "rawtracepoint:sched_switch { @[args.prev.pid] = count(); }",
        lambda d: d.rename_parameter("prev", "before"),
        "KernelFieldMissing",
        "this kernel has no argument prev in event sched_switch",
    ),
    "argument of a function": (
        "fentry:vfs_read { @[args.count] = count(); }",
        lambda d: d.rename_parameter("count", "number"),
        "KernelFieldMissing",
        "this kernel has no argument count in function vfs_read",
    ),
    "record of a tracepoint": (
        SWITCH,
        lambda d: d.move("trace_event_raw_sched_switch", "next_comm", 8),
        "KernelLayoutDiffers",
        "tracepoint sched:sched_switch has another record here: next_pid is not where struct trace_event_raw_sched_switch has it",
    ),
    "size of what is read": (
        "begin { print(curtask.comm); }",
        lambda d: d.resize_array("task_struct", "comm", 32),
        "KernelLayoutDiffers",
        f"struct task_struct: comm has 32 bytes here, and 16 bytes {THERE}",
    ),
    "element": (
        "begin { print(curtask.comm[12]); }",
        lambda d: d.resize_array("task_struct", "comm", 12),
        "KernelFieldMissing",
        "this kernel has no field comm[12] in struct task_struct",
    ),
    "printed whole": (
        "begin { print(*curtask.nsproxy); }",
        lambda d: d.move("nsproxy", "mnt_ns", 8),
        "KernelLayoutDiffers",
        "struct nsproxy: mnt_ns lies at byte 32 here, and at byte 24",
    ),
    "copied whole": (
        "begin { @ = *curtask.nsproxy; }",
        lambda d: d.rename_member("nsproxy", "net_ns", "net"),
        "KernelLayoutDiffers",
        f"struct nsproxy has no net_ns here, and has it {THERE}",
    ),
    "grown": (
        "begin { $copy = *curtask.nsproxy; print($copy.count.refs.counter); }",
        lambda d: d.move("nsproxy", "cgroup_ns", 8, only_size=True),
        "KernelLayoutDiffers",
        "struct nsproxy has 80 bytes here, and 72",
    ),
    "distance of elements": (
        "begin { $p = curtask.nsproxy; $p++; print($p); }",
        lambda d: d.move("nsproxy", "cgroup_ns", 8),
        "KernelLayoutDiffers",
        "struct nsproxy has 80 bytes here, and 72",
    ),
}

# Moved or changed where nothing counts on it.
RUNS: dict[str, tuple[str, Change]] = {
    "the field of a probe that is not loaded": (
        "config = { missing_probes = ignore } begin { print(1); } tracepoint:none:such { @[curtask.pid] = count(); }",
        lambda d: d.rename_member("task_struct", "pid", "id"),
    ),
    "other fields of the struct": (
        "begin { print(curtask.nsproxy.uts_ns.name.sysname); }",
        lambda d: d.rename_member("nsproxy", "net_ns", "net"),
    ),
    "an array that is longer": ("begin { print(curtask.comm[12]); }", lambda d: d.resize_array("task_struct", "comm", 32)),
    "no struct at all": ("begin { print(1); }", lambda d: d.rename("struct", "task_struct", "task")),
    "a struct of the program's own": (
        "struct nsproxy { int a; int b; } begin { @ = *(struct nsproxy *)curtask; }",
        lambda d: d.move("nsproxy", "mnt_ns", 8),
    ),
}


@pytest.fixture(scope="module")
def here() -> Doctored:
    return Doctored.of_this_kernel()


def other(here: Doctored, change: Change, folder: Path) -> Path:
    """The type information of the other kernel."""
    changed = copy.deepcopy(here)
    change(changed)
    path = folder / "other.btf"
    path.write_bytes(changed.build())
    return path


def tried(artifact: Artifact, btf: Path) -> tuple[str, str]:
    """Reason and message, or ("", "")."""
    try:
        with Session(artifact, Options(btf=btf)) as session:
            session.start()
    except Exception as error:
        return why(error)
    return "", ""


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, here: Doctored, tmp_path: Path) -> None:
    program, change, reason, message = REFUSED[name]
    found = tried(compiled(program), other(here, change, tmp_path))
    assert found[0] == reason and found[1].startswith(message), found


@pytest.mark.parametrize("name", RUNS)
def test_runs(name: str, here: Doctored, tmp_path: Path) -> None:
    program, change = RUNS[name]
    assert tried(compiled(program), other(here, change, tmp_path)) == ("", "")


def test_an_object_of_the_other_kernel_runs_here(here: Doctored, tmp_path: Path) -> None:
    """Everything lies elsewhere there, and libbpf finds it here."""
    view = KernelView.from_file(other(here, lambda d: d.move("task_struct", "pid", 64), tmp_path))
    program = "begin { print((curtask.pid, curtask.comm, curtask.real_parent.tgid)); }"
    at_home, foreign = compiled(program), compiled(program, view)
    assert at_home.manifest.layouts == foreign.manifest.layouts
    assert tried(foreign, Path("/sys/kernel/btf/vmlinux")) == ("", "")
    whole = compiled("begin { print(*curtask.nsproxy); }", KernelView.from_file(other(here, _moved, tmp_path)))
    reason, message = tried(whole, Path("/sys/kernel/btf/vmlinux"))
    assert (reason, message.split(" (")[0]) == (
        "KernelLayoutDiffers",
        f"struct nsproxy: mnt_ns lies at byte 24 here, and at byte 32 {THERE}",
    )


def _moved(d: Doctored) -> None:
    d.move("nsproxy", "mnt_ns", 8)


def test_registers_of_another_machine() -> None:
    here = os.uname().machine
    foreign = "x86_64" if here == "aarch64" else "aarch64"
    program = "uprobe:libc:getppid { @ = count(); } uprobe:libc:getpid { @a[arg0] = count(); }"
    message = f"this machine is {here}, and the program reads registers of {foreign}"
    btf = Path("/sys/kernel/btf/vmlinux")
    assert tried(compiled(program, arch=foreign), btf) == ("KernelLayoutDiffers", message)
    # Without a register there is nothing that differs.
    assert tried(compiled("uprobe:libc:getppid { @ = count(); }", arch=foreign), btf) == ("", "")
    # The types of a kernel say which machine it is of.
    assert KernelView.from_file(btf).machine == KernelView.running().machine == here
    assert small_kernel({"regs": 0, "pstate": 64}).machine == "aarch64" and small_kernel({"epc": 0}).machine == ""


def small_kernel(registers: dict[str, int]) -> KernelView:
    """One that has nothing but the registers of a task, in a struct without a name."""
    types = BtfWriter()
    word = types.integer("long", 8)
    saved = types.struct("", 128, [(name, word, place) for name, place in registers.items()])
    types.struct("pt_regs", 128, [("", saved, 0)])
    return KernelView(Btf.parse(types.build()))


def test_what_the_node_lacks_beside_types(tmp_path: Path) -> None:
    """A tracepoint that is not there has a reason of its own; a variable of the kernel is named by its place in the text."""
    reason, message = tried(
        compiled("tracepoint:none:such { @ = count(); }", KernelView.offline()), Path("/sys/kernel/btf/vmlinux")
    )
    assert (reason, message) == ("ProbeMissing", "No matches for tracepoint none:such.")
    reason, message = tried(compiled('begin { print(kaddr("no_such_symbol")); }'), Path("/sys/kernel/btf/vmlinux"))
    assert reason == "NodeFactMissing" and "no_such_symbol" in message and message.startswith("stdin:1:")


@pytest.mark.parametrize(
    ("program", "name", "other", "message"),
    [
        ("print(comm(1));", b"bpf_task_from_pid", b"bpf_task_from_who", "this kernel has no function bpf_task_from_who"),
        (
            'print(percpu_kaddr("process_counts", 0));',
            b"process_counts",
            b"process_amount",
            "this kernel has no variable process_amount",
        ),
    ],
)
def test_a_symbol_that_is_not_there(program: str, name: bytes, other: bytes, message: str) -> None:
    elf = compiled(f"begin {{ {program} }}").elf.replace(name, other)
    assert tried(Artifact.read(elf), Path("/sys/kernel/btf/vmlinux")) == ("KernelSymbolMissing", message)


def test_an_object_of_another_kernel_in_the_local_mode(here: Doctored, tmp_path: Path) -> None:
    view = KernelView.from_file(other(here, _moved, tmp_path))
    (tmp_path / "whole.o").write_bytes(compiled("begin { print(*curtask.nsproxy); }", view).elf)
    done = subprocess.run([*KUBEBPF, "run", tmp_path / "whole.o"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and not done.stdout
    first, hint = done.stderr.splitlines()
    assert first.startswith("ERROR: struct nsproxy: mnt_ns lies at byte 24 here, and at byte 32 in the kernel that")
    assert hint == "HINT: kubebpf compile makes an object for this kernel here, or elsewhere with --btf"


def test_this_kernel_is_its_own(here: Doctored) -> None:
    with running("begin { print(*curtask.nsproxy); print(curtask.comm); }"):
        pass
