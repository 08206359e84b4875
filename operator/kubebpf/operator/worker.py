"""One process that compiles, as the operator sees it: started, asked, and ended when it reaches a limit.

    worker = Worker(config, view)                  view None: the operator's default
    await worker.compile(request)                  -> {"elf": …} or {"complaints": …}

compile_worker.py is what runs in it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kubebpf.compiler.artifact.parameters import shape
from kubebpf.operator.config import Config
from kubebpf.operator.model import Json

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0  # seconds for importing LLVM and reading the kernel's types
KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
MODULE = "kubebpf.operator.compile_worker"


@dataclass(frozen=True, slots=True)
class Request:
    """What the result depends on.

    Args:
        text: of the program.
        scoped: whether it sees only the cgroups of a scope.
        unsafe: whether it may use unsafe helpers.
        args: `$1` and on. Of most of them the result does not depend: see `key`.
        params: the options for getopt(), likewise.
        config: settings that win over the program's.
        view: the digest of an uploaded kernel's types; "": the operator's default.
    """

    text: str
    scoped: bool
    unsafe: bool
    args: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    view: str = ""

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


class WorkerError(Exception):
    """The worker gave no answer; the text is what to tell the user."""


class UnusableError(WorkerError):
    """What the worker was given is no kernel's types; the text says why.

    Args:
        spoilt: it is not what its digest says, so another upload may be.
    """

    def __init__(self, text: str, spoilt: bool) -> None:
        super().__init__(text)
        self.spoilt = spoilt


class Worker:
    """One worker process, with one kernel's types for life.

    Args:
        upload: the file and the digest of an uploaded kernel's types; None: the operator's default.
    """

    def __init__(self, config: Config, upload: tuple[Path, str] | None = None) -> None:
        self._config, self._upload = config, upload
        self._process: asyncio.subprocess.Process | None = None

    def has(self, view: str) -> bool:
        """Whether it compiles against the upload of that digest."""
        return self._upload is not None and self._upload[1] == view

    async def start(self) -> None:
        """Have a process that waits for requests.

        Raises:
            WorkerError: it cannot be started, for example because this machine has no BTF.
            UnusableError: an upload is no kernel's types.
        """
        if self._process and self._process.returncode is None:
            return
        await self.stop()
        btf = self._upload or ((self._config.btf,) if self._config.btf else ())
        arguments = map(str, (self._config.limits.memory, *btf))
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
        if "unusable" in hello:
            await self.stop()
            raise UnusableError(hello["unusable"], hello["spoilt"])
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
