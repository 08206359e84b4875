"""The worker process: answers, limits, and what comes after a limit. The real compiler against this machine's kernel."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.operator.compiling import Answer, Compiled, Compiler
from kubebpf.operator.config import CompileLimits, Config
from kubebpf.operator.outcome import Refused
from kubebpf.operator.worker import Request, Worker, WorkerError
from support.compilers import beside

pytestmark = pytest.mark.btf

PROGRAM = "tracepoint:syscalls:sys_enter_getppid { @[comm] = count(); }"
ERRORS = "begin {\n  @a = coutn();\n  $x = nosuch;\n}\n"


def config(**limits: float) -> Config:
    return Config("test", limits=CompileLimits(**limits))  # type: ignore[arg-type]


def with_compiler(config: Config, use: Callable[[Callable[[Request], Awaitable[Answer]]], Awaitable[None]]) -> None:
    """Run `use(ask)` beside a running compiler; `ask` waits for the answer as a reconciler does by being marked."""

    async def main() -> None:
        woken = asyncio.Event()
        compiler = Compiler(config, lambda uid: woken.set())

        async def ask(request: Request) -> Answer:
            while (answer := compiler.ask("uid", request)) is None:
                woken.clear()
                await asyncio.wait_for(woken.wait(), 60)
            return answer

        await beside(compiler, use(ask))

    asyncio.run(main())


def test_a_namespaced_trace_gets_a_scoped_object_and_a_cluster_one_does_not() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        for scoped in (True, False):
            answer = await ask(Request(PROGRAM, scoped, False))
            assert isinstance(answer, Compiled)
            manifest = Artifact.read(answer.elf).manifest
            assert (manifest.scoped, manifest.header) == (scoped, "context")
            assert answer.digest == "sha256:" + hashlib.sha256(answer.elf).hexdigest()

    with_compiler(config(), use)


def test_every_complaint_is_there_with_its_place_and_line() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        answer = await ask(Request(ERRORS, True, False))
        assert isinstance(answer, Refused) and answer.reason == "CompileFailed"
        assert "spec.program:2:" in answer.message and "spec.program:3:" in answer.message
        assert "  @a = coutn();" in answer.message and "~" in answer.message

    with_compiler(config(), use)


def test_a_program_without_probes_is_refused() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        answer = await ask(Request("// later\n", True, False))
        assert isinstance(answer, Refused) and answer.message == "ERROR: No probes to attach"

    with_compiler(config(), use)


def test_an_answer_is_remembered() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        request = Request(PROGRAM, True, False)
        assert await ask(request) is await ask(Request(PROGRAM, True, False))

    with_compiler(config(), use)


FOLDS = 'begin { @l = lhist($1, 0, $2, 1); print(getopt("n", 5) + getopt("m", 1)); print(comptime getopt("deep", 1)); }'


def test_parameters_compile_again_only_where_they_are_in_the_code() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        async def compiled(args: tuple[str, ...], **params: str) -> Compiled:
            answer = await ask(Request(FOLDS, False, False, args, tuple(params.items())))
            assert isinstance(answer, Compiled), answer
            return answer

        first = await compiled(("1", "10"), n="7")
        assert first.folded == {"$2", "--deep"}
        assert await compiled(("2", "10", ""), n="8", m="3") is first
        assert (await compiled(("1", "20"), n="7")).digest != first.digest
        assert (await compiled(("1", "10"), deep="2")).digest != first.digest
        assert (await compiled(("1", "10"), m="0xffffffffffffffff")).digest != first.digest
        assert await compiled(("5", "10")) is first

    with_compiler(config(), use)


def deep(levels: int) -> str:
    return "begin { print(" + "(" * levels + "1" + ")" * levels + "); }"


@pytest.mark.parametrize("text", [deep(20_000), "begin { @ = 1; }\n" * 3000, "\0\0", "é" * 30_000, "begin {" + "{" * 20_000])
def test_odd_texts_get_an_answer_and_the_next_program_too(text: str) -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        assert isinstance(await ask(Request(text, True, False)), Refused | Compiled)
        assert isinstance(await ask(Request(PROGRAM, True, False)), Compiled)

    with_compiler(config(cpu=10, wall=30), use)


def test_a_worker_that_takes_too_long_is_replaced() -> None:
    async def main() -> None:
        worker = Worker(config(wall=0.3))
        try:
            await worker.start()
            first = worker._process
            assert first
            os.kill(first.pid, signal.SIGSTOP)  # as if the compiler were caught in a loop
            with pytest.raises(WorkerError, match=r"longer than 0\.3 s"):
                await worker.compile(Request(PROGRAM, True, False))
            assert first.returncode == -signal.SIGKILL
        finally:
            await worker.stop()
        worker = Worker(config())
        try:
            assert "elf" in await worker.compile(Request(PROGRAM, True, False))
        finally:
            await worker.stop()

    asyncio.run(main())


def test_processor_time_is_limited() -> None:
    """One second; five hundred probes take more."""
    text = "\n".join(f"tracepoint:syscalls:sys_enter_getppid {{ @a{n}[comm, pid] = hist(nsecs); }}" for n in range(500))

    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        answer = await ask(Request(text, True, False))
        assert answer == Refused("CompilerLimit", "the compiler used more than 1 s of processor time")
        assert isinstance(await ask(Request(PROGRAM, True, False)), Compiled)

    with_compiler(config(cpu=1, wall=60), use)


def test_memory_is_limited() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        answer = await ask(Request(PROGRAM, True, False))
        assert isinstance(answer, Refused) and answer.reason == "CompilerLimit"
        assert "60 MiB" in answer.message

    with_compiler(config(memory=60 << 20), use)


def test_a_large_object_is_refused() -> None:
    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        answer = await ask(Request(PROGRAM, True, False))
        assert isinstance(answer, Refused) and answer.reason == "ObjectTooLarge"

    with_compiler(config(output=1000), use)


def test_the_worker_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/secret")

    async def main() -> None:
        worker = Worker(config())
        try:
            await worker.start()
            assert worker._process
            assert b"KUBECONFIG" not in Path(f"/proc/{worker._process.pid}/environ").read_bytes()
        finally:
            await worker.stop()

    asyncio.run(main())


def test_a_worker_that_died_is_replaced() -> None:
    async def main() -> None:
        worker = Worker(config())
        try:
            await worker.start()
            assert worker._process
            worker._process.kill()
            await worker._process.wait()
            assert "elf" in await worker.compile(Request(PROGRAM, True, False))
        finally:
            await worker.stop()

    asyncio.run(main())


def test_settings_of_a_manifest_win_over_the_program() -> None:
    """spec.config is part of what is compiled; what it does not know is told as in the program."""

    async def use(ask: Callable[[Request], Awaitable[Answer]]) -> None:
        text = "config = { max_map_keys = 5 } begin { @[1] = 2; }"
        for settings, wanted in (((), 5), ((("max_map_keys", "77"),), 77)):
            answer = await ask(Request(text, scoped=False, unsafe=False, config=settings))
            assert isinstance(answer, Compiled)
            assert Artifact.read(answer.elf).manifest.maps[0].max_entries == wanted
        wrong = await ask(Request(text, scoped=False, unsafe=False, config=(("max_map_kez", "77"),)))
        assert isinstance(wrong, Refused) and "max_map_kez" in wrong.message and "max_map_keys" in wrong.message

    with_compiler(config(), use)
