"""Compilations, asked for and remembered: each text once, one at a time, in a worker process that may die.

What is compiled against the types of other kernels has a lane of its own: one more process, which sees one upload in its life and
is ended when it has nothing to do. An upload that is made to confuse the compiler meets nobody else's program there.

    compiler.ask("uid", Request(text, scoped=True, unsafe=False))   -> None; later `ready("uid")` is called
    compiler.ask("uid", Request(text, scoped=True, unsafe=False))   -> Compiled(...) or Refused(...)

The memory is a cache: what is lost with the process is compiled again, to the same bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kubebpf.operator.config import Config
from kubebpf.operator.model import Json
from kubebpf.operator.outcome import USELESS, Refused
from kubebpf.operator.telemetry import COMPILATIONS, COMPILE_SECONDS
from kubebpf.operator.views import PAUSE, Views
from kubebpf.operator.worker import Request, UnusableError, Worker, WorkerError

logger = logging.getLogger(__name__)

REMEMBERED = 128  # compilations; with their objects about 20 MB
REFUSALS = 2048  # remembered; a kilobyte each
RETRY_AFTER = 300.0  # seconds after which a program that met a limit is tried again: the machine may just have been busy
STRIKES = 3  # limits met in a row with one kernel's types, after which no more programs are tried with them for a while
IDLE = 60.0  # seconds after which the process for other kernels is ended


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


class Compiler:
    """Answers from memory, or later.

    Args:
        ready: called with the uid of a trace whose answer has come.
        views: the uploaded types of other kernels.
    """

    def __init__(self, config: Config, ready: Callable[[str], None], views: Views | None = None) -> None:
        self._config, self._ready = config, ready
        self._views = views or Views(config.views)
        self._answers: OrderedDict[Request, tuple[Answer, float]] = OrderedDict()
        self._folded: OrderedDict[Request, frozenset[str]] = OrderedDict()
        self._waiting: dict[Request, set[str]] = {}
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._others: list[Request] = []
        self._strikes: dict[str, tuple[int, float]] = {}
        self._more = asyncio.Event()

    def known(self, request: Request) -> Answer | None:
        """The answer if it is known."""
        for key in (self._key(request), request):
            known = self._answers.get(key)
            if known and time.monotonic() < known[1]:
                self._answers.move_to_end(key)
                return known[0]
        return None

    def ask(self, uid: str, request: Request) -> Answer | None:
        """The answer, or None when it is not known yet; it is found out then."""
        if known := self.known(request):
            return known
        if request not in self._waiting:
            self._put(request)
        self._waiting.setdefault(request, set()).add(uid)
        return None

    async def wait(self, request: Request, seconds: float) -> Answer | None:
        """The answer as soon as it is known; None after `seconds`."""
        until = time.monotonic() + seconds
        while (answer := self.ask("", request)) is None and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return answer

    def _put(self, request: Request) -> None:
        if request.view:
            self._others.append(request)
            self._more.set()
        else:
            self._queue.put_nowait(request)

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._work())
            tasks.create_task(self._work_for_others())

    async def _work(self) -> None:
        """The operator's default view, its worker kept warm."""
        worker = Worker(self._config)
        try:
            with suppress(WorkerError, OSError):
                await worker.start()
            while True:
                await self._one(await self._queue.get(), worker)
        finally:
            await worker.stop()

    async def _work_for_others(self) -> None:
        """The views of other kernels, one process at a time."""
        worker, view = Worker(self._config), ""
        try:
            while True:
                request = await self._next_for_others(view)
                if request is None or request.view != view:
                    await worker.stop()
                    view = request.view if request else ""
                if request is None:
                    continue
                if not worker.has(view):
                    worker = Worker(self._config, (self._views.path(view), view))
                self._views.use(view)
                await self._one(request, worker)
        finally:
            await worker.stop()

    async def _next_for_others(self, view: str) -> Request | None:
        """One of `view` if there is one; None when none came for a while."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._more.wait(), IDLE if view else None)
        if not self._others:
            return None
        chosen = next((request for request in self._others if request.view == view), self._others[0])
        self._others.remove(chosen)
        if not self._others:
            self._more.clear()
        return chosen

    async def _one(self, request: Request, worker: Worker) -> None:
        with COMPILE_SECONDS.time():
            answer, keep = await self._compile(request, worker)
        COMPILATIONS.labels("Compiled" if isinstance(answer, Compiled) else answer.reason).inc()
        # Which parameters a refusal is about is not known: it holds for exactly these.
        key = request
        if isinstance(answer, Compiled):
            self._folded[request.program] = self._folded.get(request.program, frozenset()) | answer.folded
            key = self._key(request)
        self._answers[key] = answer, time.monotonic() + keep
        self._forget_oldest()
        for uid in filter(None, self._waiting.pop(request, ())):
            self._ready(uid)

    def _forget_oldest(self) -> None:
        while len(self._folded) > REMEMBERED:
            self._folded.popitem(last=False)
        for kind, most in ((Compiled, REMEMBERED), (Refused, REFUSALS)):
            found = [request for request, (answer, _) in self._answers.items() if isinstance(answer, kind)]
            for request in found[: max(len(found) - most, 0)]:
                del self._answers[request]

    def _key(self, request: Request) -> Request:
        return request.key(self._folded.get(request.program, frozenset()))

    async def _compile(self, request: Request, worker: Worker) -> tuple[Answer, float]:
        if self._is_out(request.view):
            return Refused(USELESS, "programs that are compiled against this kernel's types take too long"), RETRY_AFTER
        try:
            raw = await worker.compile(request)
        except UnusableError as error:
            logger.warning("the types of the kernel %s: %s", request.view or "of the operator", error)
            if error.spoilt:
                self._views.reject(request.view, str(error))
            return Refused(USELESS, str(error)), PAUSE if error.spoilt else RETRY_AFTER
        except (WorkerError, OSError) as error:
            logger.warning("compiling: %s", error)
            self._strike(request.view)
            return Refused("CompilerLimit", str(error)), RETRY_AFTER
        self._strikes.pop(request.view, None)
        return self._judge(raw, request), float("inf")

    def _strike(self, view: str) -> None:
        """Types that are made to cost much must not keep the other kernels waiting."""
        if view:
            count, since = self._strikes.get(view, (0, 0.0))
            recent = time.monotonic() - since < RETRY_AFTER
            self._strikes[view] = (count + 1 if recent else 1), time.monotonic()

    def _is_out(self, view: str) -> bool:
        count, since = self._strikes.get(view, (0, 0.0))
        return count >= STRIKES and time.monotonic() - since < RETRY_AFTER

    def _judge(self, raw: Json, request: Request) -> Answer:
        if "exhausted" in raw:
            return Refused("CompilerLimit", f"the program is too large or nested too deeply ({raw['exhausted']})")
        if "unusable" in raw:
            return Refused(USELESS, f"the kernel's types are damaged: {raw['unusable']}")
        if "complaints" in raw:
            return Refused("CompileFailed", raw["complaints"], raw["of_kernel"])
        elf = base64.b64decode(raw["elf"])
        if len(elf) > self._config.limits.output:
            return Refused("ObjectTooLarge", f"the object has {len(elf)} bytes; {self._config.limits.output} are allowed")
        if raw["unsafe"] and not request.unsafe:
            return Refused("UnsafeNotAllowed", f"spec.allowUnsafe is needed for {', '.join(raw['unsafe'])}")
        digest = "sha256:" + hashlib.sha256(elf).hexdigest()
        return Compiled(elf, digest, raw["millis"], raw["warnings"], frozenset(raw["folded"]), tuple(raw["unsafe"]))
