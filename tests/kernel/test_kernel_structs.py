"""Fields of kernel structs through CO-RE, against what /proc says of the same task."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.values import Value
from support.programs import kernel, pair, result, run, running

pytestmark = pytest.mark.kernel
PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


def value(expression: str) -> Value:
    (found,) = run(f"begin {{ print({expression}); }}").printed
    return found


def test_the_task_and_its_family() -> None:
    found = value("(curtask.pid, curtask.tgid, curtask.comm, curtask.real_parent.tgid, curtask.group_leader.pid, curtask->tgid)")
    name = Path("/proc/self/comm").read_text().strip()
    assert found == pair(os.getpid(), os.getpid(), name, os.getppid(), os.getpid(), os.getpid())


def test_members_of_members() -> None:
    assert value("curtask.cred.uid.val") == os.getuid()
    assert value("curtask.nsproxy.uts_ns.name.sysname") == os.uname().sysname
    assert value("str(curtask.nsproxy.uts_ns.name.nodename)") == os.uname().nodename
    assert value("curtask.nsproxy.uts_ns.name.nodename == curtask.nsproxy.uts_ns.name.nodename") is True


def test_anonymous_members() -> None:
    """task_struct.thread_info and `struct page` have them; mm_struct's fields stand in an anonymous struct."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    total = value("curtask.mm.total_vm")
    assert isinstance(total, int)
    assert abs(total - pages) < max(pages, 1000)  # the test process maps and unmaps meanwhile


def test_bitfields() -> None:
    bits = "(curtask.sched_reset_on_fork, curtask.signal.is_child_subreaper, curtask.in_execve)"
    libc = ctypes.CDLL(None, use_errno=True)
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    assert value(bits) == pair(0, 0, 0)
    try:
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameter)
        assert value(bits) == pair(1, 0, 0)
        assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        assert value(bits) == pair(1, 1, 0)
    finally:
        os.sched_setscheduler(0, policy, parameter)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize("nice", [1, 7])
def test_signed_and_unsigned_members(nice: int) -> None:
    """static_prio is 120 + nice; a child is asked by its pid through rawtracepoint's argument."""
    text = 'rawtracepoint:sched_process_exit /args.p.comm == "true"/ { print((args.p.static_prio, args.p.exit_code)); }'
    with running(text) as session:
        subprocess.run(["nice", "-n", str(nice), "true"], check=True)
    assert pair(120 + os.nice(0) + nice, 0) in result(session).printed


def test_arrays() -> None:
    assert value("curtask.comm[0]") == ord(Path("/proc/self/comm").read_text()[0])
    found = run("begin { $c = curtask.comm; print($c[1]); $i = 1; print(curtask.comm[$i]); print($c == comm); }").printed
    second = ord(Path("/proc/self/comm").read_text()[1])
    assert found == [second, second, True]


def test_pointers_are_read_by_index_and_star() -> None:
    found = run(
        "begin { $t = curtask; print(($t + 0).pid); print($t[0].pid); print((*$t).pid); "
        "$o = (uint64)$t + offsetof(struct task_struct, pid); print(*(int32 *)$o); }"
    )
    assert found.printed == [os.getpid()] * 4


def test_a_null_pointer_reads_zero() -> None:
    found = run(
        "begin { $t = (struct task_struct *)0; print($t.pid); print($t.comm); print($t.real_parent.tgid); print($t.real_parent) }"
    ).printed
    assert found[:3] == [0, "", 0]


def test_sizes_and_offsets_are_the_kernel_s() -> None:
    struct = kernel().struct("task_struct")
    assert struct is not None
    offsets = {f.name: f.offset for f in struct.fields}
    found = run(
        "begin { print(sizeof(struct task_struct)); print(offsetof(struct task_struct, pid)); "
        "print(offsetof(struct task_struct, se.vruntime)); print(sizeof(curtask.comm)); }"
    )
    entity = kernel().struct("sched_entity")
    assert entity is not None
    vruntime = next(f.offset for f in entity.fields if f.name == "vruntime")
    assert found.printed == [struct.size, offsets["pid"], offsets["se"] + vruntime, 16]


def test_enums() -> None:
    found = run(
        "begin { $e = PIDTYPE_TGID; print($e); print((uint64)$e); print($e == PIDTYPE_TGID); print($e == 0); @[$e] = 1; }"
    )
    assert [str(v) for v in found.printed[1:]] == ["1", "True", "False"]
    assert found.printed[0] == next(iter(found.maps["@"]))


def test_a_kernel_struct_in_a_predicate_and_a_key() -> None:
    assert run("begin /curtask.tgid == pid/ { @[curtask.comm, curtask.tgid] = count(); }").maps["@"].keys() == {
        pair(Path("/proc/self/comm").read_text().strip(), os.getpid())
    }
