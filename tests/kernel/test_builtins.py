"""Builtins: each against what the machine says of the same thing by another way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kubebpf.agent.session.facts import cgroup_id
from kubebpf.compiler.artifact.cells import Count, Last
from kubebpf.compiler.artifact.values import Cgroup, Text, Value
from support.cgroups import cgroup2_mount
from support.programs import pair, result, run, running
from support.workload import Workload

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


def once(expression: str, *options: str | int) -> tuple[Workload, Value]:
    """The value of an expression in a process that makes one call, and that process."""
    work = Workload.start("--getppid", 1, "--comm", "known name", *options)
    with running(f"{GETPPID} /pid == {work.pid}/ {{ print({expression}); }}") as session:
        work.go()
    (value,) = result(session).printed
    return work, value


def test_who() -> None:
    work, value = once("(pid, tid, comm, uid, gid, pid(init), tid(init), ppid, pcomm)")
    parent = os.getpid()
    assert value == pair(work.pid, work.pid, "known name", os.getuid(), os.getgid(), work.pid, work.pid, parent, "known name")


def test_user_and_group() -> None:
    work = Workload.start("--getppid", 1)
    text = f"{GETPPID} /pid == {work.pid}/ {{ print((uid, gid)); }}"
    with running(text) as session:
        work.go()
    status = Path("/proc/self/status").read_text().split()
    assert result(session).printed == [pair(int(status[status.index("Uid:") + 1]), int(status[status.index("Gid:") + 1]))]


def test_cgroup_and_its_path() -> None:
    work = Workload.start("--getppid", 1)
    where = next(line for line in Path(f"/proc/{work.pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    expected = cgroup_id(str(cgroup2_mount() / where.removeprefix("0::/")))
    text = (
        f"{GETPPID} /pid == {work.pid}/ {{ print(cgroup); print(cgroup_path(cgroup)); "
        f'print(cgroup_path(cgroup, "unif*")); @[cgroup] = count(); }}'
    )
    with running(text) as session:
        work.go()
    ran = result(session)
    assert session.manifest.strings == ("", "unif*")
    assert ran.printed[0] == Cgroup(expected)
    assert ran.maps["@"] == {Cgroup(expected): Count(1)}
    for value in ran.printed[1:]:
        assert isinstance(value, Text | Cgroup)
        assert str(expected) in str(value)


def test_cpu_is_where_it_runs() -> None:
    before = os.sched_getaffinity(0)
    try:
        for cpu in before:
            os.sched_setaffinity(0, {cpu})
            assert run("begin { print(cpu) }").printed == [cpu]
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("mode", "clock"),
    [
        ("", time.CLOCK_BOOTTIME),
        ("(boot)", time.CLOCK_BOOTTIME),
        ("(monotonic)", time.CLOCK_MONOTONIC),
        ("(tai)", time.CLOCK_TAI),
        ("(sw_tai)", time.CLOCK_TAI),
    ],
)
def test_nsecs(mode: str, clock: int) -> None:
    with running(f"begin {{ print(nsecs{mode}) }}") as session:
        after = time.clock_gettime_ns(clock)
    (value,) = result(session).printed
    assert isinstance(value, int)
    assert after - 10**9 < value <= after


def test_elapsed_counts_from_the_load() -> None:
    ran = run("begin { @start = elapsed; } end { print(elapsed - @start); print((uint64)@start); }")
    between, start = ran.printed
    assert isinstance(between, int) and isinstance(start, int)
    assert 0 < between < 10**9
    assert 0 < start < 10**10


def test_rand_spreads_over_32_bits() -> None:
    values = run("begin { unroll(40) { print(rand); } }").printed
    numbers = [v for v in values if isinstance(v, int)]
    assert len(set(numbers)) == len(values) > 30
    assert all(0 <= n < 1 << 32 for n in numbers)
    assert max(numbers) > 1 << 28


def test_places_of_the_machine() -> None:
    ran = run("begin { print(ncpus); print(numaid); print(jiffies > 0); print(probe); print(probetype); }")
    nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1
    assert ran.printed[:1] + ran.printed[2:] == [os.cpu_count(), True, "begin", "special"]
    assert ran.printed[1] in range(nodes)


def test_probe_names_itself() -> None:
    work = Workload.start("--getppid", 1)
    text = f"{GETPPID} /pid == {work.pid}/ {{ print(probe); print(probetype); }}"
    with running(text) as session:
        work.go()
    assert result(session).printed == [GETPPID, "tracepoint"]


def test_exit_ends_the_probe_at_once() -> None:
    ran = run("begin { print(1); if (rand >= 0) { exit(7); } print(2); } end { print(3); }")
    assert ran.printed == [1, 3]
    assert ran.exit_code == 7


def test_exit_inside_a_value_leaves_nothing_behind() -> None:
    ran = run('begin { print((1, "a", { if (rand >= 0) { exit(); } 2 })); print(4) }')
    assert ran.printed == []
    assert ran.exit_code == 0


def test_exit_without_a_code() -> None:
    assert run("begin { exit(); }").exit_code == 0
    assert run("begin { $x = 300; exit($x); }").exit_code == 300 & 0xFF


def test_printf() -> None:
    ran = run(r"""begin {
        $small = (int8)-5; $p = (int8 *)4096;
        printf("%d %u %x %s %c|%5d|%-5d|%05d|%p %%\n", $small, 7, 255, "text", 65, 42, 42, 42, $p);
        printf("%s %s %lld %llu\n", (1, "x"), true, (int64)-1, (uint64)-1);
        printf("no conversions\n");
    }""")
    assert ran.lines == [
        "-5 7 ff text A|   42|42   |00042|0x1000 %\n",
        "(1, x) true -1 18446744073709551615\n",
        "no conversions\n",
    ]


def test_printf_keeps_the_order_of_the_text() -> None:
    ran = run('begin { $i = 0; unroll(20) { printf("%d %s", $i, comm); $i++; } }')
    assert [line.split()[0] for line in ran.lines] == [str(i) for i in range(20)]


def test_time_strftime_and_messages_are_events() -> None:
    ran = run(
        'begin { time("%H"); time(); errorf("bad %d", 1); warnf("odd %s", "x"); $t = strftime("%Y", nsecs); print($t); '
        'cat("/proc/%d", 1); }'
    )
    assert [(r.event.kind, r.event.format) for r in ran.records if r.event.kind != "print_value"] == [
        ("time", "%H"),
        ("time", "%H:%M:%S\n"),
        ("errorf", "bad %d"),
        ("warnf", "odd %s"),
        ("cat", "/proc/%d"),
    ]
    (value,) = ran.printed
    assert isinstance(value, Text) and value.kind == "strftime"


def test_parameters() -> None:
    text = (
        'begin { print($1); print($2 + 1); print(str($3)); print($#); print(str($4) == ""); print($4); '
        'if (str($3) == "abc") { print("same"); } }'
    )
    assert run(text, "5", "-7", "abc").printed == [5, -6, "abc", 3, True, 0, "same"]


def test_headers_with_context() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    work = Workload.start("--getppid", 3)
    with running(f'{GETPPID} /pid == {work.pid}/ {{ printf("%d", pid); }}', header="context") as session:
        work.go()
    ran = result(session)
    contexts = [r.context for r in ran.records if r.context is not None]
    assert len(contexts) == 3
    where = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    assert {c.cgroup for c in contexts} == {cgroup_id(str(cgroup2_mount() / where.removeprefix("0::/")))}
    assert before < contexts[0].time_ns < contexts[1].time_ns < contexts[2].time_ns < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert all(c.cpu < (os.cpu_count() or 1) for c in contexts)
    assert ran.lines == [str(work.pid)] * 3


def test_the_result_of_a_helper_in_a_map() -> None:
    ran = run("begin { @pid = pid; @comm = comm; @t = (pid, comm); }")
    name = Path("/proc/self/comm").read_text().strip()
    assert ran.maps == {
        "@pid": {None: Last(os.getpid())},
        "@comm": {None: Last(name)},
        "@t": {None: Last(pair(os.getpid(), name))},
    }
