"""Programs that are compiled for this machine's kernel and run on another's: written here, read there.

write_objects(folder)          before the virtual machine starts
objects(folder)["copied"]      inside
"""

from __future__ import annotations

from pathlib import Path

from kubebpf.compiler.artifact.artifact import Artifact
from support.programs import compiled

PROGRAMS = {
    "task": "begin { print((curtask.pid, curtask.comm, curtask.real_parent.tgid)); }",
    "way": "begin { print(str(curtask.nsproxy.uts_ns.name.release)); }",
    "sizes": "begin { print((sizeof(struct task_struct), offsetof(struct task_struct, comm))); }",
    "tracepoint": "tracepoint:syscalls:sys_enter_getppid { @ = count(); } tracepoint:sched:sched_switch { @p = args.next_pid; }",
    "raw": "rawtracepoint:sched_switch { @[args.prev.pid] = count(); }",
    "entry": "fentry:vfs_read { @[args.count] = count(); }",
    "kprobe": "kprobe:vfs_read { @ = count(); }",
    "small": "begin { print(*curtask.nsproxy); }",
    "large": "begin { @ = *curtask.mm; }",
    "signals": "begin { print(*curtask.signal); }",
}


def write_objects(folder: Path) -> None:
    """Compile all of them for the running kernel."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        (folder / f"{name}.o").write_bytes(compiled(program).elf)


def objects(folder: Path) -> dict[str, Artifact]:
    """All of them."""
    return {path.stem: Artifact.read(path.read_bytes()) for path in sorted(folder.glob("*.o"))}
