"""The binding against the running kernel, with objects made from IR text."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from kubebpf.agent.libbpf import library
from kubebpf.agent.libbpf import ring as ring_module
from kubebpf.agent.libbpf.errors import LibbpfError, LibbpfMissingError
from kubebpf.agent.libbpf.info import exists
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.map import BpfMap, Update
from kubebpf.agent.libbpf.object import BpfObject, open_object
from kubebpf.agent.libbpf.program import Uprobe
from kubebpf.agent.libbpf.ring import RingBuffer
from kubebpf.agent.libbpf.verifier import Source as Place
from kubebpf.agent.libbpf.verifier import VerifierError
from kubebpf.agent.session.libraries import resolve
from support.bpfobjects import COUNT_BY_COOKIE, COUNTS, EVENT_MAPS, HASH, SEQUENCE, Code, Map, Source, only_mine, send

GETPPID = "tracepoint/syscalls/sys_enter_getppid"
SYS_GETPPID = 110 if os.uname().machine == "x86_64" else 173
LIBC = ctypes.CDLL(None)


def getppid(times: int) -> None:
    for _ in range(times):
        LIBC.syscall(SYS_GETPPID)


def set_pid(obj: BpfObject) -> None:
    obj.initial_value(".rodata.kb")[0:8] = os.getpid().to_bytes(8, "little")


@contextmanager
def hash_map(entries: int) -> Iterator[BpfMap]:
    with open_object(Source(maps=(Map("h", HASH, 4, 8, entries),)).elf()) as obj:
        obj.load()
        yield obj.maps["h"]


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def total(value: bytes) -> int:
    return sum(int.from_bytes(value[i : i + 8], "little") for i in range(0, len(value), 8))


@pytest.mark.kernel
def test_counts_exactly_with_pid_constant_and_cookie() -> None:
    source = Source(maps=(COUNTS,), programs=(Code("count", GETPPID, only_mine(COUNT_BY_COOKIE)),), rodata=8)
    with open_object(source.elf()) as obj:
        set_pid(obj)
        obj.load()
        getppid(5)
        with obj.programs["count"].attach_tracepoint("syscalls", "sys_enter_getppid", cookie=77):
            getppid(1234)
        getppid(5)
        value = obj.maps["counts"].lookup((77).to_bytes(8, "little"))
        assert value is not None
        assert total(value) == 1234


@pytest.mark.kernel
def test_nothing_is_left_behind() -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with open_object(Source(maps=(COUNTS,), programs=(Code("count", GETPPID, COUNT_BY_COOKIE),)).elf()) as obj:
        obj.load()
        program, count_map = obj.programs["count"].info.id, obj.maps["counts"].info.id
        with obj.programs["count"].attach_tracepoint("syscalls", "sys_enter_getppid") as link:
            ids = (("prog", program), ("map", count_map), ("link", link.info.id))
            assert link.info.program_id == program
            assert all(exists(kind, number) for kind, number in ids)  # type: ignore[arg-type]
    deadline = time.monotonic() + 5
    # The kernel frees a program after a grace period.
    while any(exists(kind, number) for kind, number in ids):  # type: ignore[arg-type]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.fixture
def bpffs() -> Iterator[Path]:
    folder = Path(f"/sys/fs/bpf/kubebpf-tests-{os.getpid()}")
    folder.mkdir()
    yield folder
    for pin in folder.iterdir():
        pin.unlink()
    folder.rmdir()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("section", "attach"),
    [
        (GETPPID, lambda program, cookie: program.attach_tracepoint("syscalls", "sys_enter_getppid", cookie)),
        ("tp_btf/sys_enter", lambda program, cookie: program.attach_raw_tracepoint(cookie=cookie)),
    ],
    ids=["libbpf's link", "a descriptor"],
)
def test_pinned_link_and_map_go_on_without_the_object(bpffs: Path, section: str, attach: Callable[..., Link]) -> None:
    source = Source(maps=(COUNTS,), programs=(Code("count", section, only_mine(COUNT_BY_COOKIE)),), rodata=8)
    with open_object(source.elf()) as obj:
        set_pid(obj)
        obj.load()
        with attach(obj.programs["count"], cookie=5) as link:
            link.pin(bpffs / "link")
            obj.pin_map("counts", bpffs / "counts")
    counts = BpfMap.open(bpffs / "counts")
    link = Link.open(bpffs / "link")
    try:
        getppid(100)
        value = counts.lookup((5).to_bytes(8, "little"))
        assert value is not None
        assert total(value) >= 100
        number = link.info.id
        link.unpin()
    finally:
        link.close()
        counts.close()
    assert not exists("link", number)


@pytest.mark.kernel
def test_uprobe_by_libbpfs_own_search() -> None:
    source = Source(maps=(COUNTS,), programs=(Code("count", "uprobe", only_mine(COUNT_BY_COOKIE)),), rodata=8)
    libc = str(resolve("libc"))
    with open_object(source.elf()) as obj:
        set_pid(obj)
        obj.load()
        with obj.programs["count"].attach_uprobe(Uprobe(libc, function="getppid", cookie=6)):
            for _ in range(50):
                LIBC.getppid()
        value = obj.maps["counts"].lookup((6).to_bytes(8, "little"))
        assert value is not None
        assert total(value) == 50
        with pytest.raises(LibbpfError, match="no_such_function"):
            obj.programs["count"].attach_uprobe(Uprobe(libc, function="no_such_function"))


@pytest.mark.kernel
def test_program_info_counts_instructions() -> None:
    with open_object(Source(programs=(Code("counted", GETPPID, "ret i32 0"),)).elf()) as obj:
        obj.load()
        info = obj.programs["counted"].info
    assert (info.name, info.translated_bytes, info.verified_instructions) == ("counted", 16, 2)


@pytest.mark.kernel
def test_refused_program_names_its_line() -> None:
    body = "%p = load volatile i64, ptr inttoptr (i64 0 to ptr)\n%t = trunc i64 %p to i32\nret i32 %t"
    with open_object(Source(programs=(Code("bad", GETPPID, body, line=3),)).elf()) as obj, pytest.raises(VerifierError) as caught:
        obj.load()
    error = caught.value
    assert error.program == "bad"
    assert error.line == "R1 invalid mem access 'scalar'"
    assert error.source is not None
    assert error.source.text == "third line"
    assert error.source in (Place("third line", "stdin", 3), Place("third line"))
    assert error.omitted == len([line for line in error.log.splitlines() if line.strip()]) - 1 > 0


@pytest.mark.kernel
def test_absent_kernel_field_is_named() -> None:
    extra = """
%struct.task_struct = type { i32 }
declare ptr @llvm.preserve.struct.access.index.p0.p0(ptr, i32 immarg, i32 immarg)
!50 = distinct !DICompositeType(tag: DW_TAG_structure_type, name: "task_struct", file: !0, line: 1, size: 32, elements: !51)
!51 = !{!52}
!52 = !DIDerivedType(tag: DW_TAG_member, name: "no_such_field", scope: !50, file: !0, line: 1, baseType: !3, size: 32)
"""
    body = """
    %dst = alloca i32, align 4
    %task = call i64 inttoptr (i64 35 to ptr)()
    %p = inttoptr i64 %task to ptr
    FIELD
    %r = call i64 inttoptr (i64 113 to ptr)(ptr %dst, i32 4, ptr %f)
    ret i32 0
    """.replace(
        "FIELD",
        "%f = call ptr @llvm.preserve.struct.access.index.p0.p0(ptr elementtype(%struct.task_struct) %p, i32 0, i32 0), "
        "!llvm.preserve.access.index !50",
    )
    source = Source(programs=(Code("reads", GETPPID, body),), extra=extra)
    with open_object(source.elf()) as obj, pytest.raises(VerifierError, match="no field no_such_field in struct task_struct"):
        obj.load()


@pytest.mark.kernel
def test_load_error_without_a_log_tells_the_first_warning() -> None:
    body = "ret i32 0"
    with (
        open_object(Source(programs=(Code("p", "tp_btf/no_such_event", body),)).elf()) as obj,
        pytest.raises(LibbpfError) as caught,
    ):
        obj.load()
    assert not isinstance(caught.value, VerifierError)
    assert "no_such_event" in str(caught.value)


@pytest.mark.kernel
def test_absent_tracepoint() -> None:
    with open_object(Source(programs=(Code("p", "tracepoint", "ret i32 0"),)).elf()) as obj:
        obj.load()
        with pytest.raises(LibbpfError, match="no_such_event") as caught:
            obj.programs["p"].attach_tracepoint("sched", "no_such_event")
    assert caught.value.errno == 2


def test_bytes_that_are_no_object() -> None:
    with pytest.raises(LibbpfError), open_object(b"\x7fELF nothing"):
        pass


def test_missing_library_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SONAME", "libbpf-that-is-not-here.so.1")
    library.lib.cache_clear()
    try:
        with pytest.raises(LibbpfMissingError, match="apt install libbpf1"):
            library.lib()
    finally:
        library.lib.cache_clear()


def test_functions_are_asked_for_not_versions() -> None:
    assert library.has("bpf_object__load")
    assert not library.has("bpf_object__levitate")


@pytest.mark.kernel
def test_run_gives_the_result() -> None:
    program = Code("p", "raw_tp/x", "%a = load i64, ptr %ctx, align 8\n%t = trunc i64 %a to i32\nret i32 %t")
    with open_object(Source(programs=(program,)).elf()) as obj:
        obj.load()
        assert obj.programs["p"].run((1234).to_bytes(8, "little")) == 1234


@pytest.mark.kernel
def test_ring_buffer_gives_every_record_once_in_order() -> None:
    count = 70_000  # more than one batch
    programs = (Code("send", GETPPID, only_mine(send(1))),)
    source = Source(maps=EVENT_MAPS, programs=programs, rodata=8, extra=SEQUENCE)
    with open_object(source.elf()) as obj:
        set_pid(obj)
        obj.set_max_entries("kb_ring", 1 << 22)
        obj.load()
        with RingBuffer(obj.maps["kb_ring"].fd) as ring, obj.programs["send"].attach_tracepoint("syscalls", "sys_enter_getppid"):
            getppid(count)
            batches = [ring.poll(100), ring.poll(100), ring.poll(0)]
    assert [len(batch) for batch in batches] == [65536, count - 65536, 0]
    records = [record for batch in batches for record in batch]
    assert [int.from_bytes(record[8:], "little") for record in records] == list(range(count))


class AlarmError(Exception):
    pass


@pytest.mark.kernel
def test_a_signal_handler_that_raises_loses_no_record() -> None:
    count, raised, received = 60_000, 0, list[int]()

    def handler(number: int, frame: FrameType | None) -> None:
        # Only inside the reader: between two statements of this test a raise would be the test's own loss.
        if frame is not None and frame.f_code.co_filename == ring_module.__file__:
            raise AlarmError

    programs = (Code("send", GETPPID, only_mine(send(1))),)
    with open_object(Source(maps=EVENT_MAPS, programs=programs, rodata=8, extra=SEQUENCE).elf()) as obj:
        set_pid(obj)
        obj.set_max_entries("kb_ring", 1 << 21)
        obj.load()
        before = signal.signal(signal.SIGALRM, handler)
        try:
            with (
                RingBuffer(obj.maps["kb_ring"].fd) as ring,
                obj.programs["send"].attach_tracepoint("syscalls", "sys_enter_getppid"),
            ):
                getppid(count)
                signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
                while len(received) < count:
                    try:
                        received += [int.from_bytes(record[8:], "little") for record in ring.consume()]
                    except AlarmError:
                        raised += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert raised > 0
    assert received == list(range(count))


@pytest.mark.kernel
def test_ring_poll_waits() -> None:
    with open_object(Source(maps=EVENT_MAPS).elf()) as obj:
        obj.load()
        with RingBuffer(obj.maps["kb_ring"].fd) as ring:
            begin = time.monotonic()
            assert ring.poll(50) == []
            assert time.monotonic() - begin >= 0.045


@pytest.mark.kernel
def test_map_calls() -> None:
    with hash_map(2) as h:
        assert h.lookup(key(1)) is None
        assert h.delete(key(1)) is False
        h.update(key(1), bytes(8))
        with pytest.raises(LibbpfError) as taken:
            h.update(key(1), bytes(8), Update.NEW)
        assert taken.value.errno == 17
        h.update(key(1), b"12345678", Update.EXISTING)
        h.update(key(2), bytes(8))
        with pytest.raises(LibbpfError) as full:
            h.update(key(3), bytes(8))
        assert full.value.errno == 7
        assert h.lookup(key(1)) == b"12345678"
        assert sorted(h.keys()) == [key(1), key(2)]
        assert h.delete(key(1)) is True
        with pytest.raises(ValueError, match="4 bytes"):
            h.lookup(b"x")


@pytest.mark.kernel
def test_chunks_and_single_steps_agree() -> None:
    with hash_map(5000) as h:
        expected = {key(n): n.to_bytes(8, "little") for n in range(3000)}
        for k, value in expected.items():
            h.update(k, value)
        assert dict(pairs(h.chunks(), 8)) == expected
        assert dict(pairs(h.one_by_one(), 8)) == expected


def pairs(chunks: Iterator, size: int) -> list[tuple[bytes, bytes]]:  # type: ignore[type-arg]
    return [(c.keys[4 * i : 4 * i + 4], c.values[size * i : size * (i + 1)]) for c in chunks for i in range(c.count)]


@pytest.mark.kernel
@pytest.mark.parametrize("walk", ["chunks", "one_by_one"])
def test_walks_are_complete_while_other_keys_come_and_go(walk: str) -> None:
    stay, churn, stop = 2000, 2000, threading.Event()
    with hash_map(stay + churn) as h:
        for n in range(stay):
            h.update(key(n), bytes(8))
        changes = 0

        def change() -> None:
            nonlocal changes
            while not stop.is_set():
                for n in range(stay, stay + churn):
                    h.update(key(n), bytes(8))
                for n in range(stay, stay + churn):
                    h.delete(key(n))
                changes += 1

        thread = threading.Thread(target=change)
        thread.start()
        try:
            while changes < 3:
                seen = Counter(k for k, _ in pairs(getattr(h, walk)(), 8))
                assert all(seen[key(n)] == 1 for n in range(stay))
                assert max(seen.values()) == 1
        finally:
            stop.set()
            thread.join()
