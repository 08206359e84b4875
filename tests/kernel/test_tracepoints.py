"""tracepoint and rawtracepoint: arguments by name, their types and their data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.cells import Count
from support.programs import pair, result, running
from support.workload import Workload

pytestmark = pytest.mark.kernel


def test_arguments_of_system_calls() -> None:
    work = Workload.start("--reads", "17,4096,0", "--times", 2)
    text = f"""
        tracepoint:syscalls:sys_enter_read /pid == {work.pid}/ {{ @asked[args.count] = count(); @fd[args.fd] = count(); }}
        tracepoint:syscalls:sys_exit_read /pid == {work.pid}/ {{ @got[args.ret] = count(); @sum = sum(args.ret); }}"""
    with running(text) as session:
        work.go()
    ran = result(session)
    assert ran.maps["@asked"] == ran.maps["@got"] == {17: Count(2), 4096: Count(2), 0: Count(2)}
    assert list(ran.maps["@fd"].values()) == [Count(6)]


def test_negative_results_and_their_types() -> None:
    script = "import os; [os.path.exists('/nonexistent-kubebpf') for _ in range(3)]"
    text = """
        tracepoint:syscalls:sys_enter_newfstatat { @path[tid] = str(args.filename); }
        tracepoint:syscalls:sys_exit_newfstatat /@path[tid] == "/nonexistent-kubebpf"/ {
            @[args.ret, args.ret < 0] = count(); delete(@path, tid);
        }"""
    with running(text) as session:
        subprocess.run([sys.executable, "-c", script], check=True)
    assert result(session).maps["@"] == {pair(-2, True): Count(3)}


def test_strings_of_system_calls(tmp_path: Path) -> None:
    path = tmp_path / "a file with a telling name"
    path.write_text("x")
    text = f"tracepoint:syscalls:sys_enter_openat /pid == {os.getpid()}/ {{ @[str(args.filename), args.dfd] = count(); }}"
    with running(text) as session:
        for _ in range(4):
            path.read_text()
    assert result(session).maps["@"][pair(str(path), -100)] == Count(4)


def test_arrays_of_char_are_strings() -> None:
    """sched_process_exit's comm is a char array in the record, or a __data_loc string, by the kernel's version."""
    with running(
        'tracepoint:sched:sched_process_exit /pid == tid/ { @[args.comm == "true", args.pid == pid] = count(); print(args.pid); }'
    ) as session:
        process = subprocess.run(["true"], check=True)
    assert process.returncode == 0
    maps = result(session).maps["@"]
    assert maps[pair(True, True)] == Count(1)


def test_data_loc_strings() -> None:
    with running("tracepoint:sched:sched_process_exec { @[str(args.filename), args.pid == pid] = count(); }") as session:
        for _ in range(2):
            subprocess.run(["/bin/true"], check=True)
    assert result(session).maps["@"][pair("/bin/true", True)] == Count(2)


def test_several_attach_points_have_their_own_arguments() -> None:
    work = Workload.start("--reads", "64", "--getppid", 5)
    text = f"""tracepoint:syscalls:sys_enter_read,tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{
        @[probe] = count(); @nr[args.__syscall_nr] = count();
    }}"""
    with running(text) as session:
        work.go()
    ran = result(session)
    assert ran.maps["@"] == {"tracepoint:syscalls:sys_enter_read": Count(1), "tracepoint:syscalls:sys_enter_getppid": Count(5)}
    assert ran.maps["@nr"] == {0: Count(1), 110: Count(5)}  # x86_64


def test_signals() -> None:
    text = "tracepoint:signal:signal_generate /args.sig == 10/ { @[args.sig, args.pid, str(args.comm)] = count(); }"
    done = []
    before = signal.signal(signal.SIGUSR1, lambda *_: done.append(1))
    try:
        with running(text) as session:
            os.kill(os.getpid(), signal.SIGUSR1)
        name = Path("/proc/self/comm").read_text().strip()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert result(session).maps["@"] == {pair(10, os.getpid(), name): Count(1)}


def test_raw_tracepoints_know_the_types_of_their_arguments() -> None:
    text = f"""rawtracepoint:sys_enter /pid == {os.getpid()} && args.id == 110/ {{ @[args.id, arg1] = count();
        @same[args.regs.orig_ax] = count(); }}
        rawtracepoint:sched_process_exit /args.p.pid == args.p.tgid/ {{ @exit[args.p.comm, args.p.real_parent.pid] = count();
        }}"""
    with running(text) as session:
        for _ in range(6):
            os.getppid()
        subprocess.run(["/bin/true"], check=True)
    ran = result(session)
    assert ran.maps["@"] == {pair(110, 110): Count(6)}
    assert ran.maps["@same"] == {110: Count(6)}
    assert ran.maps["@exit"][pair("true", os.getpid())] == Count(1)


def test_raw_tracepoints_of_a_module_by_name() -> None:
    with running(
        f"rawtracepoint:vmlinux:sys_exit /pid == {os.getpid()} && args.ret == {os.getppid()}/ {{ @ = count(); }}"
    ) as session:
        for _ in range(3):
            os.getppid()
    assert result(session).maps["@"] == {None: Count(3)}


def test_wildcards() -> None:
    work = Workload.start("--getppid", 7)
    with running(
        f"tracepoint:syscalls:sys_*_getppid,tracepoint:syscalls:sys_enter_getpp[ijk]d /pid == {work.pid}/ {{ @ = count(); }}"
    ) as session:
        work.go()
    assert result(session).maps["@"] == {None: Count(21)}
