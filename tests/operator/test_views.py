"""Uploaded types of other kernels: compiled against in a process of their own, whatever they are."""

from __future__ import annotations

import asyncio
import hashlib
import lzma
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kubebpf.compiler.kernel.btf import BtfError
from kubebpf.operator import views as views_module
from kubebpf.operator.compiling import Answer, Compiled, Compiler
from kubebpf.operator.config import CompileLimits, Config
from kubebpf.operator.outcome import USELESS, Refused
from kubebpf.operator.views import TYPES_LIMIT, UploadError, Views, read_types
from kubebpf.operator.worker import Request, Worker, WorkerError
from support.btfwriter import BtfWriter
from support.compilers import beside
from support.doctored import Doctored

pytestmark = pytest.mark.btf

NEW = "tracepoint:syscalls:sys_enter_getppid { @[curtask.born] = count(); }"
OLD = "tracepoint:syscalls:sys_enter_getppid { @[curtask.start_time] = count(); }"


def renamed_kernel() -> bytes:
    """The types of a kernel whose tasks are born."""
    other = Doctored.of_this_kernel()
    other.rename_member("task_struct", "start_time", "born")
    return other.build()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def upload(views: Views, data: bytes, digest: str = "") -> str:
    digest = digest or digest_of(data)
    views.keep(digest, lzma.compress(data, preset=0))
    return digest


def with_compiler(views: Views, use: Callable[[Callable[..., Awaitable[Answer]]], Awaitable[None]], **limits: float) -> None:
    async def main() -> None:
        compiler = Compiler(Config("test", limits=CompileLimits(**limits)), lambda uid: None, views)  # type: ignore[arg-type]

        async def ask(text: str, view: str = "") -> Answer:
            answer = await compiler.wait(Request(text, scoped=False, unsafe=False, view=view), 60)
            assert answer is not None
            return answer

        await beside(compiler, use(ask))

    asyncio.run(main())


def test_a_program_compiles_against_the_kernel_that_has_what_it_names(tmp_path: Path) -> None:
    views = Views(tmp_path)
    other = upload(views, renamed_kernel())

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        refused = await ask(NEW)
        assert isinstance(refused, Refused) and refused.of_kernel and "field named 'born'" in refused.message
        assert isinstance(await ask(NEW, other), Compiled)
        refused = await ask(OLD, other)
        assert isinstance(refused, Refused) and refused.of_kernel
        assert isinstance(await ask(OLD), Compiled)
        mistaken = await ask("begin { @ = }")
        assert isinstance(mistaken, Refused) and not mistaken.of_kernel

    with_compiler(views, use)


# Of the kernel of this machine, known by its types alone: no tracefs, no modules.
WITHOUT_TRACEFS = (
    "tracepoint:syscalls:sys_enter_openat { @[str(args.filename)] = count(); }",
    "tracepoint:syscalls:sys_exit_read /args.ret > 0/ { @ = hist(args.ret); }",
    "tracepoint:sched:sched_switch { @[args.next_comm] = count(); }",
    "tracepoint:sched:sched_process_exec { @[str(args.filename)] = count(); }",
    "tracepoint:block:block_rq_issue { @ = sum(args.bytes); }",
    "tracepoint:net:netif_receive_skb { @ = sum(args.len); }",
    "rawtracepoint:sched_switch { @[args.prev.pid] = count(); }",
    "kprobe:vfs_read { @[comm] = count(); }",
    "kretprobe:vfs_read { @ = hist(retval); }",
    "fentry:vfs_read { @[args.file.f_inode.i_ino] = count(); }",
    "fexit:vfs_read { @ = hist(retval); }",
    "iter:task { print(ctx.task.comm); }",
    "tracepoint:syscalls:sys_enter_* { @[probe] = count(); }",
    "profile:hz:99 { @[kstack(3)] = count(); }",
)


def test_types_alone_are_enough_for_most_probes(tmp_path: Path) -> None:
    views = Views(tmp_path)
    own = upload(views, Path("/sys/kernel/btf/vmlinux").read_bytes())

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        for program in WITHOUT_TRACEFS:
            answer = await ask(program, own)
            assert isinstance(answer, Compiled), (program, answer)

    with_compiler(views, use)


def test_an_upload_is_used_only_when_it_is_what_its_digest_says(tmp_path: Path) -> None:
    views = Views(tmp_path)
    lied = upload(views, renamed_kernel(), "sha256:" + "0" * 64)
    junk = "sha256:" + "1" * 64
    views.keep(junk, b"no xz at all")

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        for digest, why in ((lied, "digest"), (junk, "unpacked")):
            answer = await ask(OLD, digest)
            assert isinstance(answer, Refused) and answer.reason == USELESS and why in answer.message
            assert not views.has(digest) and why in views.spoilt(digest)
        assert isinstance(await ask(OLD), Compiled)

    with_compiler(views, use)


def bomb() -> bytes:
    """A hundred kilobytes that unpack to more than is allowed."""
    pack = lzma.LZMACompressor(preset=0)
    block = bytes(1 << 20)
    return b"".join([pack.compress(block) for _ in range((TYPES_LIMIT >> 20) + 8)] + [pack.flush()])


def test_a_bomb_is_not_unpacked_whole(tmp_path: Path) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(bomb())
    with pytest.raises(UploadError, match="more than"):
        read_types(file, digest_of(b""))
    with pytest.raises(BtfError, match="cannot be read"):
        read_types(tmp_path / "none", digest_of(b""))


def hostile() -> list[bytes]:
    """Types that lead astray: cycles, places outside, absurd sizes, names that are none; and a kernel's, damaged at random."""
    found = []
    for spoil in range(6):
        w = BtfWriter()
        number = w.integer("int", 4, signed=True)
        size = 1 << 31 if spoil == 0 else 4096
        to = {1: w.next, 2: 0xFFFFFF}.get(spoil, number)
        label = 'start_time" }\n!0 = !{i32 1}\n' if spoil == 3 else "start_time"
        place = (1 << 30) if spoil == 4 else 64
        w.struct("task_struct", size, [("pid", number, 0), (label, to, place), ("start_time", to, place)])
        w.typedef("btf_trace_sys_enter", w.next)
        w.struct("trace_event_raw_sys_enter", 64, [("id", to, 64), ("args", w.array(number, 1 << 31), 128)])
        if spoil == 5:
            w.add(8, "loop", w.next)
            w.struct("trace_entry", 4, [("x", w.next - 1, 0)])
        found.append(w.build())
    random.seed(7)
    kernel = Path("/sys/kernel/btf/vmlinux").read_bytes()
    for _ in range(6):
        data = bytearray(kernel)
        for _ in range(2000):
            data[random.randrange(24, len(data))] = random.randrange(256)
        found.append(bytes(data))
    return [*found, kernel[: len(kernel) // 2], kernel[:24], b""]


def test_hostile_types_cost_their_own_process_and_nothing_else(tmp_path: Path) -> None:
    views = Views(tmp_path)
    digests = [upload(views, data) for data in hostile()]

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        for digest in digests:
            # The one is refused or compiled, the other goes on as if nothing were.
            other, own = await asyncio.gather(ask(OLD, digest), ask(OLD))
            assert isinstance(own, Compiled)
            assert isinstance(other, Compiled | Refused)

    with_compiler(views, use, wall=10, cpu=5)


def test_types_that_cost_too_much_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Views(tmp_path)
    slow, good = upload(views, b"slow"), upload(views, renamed_kernel())
    compile_, tried = Worker.compile, list[str]()

    async def never_ending(self: Worker, request: Request) -> dict[str, object]:
        if request.view == slow:
            tried.append(request.text)
            raise WorkerError("the compiler took longer than 40 s")
        return await compile_(self, request)

    monkeypatch.setattr(Worker, "compile", never_ending)

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        reasons = [answer.reason for n in range(5) if isinstance(answer := await ask(f"begin {{ @ = {n} }}", slow), Refused)]
        assert reasons == ["CompilerLimit"] * 3 + [USELESS] * 2
        assert len(tried) == 3
        assert isinstance(await ask(NEW, good), Compiled)

    with_compiler(views, use)


def test_the_process_for_other_kernels_is_ended_when_it_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubebpf.operator import compiling

    monkeypatch.setattr(compiling, "IDLE", 0.2)
    ended: list[bool] = []
    stop = Worker.stop

    async def told(self: Worker) -> None:
        ended.append(self._process is not None)
        await stop(self)

    monkeypatch.setattr(Worker, "stop", told)
    views = Views(tmp_path)
    other = upload(views, renamed_kernel())

    async def use(ask: Callable[..., Awaitable[Answer]]) -> None:
        assert isinstance(await ask(NEW, other), Compiled)
        before = sum(ended)
        await asyncio.sleep(1.0)
        assert sum(ended) == before + 1

    with_compiler(views, use)


def test_the_folder_is_bounded_and_the_longest_unused_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "MOST_FILES", 3)
    views = Views(tmp_path / "deep" / "folder")
    digests = [digest_of(bytes([i])) for i in range(4)]
    for age, digest in enumerate(digests[:3]):
        views.keep(digest, b"x")
        os.utime(views.path(digest), (age, age))
    views.use(digests[0])
    views.keep(digests[3], b"y")
    assert [views.has(digest) for digest in digests] == [True, False, True, True]
    assert not list((tmp_path / "deep" / "folder").glob(".new-*"))
    with pytest.raises(ValueError, match="no digest"):
        views.path("sha256:../../etc/passwd")
