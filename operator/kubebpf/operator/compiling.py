"""Compilations, asked for and remembered: each text once, one at a time, in a worker process that may die.

    compiler.ask("uid", Request(text, scoped=True, unsafe=False))   -> None; later `ready("uid")` is called
    compiler.ask("uid", Request(text, scoped=True, unsafe=False))   -> Compiled(...) or Refused(...)

The memory is a cache: what is lost with the process is compiled again, to the same bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from kubebpf.compiler.artifact.parameters import shape
from kubebpf.operator.config import Config
from kubebpf.operator.model import Json
from kubebpf.operator.status import Refused

logger = logging.getLogger(__name__)

REMEMBERED = 128  # compilations; with their objects about 20 MB
RETRY_AFTER = 300.0  # seconds after which a program that met a limit is tried again: the machine may just have been busy
START_TIMEOUT = 60.0  # seconds for importing LLVM and reading the kernel's types
KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
MODULE = "kubebpf.operator.compile_worker"


@dataclass(frozen=True, slots=True)
class Request:
    """What the result depends on, beside the kernel view, which a worker has for life.

    Args:
        text: of the program.
        scoped: whether it sees only the cgroups of a scope.
        unsafe: whether it may use unsafe helpers.
        args: `$1` and on. Of most of them the result does not depend: see `key`.
        params: the options for getopt(), likewise.
        config: settings that win over the program's.
    """

    text: str
    scoped: bool
    unsafe: bool
    args: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str], ...] = ()

    @property
    def program(self) -> Request:
        """The request without its parameters."""
        return replace(self, args=(), params=())

    def key(self, folded: frozenset[str]) -> Request:
        """What a result depends on that has the values of the `folded` parameters in its code: these values, and of the others
        whether they are numbers that a load-time constant can be.

        Args:
            folded: as in the manifest: `$1`, `$#`, `--name`.
        """
        args = [f"={text}" if f"${i}" in folded else shape(text) for i, text in enumerate(self.args, 1)]
        while "$#" not in folded and args and not args[-1]:
            args.pop()  # as if it were not given
        params = [(name, f"={text}" if f"--{name}" in folded else shape(text)) for name, text in sorted(self.params)]
        return replace(self, args=tuple(args), params=tuple(p for p in params if p[1] not in ("number", "text", "")))


@dataclass(frozen=True, slots=True)
class Compiled:
    """An object, and how long it took."""

    elf: bytes
    digest: str
    millis: int
    warnings: str = ""
    folded: frozenset[str] = frozenset()
    unsafe: tuple[str, ...] = ()


Answer = Compiled | Refused


class WorkerError(Exception):
    """The worker gave no answer; the text is what to tell the user."""


class Worker:
    """One worker process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Have a process that waits for requests.

        Raises:
            WorkerError: it cannot be started, for example because this machine has no BTF.
        """
        if self._process and self._process.returncode is None:
            return
        await self.stop()
        arguments = [str(self._config.limits.memory), *([str(self._config.btf)] if self._config.btf else [])]
        # The process that sees users' text gets nothing that it does not need, no credentials above all.
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULE, *arguments,
            stdin=pipe, stdout=pipe, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            hello = await asyncio.wait_for(self._read(), START_TIMEOUT)
        except TimeoutError:
            await self.stop()
            raise WorkerError(f"the compiler did not start within {START_TIMEOUT:g} s") from None
        logger.info("the compiler is ready, kernel view %s", hello.get("view"))

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        # Before the wait: asyncio says that a process has ended when its pipes have, and a pipe with an unread answer never ends.
        process._transport.close()  # type: ignore[attr-defined]
        await process.wait()

    async def compile(self, request: Request) -> Json:
        """The worker's answer to one request.

        Raises:
            WorkerError: a limit was reached or the worker died; it is gone then, and the next request starts a new one.
        """
        limits = self._config.limits
        try:
            await self.start()
            answer = await asyncio.wait_for(self._exchange(request), limits.wall)
            if "exhausted" in answer:
                await self.stop()  # what has run out of memory may have left some behind
            return answer
        except TimeoutError:
            await self.stop()
            raise WorkerError(f"the compiler took longer than {limits.wall:g} s") from None
        except (WorkerError, OSError):
            await self.stop()
            raise

    async def _exchange(self, request: Request) -> Json:
        assert self._process and self._process.stdin
        body = {"text": request.text, "scoped": request.scoped, "unsafe": request.unsafe, "cpu": self._config.limits.cpu}
        body |= {"args": request.args, "params": request.params, "config": request.config}
        data = json.dumps(body).encode()
        self._process.stdin.write(len(data).to_bytes(4, "big") + data)
        await self._process.stdin.drain()
        return await self._read()

    async def _read(self) -> Json:
        assert self._process and self._process.stdout
        try:
            length = int.from_bytes(await self._process.stdout.readexactly(4), "big")
            if length > 2 * self._config.limits.output + (1 << 20):
                raise WorkerError(f"the compiler's answer has {length} bytes, more than allowed")
            answer: Json = json.loads(await self._process.stdout.readexactly(length))
        except asyncio.IncompleteReadError:
            raise WorkerError(_death(await self._process.wait(), self._config)) from None
        return answer


def _death(code: int, config: Config) -> str:
    if code == -24:  # SIGXCPU
        return f"the compiler used more than {config.limits.cpu} s of processor time"
    how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"the compiler {how}; the program may need more than {config.limits.memory >> 20} MiB"


class Compiler:
    """Answers from memory, or later.

    Args:
        ready: called with the uid of a trace whose answer has come.
    """

    def __init__(self, config: Config, ready: Callable[[str], None]) -> None:
        self._config, self._ready = config, ready
        self._worker = Worker(config)
        self._answers: OrderedDict[Request, tuple[Answer, float]] = OrderedDict()
        self._folded: OrderedDict[Request, frozenset[str]] = OrderedDict()
        self._waiting: dict[Request, set[str]] = {}
        self._queue: asyncio.Queue[Request] = asyncio.Queue()

    def ask(self, uid: str, request: Request) -> Answer | None:
        """The answer, or None when it is not known yet."""
        for key in (self._key(request), request):
            known = self._answers.get(key)
            if known and time.monotonic() < known[1]:
                self._answers.move_to_end(key)
                return known[0]
        if request not in self._waiting:
            self._queue.put_nowait(request)
        self._waiting.setdefault(request, set()).add(uid)
        return None

    async def wait(self, request: Request, seconds: float) -> Answer | None:
        """The answer as soon as it is known; None after `seconds`."""
        until = time.monotonic() + seconds
        while (answer := self.ask("", request)) is None and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return answer

    async def run(self) -> None:
        """Work for ever, the worker kept warm."""
        try:
            with suppress(WorkerError, OSError):
                await self._worker.start()
            while True:
                await self._one(await self._queue.get())
        finally:
            await self._worker.stop()

    async def _one(self, request: Request) -> None:
        answer, keep = await self._compile(request)
        # Which parameters a refusal is about is not known: it holds for exactly these.
        key = request
        if isinstance(answer, Compiled):
            self._folded[request.program] = self._folded.get(request.program, frozenset()) | answer.folded
            key = self._key(request)
        self._answers[key] = answer, time.monotonic() + keep
        for memory in (self._answers, self._folded):
            while len(memory) > REMEMBERED:
                memory.popitem(last=False)
        for uid in filter(None, self._waiting.pop(request, ())):
            self._ready(uid)

    def _key(self, request: Request) -> Request:
        return request.key(self._folded.get(request.program, frozenset()))

    async def _compile(self, request: Request) -> tuple[Answer, float]:
        try:
            raw = await self._worker.compile(request)
        except (WorkerError, OSError) as error:
            logger.warning("compiling: %s", error)
            return Refused("CompilerLimit", str(error)), RETRY_AFTER
        return self._judge(raw, request), float("inf")

    def _judge(self, raw: Json, request: Request) -> Answer:
        if "exhausted" in raw:
            return Refused("CompilerLimit", f"the program is too large or nested too deeply ({raw['exhausted']})")
        if "complaints" in raw:
            return Refused("CompileFailed", raw["complaints"])
        elf = base64.b64decode(raw["elf"])
        if len(elf) > self._config.limits.output:
            return Refused("ObjectTooLarge", f"the object has {len(elf)} bytes; {self._config.limits.output} are allowed")
        if raw["unsafe"] and not request.unsafe:
            return Refused("UnsafeNotAllowed", f"spec.allowUnsafe is needed for {', '.join(raw['unsafe'])}")
        digest = "sha256:" + hashlib.sha256(elf).hexdigest()
        return Compiled(elf, digest, raw["millis"], raw["warnings"], frozenset(raw["folded"]), tuple(raw["unsafe"]))
