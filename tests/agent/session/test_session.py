"""Whole sessions on the running kernel: objects made from IR text, with manifests as the compiler writes them."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.verifier import VerifierError
from kubebpf.agent.session.errors import AttachError, ParameterError
from kubebpf.agent.session.libraries import resolve
from kubebpf.agent.session.maps import MapState
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.ring import Exit, Record, default_ring_bytes
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.cells import Count, Last
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.manifest import Argument, Attach, Config, Constant, Event, Manifest, ManifestError, MapSchema, Site
from kubebpf.compiler.artifact.types import DAggregate, DInt
from support.bpfobjects import (
    ARRAY,
    COUNT_BY_COOKIE,
    COUNTS,
    EVENT_MAPS,
    HASH,
    PERCPU_ARRAY,
    SEQUENCE,
    Code,
    Map,
    Source,
    only_mine,
    send,
)
from support.bpfstate import everything, held_by

pytestmark = pytest.mark.kernel

LIBC = ctypes.CDLL(None)
X86 = os.uname().machine == "x86_64"
SYS_GETPPID, SYS_GETPID = (110, 39) if X86 else (173, 172)
RESOLVER = PlainResolver()
SELF = (Constant("self_pid", 0, 8),)
BY_COOKIE = MapSchema("@", "counts", "percpu_hash", DInt(64, False), DAggregate("count", False, 8), 8, 8, None, 1024)
NUMBER = (Argument(8, DInt(64, False)),)
EVENTS = (Event(1, "printf", 16, "%d\n", NUMBER), Event(2, "exit", 16, arguments=NUMBER))
COUNT = only_mine(COUNT_BY_COOKIE)


def syscalls(number: int, times: int) -> None:
    for _ in range(times):
        LIBC.syscall(number)


def tracepoint(probe: int, program: str, event: str, wildcard: bool = False) -> Attach:
    text = f"tracepoint:syscalls:{event}"
    return Attach(probe, program, "tracepoint", text, {"category": "syscalls", "event": event}, wildcard)


def artifact(
    attaches: Sequence[Attach],
    programs: Sequence[Code],
    maps: Sequence[Map] = (),
    schemas: tuple[MapSchema, ...] = (),
    config: Config | None = None,
    constants: tuple[Constant, ...] = SELF,
    header: str = "plain",
) -> Artifact:
    sends = any("kb_ring" in code.body for code in programs)
    manifest = Manifest(
        "stdin", tuple(attaches), schemas, EVENTS, constants, (Site("lost"),), config=config or Config(), header=header
    )
    source = Source(
        maps=(*maps, *(EVENT_MAPS if sends else ())),
        programs=tuple(programs),
        rodata=8,
        manifest=manifest.to_json().encode(),
        extra=SEQUENCE if sends else "",
    )
    return Artifact.read(source.elf())


def by_cookie(session: Session) -> dict[int, int]:
    [state] = session.maps(RESOLVER)
    return {int.from_bytes(key, "little"): cell.count for key, cell in state.rows if isinstance(cell, Count)}


def numbers(records: Sequence[Record]) -> list[tuple[str, int]]:
    return [(record.event.kind, int.from_bytes(record.argument(0)[:8], "little")) for record in records]


def counting(*attaches: Attach, section: str, body: str = COUNT, config: Config | None = None) -> Artifact:
    return artifact(attaches, [Code("count", section, body)], [COUNTS], (BY_COOKIE,), config)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_tracepoint_counts_exactly() -> None:
    with Session(counting(tracepoint(0, "count", "sys_enter_getppid"), section="tracepoint")) as session:
        syscalls(SYS_GETPPID, 10)
        session.start()
        assert session.attached == 1
        syscalls(SYS_GETPPID, 4321)
        session.finish()
        syscalls(SYS_GETPPID, 10)
        assert by_cookie(session) == {0: 4321}


def test_each_match_of_a_wildcard_has_its_cookie() -> None:
    attaches = (tracepoint(0, "count", "sys_enter_getp*id", wildcard=True), tracepoint(1, "count", "sys_exit_getppid"))
    with Session(counting(*attaches, section="tracepoint")) as session:
        session.start()
        syscalls(SYS_GETPPID, 30)
        syscalls(SYS_GETPID, 20)
        session.finish()
        counted = {session.probe_name(cookie): count for cookie, count in by_cookie(session).items()}
    assert counted["tracepoint:syscalls:sys_enter_getppid"] == 30
    assert counted["tracepoint:syscalls:sys_exit_getppid"] == 30
    # Python itself may ask for its pid; nothing asks for it less than we did.
    assert counted["tracepoint:syscalls:sys_enter_getpid"] >= 20


def test_raw_tracepoint_with_cookie() -> None:
    body = f"""
    %number = getelementptr i8, ptr %ctx, i64 8
    %syscall = load i64, ptr %number, align 8
    %wanted = icmp eq i64 %syscall, {SYS_GETPPID}
    br i1 %wanted, label %counts, label %out
    counts:
    """
    slots, rest = only_mine(COUNT_BY_COOKIE).split("go:\n")
    attach = Attach(3, "count", "rawtracepoint", "rawtracepoint:sys_enter", {"event": "sys_enter"})
    source = counting(attach, section="tp_btf/sys_enter", body=f"{slots}go:\n{body.strip()}\n{rest}")
    with Session(source) as session:
        session.start()
        syscalls(SYS_GETPPID, 500)
        session.finish()
        assert by_cookie(session) == {3: 500}


@pytest.mark.parametrize("provider", ["uprobe", "uretprobe"])
@pytest.mark.parametrize("path", ["libc", None])
def test_uprobe_in_libc(provider: str, path: str | None) -> None:
    target: dict[str, str | int] = {"path": path or str(resolve("libc")), "function": "getppid", "offset": 0}
    attach = Attach(0, "count", provider, f"{provider}:libc:getppid", target)
    with Session(counting(attach, section="uprobe")) as session:
        session.start()
        for _ in range(321):
            LIBC.getppid()
        session.finish()
        assert by_cookie(session) == {0: 321}


def test_uprobe_of_another_process_does_not_fire_here() -> None:
    attach = Attach(0, "count", "uprobe", "uprobe:libc:getppid", {"path": "libc", "function": "getppid", "offset": 0})
    with Session(counting(attach, section="uprobe", body=COUNT_BY_COOKIE), Options(pid=os.getppid())) as session:
        session.start()
        LIBC.getppid()
        session.finish()
        assert by_cookie(session).get(0, 0) == 0


def test_events_of_one_process_are_those_of_all_its_threads_and_of_no_other_process() -> None:
    attach = Attach(5, "count", "software", "software:page-faults:1", {"event": "page-faults", "count": 1})
    attached, ended = threading.Event(), threading.Event()

    def early() -> None:
        attached.wait(10)
        fault(1000)
        ended.wait(30)
        fault(1000)

    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(early)
        with Session(counting(attach, section="perf_event", body=COUNT_BY_COOKIE), Options(pid=os.getpid())) as session:
            session.start()
            attached.set()
            threads.submit(fault, 2000).result()  # by a thread that did not exist yet
            until(lambda: sum(by_cookie(session).values()) >= 3000, 10)
            # The start of another Python, a child of ours, takes thousands of page faults.
            subprocess.run([sys.executable, "-c", "bytearray(1 << 25)"], check=True)
            session.finish()
            counted = by_cookie(session)
            ended.set()
            waiting.result()
            assert by_cookie(session) == counted
    # The kernel gives inherited events no cookie. What the threads' own memory takes comes on top.
    assert set(counted) == {0, 5}
    assert 3000 <= sum(counted.values()) < 4500


def test_interval_ticks_on_one_cpu_and_profile_on_all() -> None:
    attaches = (
        Attach(0, "count", "interval", "interval:ms:20", {"period_ns": 20_000_000}),
        Attach(1, "count", "profile", "profile:ms:20", {"period_ns": 20_000_000}),
        Attach(2, "count", "interval", "interval:hz:50", {"hz": 50}),
    )
    with Session(counting(*attaches, section="perf_event", body=COUNT_BY_COOKIE)) as session:
        session.start()
        begin = time.monotonic()
        cpus = len(session.loaded.attached[1][1])
        until(lambda: by_cookie(session).get(0, 0) >= 25)
        session.finish()
        seconds, counted = time.monotonic() - begin, by_cookie(session)
    # A timer never ticks more often than asked; a busy or stolen CPU may drop ticks.
    most = seconds / 0.02 + 2
    assert cpus == os.cpu_count()
    assert 25 <= counted[0] <= most
    assert 5 <= counted[2] <= 2 * most
    assert counted[0] * cpus / 2 <= counted[1] <= cpus * most


def fault(pages: int) -> None:
    """Touch so many pages of new memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(-1, pages * page) as block:
        block.madvise(mmap.MADV_NOHUGEPAGE)
        for start in range(0, pages * page, page):
            block[start] = 1


def test_software_event_fires_every_count() -> None:
    attach = Attach(0, "count", "software", "software:page-faults:10", {"event": "page-faults", "count": 10})
    pages = 2000
    with Session(counting(attach, section="perf_event", body=COUNT_BY_COOKIE)) as session:
        session.start()
        fault(pages)
        session.finish()
        # Each CPU counts for itself, so each may hold back up to nine faults; other processes' faults come on top.
        assert by_cookie(session)[0] >= pages // 10 - (os.cpu_count() or 1)


def test_events_of_begin_come_first_and_of_end_last() -> None:
    attaches = (
        Attach(0, "ends", "end", "end", {}),
        Attach(1, "begins", "begin", "begin", {}),
        Attach(2, "begins", "begin", "begin", {}),
        tracepoint(3, "exits", "sys_enter_getppid"),
    )
    programs = [
        Code("ends", "raw_tp/end", send(1)),
        Code("begins", "raw_tp/begin", send(1)),
        Code("exits", "tracepoint", only_mine(send(2))),
    ]
    with Session(artifact(attaches, programs)) as session:
        session.start()
        assert session.attached == 4
        syscalls(SYS_GETPPID, 1)
        assert session.exit is None
        assert numbers(session.poll(1)) == [("printf", 0), ("printf", 1), ("exit", 2)]
        assert session.exit == Exit(2)
        assert numbers(session.finish()) == [("printf", 3)]


def test_lost_events_are_counted_and_the_others_arrive() -> None:
    total = 2000
    source = artifact([tracepoint(0, "sends", "sys_enter_getppid")], [Code("sends", "tracepoint", only_mine(send(1)))])
    with Session(source, Options(ring_bytes=4096)) as session:
        session.start()
        syscalls(SYS_GETPPID, total)
        received = numbers(session.finish())
        lost = session.counters().lost
    assert lost > 0
    assert len(received) + lost == total
    assert received == [("printf", n) for n in range(len(received))]


def test_nothing_is_lost_while_events_are_polled() -> None:
    source = artifact([tracepoint(0, "sends", "sys_enter_getppid")], [Code("sends", "tracepoint", only_mine(send(1)))])
    received: list[tuple[str, int]] = []
    with Session(source) as session:
        session.start()
        for _ in range(20):
            syscalls(SYS_GETPPID, 5000)
            received += numbers(session.poll(0.01))
        received += numbers(session.finish())
        assert session.counters().lost == 0
    assert received == [("printf", n) for n in range(100_000)]


def test_context_header_tells_when_and_where() -> None:
    # The record {u32 id, u32 cpu, u64 ns, u64 cgroup}: made by begin, in this process.
    body = """
    %event = alloca [3 x i64], align 8
    store i64 4294967295, ptr %event, align 8
    store i32 7, ptr %event, align 8
    %cpu = call i32 inttoptr (i64 8 to ptr)()
    %cpu_at = getelementptr i8, ptr %event, i64 4
    store i32 %cpu, ptr %cpu_at, align 4
    %ns = call i64 inttoptr (i64 125 to ptr)()
    %ns_at = getelementptr i8, ptr %event, i64 8
    store i64 %ns, ptr %ns_at, align 8
    %cg = call i64 inttoptr (i64 80 to ptr)()
    %cg_at = getelementptr i8, ptr %event, i64 16
    store i64 %cg, ptr %cg_at, align 8
    %sent = call i64 inttoptr (i64 130 to ptr)(ptr @kb_ring, ptr %event, i64 24, i64 0)
    ret i32 0
    """
    manifest = Manifest("stdin", (Attach(0, "b", "begin", "begin", {}),), events=(Event(7, "time", 24),), header="context")
    source = Source(maps=EVENT_MAPS, programs=(Code("b", "raw_tp/begin", body),), manifest=manifest.to_json().encode())
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with Session(Artifact.read(source.elf())) as session:
        session.start()
        [record] = session.poll(1)
    assert record.context is not None
    assert before <= record.context.time_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert record.context.cpu < (os.cpu_count() or 1)
    assert record.context.cgroup == own_cgroup()


def own_cgroup() -> int:
    from kubebpf.agent.session.facts import cgroup_id
    from support.cgroups import cgroup2_mount

    [line] = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return cgroup_id(str(cgroup2_mount() / line.removeprefix("0::").lstrip("/")))


def test_an_event_that_the_manifest_does_not_know() -> None:
    source = artifact([Attach(0, "b", "begin", "begin", {})], [Code("b", "raw_tp/begin", send(99))])
    with Session(source) as session:
        session.start()
        with pytest.raises(ManifestError, match="no event of its manifest"):
            session.poll(1)


SCALAR = """
%key = alloca i32, align 4
store i32 0, ptr %key, align 4
%value = call ptr inttoptr (i64 1 to ptr)(ptr @AT_x, ptr %key)
%absent = icmp eq ptr %value, null
br i1 %absent, label %out, label %hit
hit:
%n = load i64, ptr %value, align 8
%n1 = add i64 %n, 1
store i64 %n1, ptr %value, align 8
%flag = getelementptr i8, ptr %value, i64 8
store i64 1, ptr %flag, align 8
br label %out
out:
ret i32 0
"""


def scalar(aggregate: bool) -> Artifact:
    storage, kind = ("percpu_array", PERCPU_ARRAY) if aggregate else ("array", ARRAY)
    value = DAggregate("count", False, 8) if aggregate else DInt(64, False)
    schema = MapSchema("@x", "AT_x", storage, None, value, 4, 16, 8, 1)
    program = Code("p", "tracepoint", only_mine(SCALAR))
    return artifact([tracepoint(0, "p", "sys_enter_getppid")], [program], [Map("AT_x", kind, 4, 16, 1)], (schema,))


@pytest.mark.parametrize("aggregate", [True, False])
def test_scalar_maps_are_unset_set_zeroed_cleared(aggregate: bool) -> None:
    with Session(scalar(aggregate)) as session:

        def rows() -> list[tuple[bytes, object]]:
            state = session.read("@x", RESOLVER)
            assert isinstance(state, MapState)
            return list(state.rows)

        def cell(number: int) -> list[tuple[bytes, object]]:
            return [(b"", Count(number) if aggregate else Last(number))]

        session.start()
        assert rows() == []
        session.zero("@x")
        assert rows() == []
        syscalls(SYS_GETPPID, 12)
        assert rows() == cell(12)
        session.zero("@x")
        assert rows() == cell(0)
        syscalls(SYS_GETPPID, 3)
        assert rows() == cell(3)
        session.clear("@x")
        assert rows() == []


def test_keyed_maps_zeroed_and_cleared() -> None:
    with Session(counting(tracepoint(0, "count", "sys_enter_getppid"), section="tracepoint")) as session:
        session.start()
        syscalls(SYS_GETPPID, 12)
        assert by_cookie(session) == {0: 12}
        session.zero("@")
        assert by_cookie(session) == {0: 0}
        session.clear("@")
        assert by_cookie(session) == {}
        with pytest.raises(KeyError):
            session.read("@other", RESOLVER)


def test_scope_follows() -> None:
    source = artifact((), [Code("p", "tracepoint", "ret i32 0")], [Map("kb_scope", HASH, 8, 8, 2)])
    with Session(source) as session:
        session.scope_add(10)
        session.scope_add(11)
        with pytest.raises(LibbpfError, match="kb_scope"):
            session.scope_add(12)
        assert session.scope_remove(10) is True
        assert session.scope_remove(10) is False
        assert {int.from_bytes(key, "little") for key in session.loaded.maps["kb_scope"].keys()} == {11}  # noqa: SIM118


@pytest.mark.parametrize(
    "missing",
    [
        tracepoint(1, "count", "sys_enter_nonsense"),
        tracepoint(1, "count", "sys_enter_nonsense*", wildcard=True),
        Attach(1, "count", "software", "software:nonsense:1", {"event": "nonsense", "count": 1}),
        Attach(1, "count", "uprobe", "uprobe:libc:nonsense", {"path": "libc", "function": "nonsense", "offset": 0}),
        Attach(1, "count", "telepathy", "telepathy:all", {}),
    ],
    ids=lambda attach: attach.text,
)
@pytest.mark.parametrize("policy", ["error", "warn", "ignore"])
def test_missing_probes(missing: Attach, policy: str) -> None:
    config = Config(missing_probes=policy)
    source = counting(tracepoint(0, "count", "sys_enter_getppid"), missing, section="tracepoint", config=config)
    if policy == "error":
        with pytest.raises(AttachError) as caught, Session(source) as session:
            session.start()
        assert "nonsense" in str(caught.value) or "telepathy" in str(caught.value)
        return
    with Session(source) as session:
        session.start()
        assert session.attached == 1
        assert [warning.probe for warning in session.warnings] == ([missing.text] if policy == "warn" else [])
        syscalls(SYS_GETPPID, 5)
        session.finish()
        assert by_cookie(session) == {0: 5}


def test_a_rate_that_the_kernel_refuses_names_its_limit() -> None:
    attach = Attach(0, "count", "profile", "profile:hz:10000000", {"hz": 10_000_000})
    with (
        pytest.raises(AttachError, match="perf_event_max_sample_rate"),
        Session(counting(attach, section="perf_event")) as session,
    ):
        session.start()


def test_absent_raw_tracepoint_does_not_stop_the_load() -> None:
    attaches = (
        Attach(0, "absent", "rawtracepoint", "rawtracepoint:nonsense", {"event": "nonsense"}),
        tracepoint(1, "count", "sys_enter_getppid"),
    )
    programs = [Code("absent", "tp_btf/nonsense", "ret i32 0"), Code("count", "tracepoint", COUNT)]
    source = artifact(attaches, programs, [COUNTS], (BY_COOKIE,))
    with pytest.raises(AttachError, match="No matches for rawtracepoint nonsense"), Session(source):
        pass
    with Session(source, Options(missing_probes="warn")) as session:
        session.start()
        syscalls(SYS_GETPPID, 5)
        session.finish()
        assert by_cookie(session) == {1: 5}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_session_leaves_nothing() -> None:
    before = open_descriptors()
    attaches = (
        tracepoint(0, "sends", "sys_enter_getppid"),
        Attach(1, "ticks", "profile", "profile:hz:10", {"hz": 10}),
        Attach(2, "begins", "begin", "begin", {}),
    )
    programs = [Code("sends", "tracepoint", send(1)), Code("ticks", "perf_event", send(1)), Code("begins", "raw_tp/b", send(1))]
    with Session(artifact(attaches, programs)) as session:
        session.start()
        held = held_by(os.getpid())
        assert len(held.prog) >= 3
        assert held.link
    until(lambda: not held & everything())
    assert open_descriptors() == before


def test_many_probes_are_detached_together() -> None:
    attach = tracepoint(0, "count", "sys_enter_[gs]*", wildcard=True)
    before = open_descriptors()
    with Session(counting(attach, section="tracepoint")) as session:
        session.start()
        many = session.attached
        held = held_by(os.getpid())
        syscalls(SYS_GETPPID, 50)
        begin = time.monotonic()
        session.finish()
        seconds = time.monotonic() - begin
        syscalls(SYS_GETPPID, 50)
        counted = {session.probe_name(cookie): count for cookie, count in by_cookie(session).items()}
    assert many > 50
    assert counted["tracepoint:syscalls:sys_enter_getppid"] == 50
    # One after the other they take some 35 ms each.
    assert seconds < many * 0.01
    # The programs are gone; a thread ends the perf events.
    until(lambda: not held & everything())
    until(lambda: open_descriptors() == before, seconds=120)


@pytest.mark.parametrize("failure", ["attach", "verifier", "parameter", "own"])
def test_failed_sessions_leave_nothing(failure: str) -> None:
    before = open_descriptors()
    bad = Attach(1, "count", "software", "software:nonsense:1", {"event": "nonsense", "count": 1})
    good = tracepoint(0, "count", "sys_enter_getppid")
    refused = "%p = load volatile i64, ptr inttoptr (i64 0 to ptr)\nret i32 0"
    sessions: dict[str, tuple[Artifact, Options, type[Exception]]] = {
        "attach": (counting(good, bad, section="tracepoint"), Options(), AttachError),
        "verifier": (counting(good, section="tracepoint", body=refused), Options(), VerifierError),
        "parameter": (counting(good, section="tracepoint"), Options(params={"x": ""}), ParameterError),
        "own": (counting(good, section="tracepoint"), Options(), ZeroDivisionError),
    }
    source, options, error = sessions[failure]
    held = held_by(os.getpid())
    with pytest.raises(error), Session(source, options) as session:
        held |= held_by(os.getpid())
        session.start()
        held |= held_by(os.getpid())
        raise ZeroDivisionError
    until(lambda: not held & everything())
    assert open_descriptors() == before


def test_a_closed_session_says_so() -> None:
    with Session(counting(tracepoint(0, "count", "sys_enter_getppid"), section="tracepoint")) as session:
        pass
    with pytest.raises(ValueError, match="not open"):
        session.start()


def test_ring_buffer_sizes() -> None:
    assert 256 << 10 <= default_ring_bytes() <= 16 << 20
    programs = [Code("sends", "tracepoint", send(1))]
    for config, options, size in (
        (Config(), Options(), default_ring_bytes()),
        (Config(ring_pages=4), Options(), 4 * os.sysconf("SC_PAGE_SIZE")),
        (Config(ring_pages=4), Options(ring_bytes=1 << 16), 1 << 16),
    ):
        with Session(artifact((), programs, config=config), options) as session:
            assert session.loaded.maps["kb_ring"].info.max_entries == size
