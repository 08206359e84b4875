"""Helpers that act on processes, against processes of the test's own; names of numbers; addresses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.verifier import VerifierError
from kubebpf.agent.session.errors import FactError
from support.processes import eventually
from support.programs import result, run, running
from support.workload import Workload

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ('signal("SIGKILL")', signal.SIGKILL),
        ('signal("usr1")', signal.SIGUSR1),
        ("signal(2)", signal.SIGINT),
        ("signal($n)", signal.SIGUSR2),
        ('signal_thread({ "SIGHUP" })', signal.SIGHUP),
        ("signal_thread((uint64)14)", signal.SIGALRM),
    ],
)
def test_signal(call: str, number: int) -> None:
    work = Workload.start("--getppid", 1, "--forever")
    with (
        running(f"{GETPPID} /pid == {work.pid}/ {{ $n = rand >= 0 ? {signal.SIGUSR2} : 1; {call}; }}", unsafe=True),
        work.process,
    ):
        work.begin()
        assert work.process.wait(timeout=10) == -number


@pytest.mark.entry("write_user")
def test_write_user() -> None:
    """A pipe's write sends what the program put there instead."""
    source = "import os, sys; sys.stdin.read(1); os.write(1, b'original text')"
    with subprocess.Popen(["python3", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        text = (
            f"tracepoint:syscalls:sys_enter_write /pid == {child.pid} && args.count == 13/ "
            '{ @ok = write_user(args.buf, "changed!", 8); @bad = write_user((int8 *)8, "x", 1); }'
        )
        out = b""
        try:
            with running(text, unsafe=True):
                out, _ = child.communicate(b"\n", timeout=10)
        except VerifierError as error:
            # A locked down kernel lets no program write to processes; that of the virtual machine does.
            assert "cannot use helper bpf_probe_write_user" in str(error)
            return
        finally:
            child.kill()
    assert out == b"changed! text"


def test_signal_name_strerror_and_syscall_name() -> None:
    """Known when compiled, and looked up at run time."""
    numbers = (0, 2, 9, 64, 65, 4096, -1)
    looked_up = "".join(f"$i = {n}; $i = rand >= 0 ? $i : 1; print(signal_name($i));" for n in numbers)
    folded = "".join(f"print(signal_name({n}));" for n in numbers)
    expected = ["Unknown signal 0", "Interrupt", "Killed", "Real-time signal 30", "N/A", "N/A", "N/A"]
    assert run(f"begin {{ {looked_up} }}").printed == expected
    assert run(f"begin {{ {folded} }}").printed == expected
    text = """begin {
        $one = rand >= 0 ? 1 : 2; print(strerror($one)); print(strerror(-$one)); print(strerror($one + 12));
        print(strerror($one + 4000));
        print(strerror(2)); print(syscall_name($one)); print(syscall_name($one + 467)); print(syscall_name($one + 9999));
        print(sizeof(strerror($one))); @[syscall_name($one - 1)] = 1; print(@["read"]);
    }"""
    assert run(text).printed == [
        "Operation not permitted", "Operation not permitted", "Permission denied", "Unknown error", "No such file or directory",
        "write", "file_getattr", "Unknown syscall", 64, 1,
    ]  # fmt: skip


def test_kaddr() -> None:
    """What /proc/kallsyms says; a symbol can also be a parameter of the program."""
    lines = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    address = next(int(words[0], 16) for words in lines if words[2] == "vfs_read")
    if not address:
        pytest.skip("kernel addresses are hidden from this process")
    assert run('begin { print(kaddr("vfs_read")); print(kaddr(str($1))); }', "vfs_read").printed == [address, address]
    with pytest.raises(FactError, match="no_such_symbol_at_all"):
        run('begin { print(kaddr("no_such_symbol_at_all")); }')


def test_percpu_kaddr() -> None:
    """The run queue of each CPU has the CPU's number; there is none for a CPU that cannot be."""
    if not _has_data_symbols():
        # A kernel without CONFIG_KALLSYMS_ALL does not tell the addresses of variables; that of the virtual machine does.
        with pytest.raises(VerifierError, match="runqueues"):
            run('begin { print(percpu_kaddr("runqueues", 0)); }')
        return
    # A CPU on which more processes end than begin counts below zero.
    text = """begin {
        $first = (struct rq *)percpu_kaddr("runqueues", 0); print($first.cpu); print(percpu_kaddr("runqueues", 100000) == 0);
        $own = (struct rq *)percpu_kaddr("runqueues"); print($own.cpu == cpu);
        print((int64)*percpu_kaddr("process_counts") < 1000000);
    }"""
    assert run(text).printed == [0, True, True, True]


def _has_data_symbols() -> bool:
    return " runqueues\n" in Path("/proc/kallsyms").read_text()


def test_container_of() -> None:
    text = """begin {
        $node = curtask.tasks.next; $task = container_of($node, typeof(struct task_struct), tasks);
        print(container_of($task.tasks.prev, typeof(struct task_struct), tasks) == curtask.group_leader);
    }"""
    assert run(text).printed == [True]


def test_kptr_and_uptr() -> None:
    """Marked as the kernel's, a process's path cannot be read; marked as the process's, it can."""
    text = (
        f"tracepoint:syscalls:sys_enter_openat /pid == {os.getpid()} && args.flags == {os.O_PATH | os.O_CLOEXEC}/ "
        "{ $p = (uint64)args.filename; print(str(uptr((int8 *)$p))); print(str(kptr((int8 *)$p))); print(str(uptr($p))); }"
    )
    with running(text) as session, contextlib.suppress(FileNotFoundError):
        os.open("/nowhere/at all", os.O_PATH)
    assert result(session).printed == ["/nowhere/at all", "", "/nowhere/at all"]


def test_debugf() -> None:
    """The kernel's own trace has the line."""
    trace = next((p for p in (Path("/sys/kernel/tracing/trace"), Path("/sys/kernel/debug/tracing/trace")) if p.exists()), None)
    mark = f"mark {os.getpid()}"

    def printed() -> str:
        run(f'begin {{ debugf("{mark} %d %s", 5, comm); }}')
        said = trace.read_text() if trace else ""
        assert "bpf_trace_printk" in said, said
        return said

    try:
        # The kernel empties its trace when a kprobe of another test goes.
        said = eventually(printed, timeout=5, every=0.5)
    except AssertionError:
        if os.environ.get("KUBEBPF_IN_VM") == "1":
            raise
        pytest.skip("the trace of this kernel cannot be read")
    assert re.search(rf"bpf_trace_printk: {mark} 5 \S+", said)
