"""Scoped programs: the generated predicate decides by the cgroup, or an ancestor of it at the levels where pods are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubebpf.agent.session.facts import cgroup_id
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.values import Cgroup
from support.cgroups import cgroup2_mount, empty_and_remove
from support.programs import codes, kernel, result, running
from support.workload import Workload, make_calls, noise

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


@pytest.fixture
def top() -> Iterator[Path]:
    path = cgroup2_mount() / f"kubebpf-scope-{os.getpid()}"
    path.mkdir()
    yield path
    empty_and_remove(path)


def nested(top: Path, depth: int) -> Path:
    """A cgroup `depth` levels below."""
    path = top.joinpath(*(f"level{i}" for i in range(depth)))
    path.mkdir(parents=True, exist_ok=True)
    return path


def level(path: Path) -> int:
    return len(path.relative_to(cgroup2_mount()).parts)


def inside(cgroup: Path, calls: int) -> Workload:
    work = Workload.start("--getppid", calls)
    (cgroup / "cgroup.procs").write_text(str(work.pid))
    return work


@contextmanager
def scoped(text: str, low: int, high: int, *cgroups: Path) -> Iterator[Session]:
    with running(text, options=Options(scope_levels=(low, high)), scoped=True) as session:
        for cgroup in cgroups:
            session.scope_add(cgroup_id(str(cgroup)))
        yield session


@pytest.mark.parametrize("depth", range(6))
def test_events_below_a_pod_are_found_by_its_level(top: Path, depth: int) -> None:
    pod = nested(top, 1)
    container = nested(top, 1 + depth)
    work = inside(container, 123)
    with (
        noise(),
        scoped(
            f"{GETPPID} {{ @ = count(); @[cgroup] = count(); }}".replace("@[", "@by["), level(pod), level(pod), pod
        ) as session,
    ):
        make_calls(11)
        work.go()
    ran = result(session)
    assert ran.cell("@") == Count(123)
    assert ran.maps["@by"] == {Cgroup(cgroup_id(str(container))): Count(123)}


def test_pods_of_several_levels(top: Path) -> None:
    """Guaranteed pods are one level higher than those of the other QoS classes."""
    high, deep, stranger = nested(top, 1), top / "burstable" / "pod", nested(top, 1).parent / "stranger"
    for path in (deep, stranger):
        path.mkdir(parents=True)
    works = [inside(nested(high, 2), 10), inside(nested(deep, 1), 20), inside(stranger, 40), inside(deep.parent, 80)]
    with scoped(f"{GETPPID} {{ @ = count(); }}", level(high), level(deep), high, deep) as session:
        for work in works:
            work.go()
    assert result(session).cell("@") == Count(30)


def test_a_cgroup_beside_the_levels_counts_only_when_it_is_named(top: Path) -> None:
    pod, leaf = nested(top, 1), nested(top, 4)
    works = [inside(leaf, 5), inside(pod, 7)]
    with scoped(f"{GETPPID} {{ @ = count(); }}", level(pod) + 1, level(pod) + 1, pod) as session:
        for work in works:
            work.go()
    assert result(session).cell("@") == Count(7)


def test_nothing_counts_before_the_scope_is_filled_nor_after_it_is_emptied(top: Path) -> None:
    works = [inside(top, 5), inside(top, 7), inside(top, 9)]
    with scoped(f'{GETPPID} {{ @ = count(); printf("%d", pid); }}', level(top), level(top)) as session:
        works[0].go()
        session.scope_add(cgroup_id(str(top)))
        works[1].go()
        assert session.scope_remove(cgroup_id(str(top)))
        works[2].go()
    ran = result(session)
    assert ran.cell("@") == Count(7)
    assert ran.lines == [str(works[1].pid)] * 7


def test_uprobes_and_raw_tracepoints_are_scoped(top: Path) -> None:
    work = inside(top, 31)
    text = "rawtracepoint:sys_enter /args.id == 110/ { @raw = count(); } software:page-faults:1 { @faults[pid] = count(); }"
    with noise(), scoped(text, level(top), level(top), top) as session:
        work.go()
    ran = result(session)
    assert ran.cell("@raw") == Count(31)
    assert set(ran.maps["@faults"]) <= {work.pid}


def test_begin_end_and_interval_run_without_a_scope() -> None:
    with running("begin { @b = count(); } end { @e = count(); } interval:ms:1 { exit(); }", scoped=True) as session:
        while session.exit is None:
            session.poll(0.1)
    ran = result(session)
    assert (ran.cell("@b"), ran.cell("@e")) == (Count(1), Count(1))


@pytest.mark.parametrize("probe", ["begin", "end", "interval:s:1"])
@pytest.mark.parametrize("name", ["pid", "tid", "comm", "uid", "gid", "cgroup", "curtask", "ppid", "pcomm"])
def test_what_belongs_to_nobody_is_refused(probe: str, name: str) -> None:
    text = f"{probe} {{ print({name}); }}"
    assert set(codes(text, kernel(), scoped=True)) == {"CurrentIsNotTheCause"}
    assert codes(text, kernel()) == []


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("tracepoint:irq:softirq_entry", "CauseUnknown"),
        ("tracepoint:irq*:*_entry", "CauseUnknown"),
        ("tracepoint:timer:hrtimer_expire_entry", "CauseUnknown"),
        ("tracepoint:block:block_rq_complete", "CauseUnknown"),
        ("tracepoint:napi:napi_poll", "CauseUnknown"),
        ("tracepoint:power:cpu_idle", "CauseUnknown"),
        ("rawtracepoint:softirq_entry", "CauseUnknown"),
        ("tracepoint:net:netif_receive_skb", "CauseUncertain"),
        ("tracepoint:rcu:rcu_utilization", "CauseUncertain"),
        ("tracepoint:sched:sched_wakeup", "CauseUncertain"),
        ("tracepoint:sched:sched_wak*", "CauseUncertain"),
        ("rawtracepoint:sched_wakeup", "CauseUncertain"),
        ("iter:task", "SeesWholeNode"),
        ("tracepoint:syscalls:sys_enter_read", ""),
        ("tracepoint:syscalls:sys_enter_*", ""),
        ("tracepoint:sched:sched_process_exec", ""),
        ("rawtracepoint:sys_enter", ""),
        # What runs on a processor while a pod's task has it, interrupts too.
        ("profile:hz:99", ""),
        ("software:faults:100", ""),
        # Nobody's, and neither reads the current task.
        ("begin", ""),
        ("interval:s:1", ""),
    ],
)
def test_whose_event_it_is_must_be_known_in_a_trace_of_pods(probe: str, said: str) -> None:
    text = f"{probe} {{ @ = count(); }}"
    assert codes(text, kernel(), scoped=True) == ([said] if said else [])
    assert codes(text) == []
