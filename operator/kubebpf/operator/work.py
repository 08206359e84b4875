"""The queue of keys that want a look, each at most once at a time, and the buckets that bound how often something is done.

    queue.mark("uid")             # soon
    queue.mark("uid", delay=15)   # in 15 s, unless an earlier look is already asked for

Nothing in it is state: after a restart every key is marked again, and looking twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from kubebpf.operator.api import ApiError
from kubebpf.operator.telemetry import FAILURES, LOOKS

logger = logging.getLogger(__name__)

BACKOFF = (0.5, 60.0)  # seconds: the first delay after an error, and the longest
SPACING = 0.05  # seconds between two looks at a key, so that a burst of events is one look
SHARE = 4.0  # a look that took d seconds is not repeated before SHARE * d: big merges must not keep the loop busy
LONGEST = 10.0  # seconds; but no longer than this: a look that hung through an outage says nothing about the next one


class Bucket:
    """A token bucket.

    Args:
        burst: how many at once.
        period: seconds for one token to come back.
    """

    def __init__(self, burst: int, period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._period, self._clock = burst, period, clock
        self._tokens, self._at = float(burst), clock()

    def wait(self) -> float:
        """Seconds until a token is there; 0 when there is one."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._at) / self._period, float(self._burst))
        self._at = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) * self._period

    def take(self) -> bool:
        """Take a token if there is one."""
        if self.wait() > 0:
            return False
        self._tokens -= 1
        return True


class Queue:
    """Runs `look(key)` for every marked key, one key never twice at the same time.

    Args:
        look: returns the seconds after which it wants to look again, or None.
    """

    def __init__(self, look: Callable[[str], Awaitable[float | None]], workers: int = 4) -> None:
        self._look, self._workers = look, workers
        self._due: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._busy: set[str] = set()
        self._wake = asyncio.Event()

    def mark(self, key: str, delay: float = 0.0) -> None:
        """Have a look at `key` after `delay` seconds at the latest."""
        due = time.monotonic() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._wake.set()

    def forget(self, key: str) -> None:
        """Drop what is remembered of a key that exists no longer."""
        for memory in (self._due, self._not_before, self._failures):
            memory.pop(key, None)

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._busy.add(key)
            try:
                await self._one(key)
            finally:
                self._busy.discard(key)
                self._wake.set()

    async def _next(self) -> str:
        while True:
            now = time.monotonic()
            ready = {key: max(due, self._not_before.get(key, 0.0)) for key, due in self._due.items() if key not in self._busy}
            key = min(ready, key=ready.__getitem__, default=None)
            if key is not None and ready[key] <= now:
                del self._due[key]
                return key
            await self._sleep(ready[key] - now if key is not None else None)

    async def _sleep(self, seconds: float | None) -> None:
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    async def _one(self, key: str) -> None:
        began = time.monotonic()
        try:
            again = await self._look(key)
            self._failures.pop(key, None)
        except Exception as error:
            again = self._backoff(key, error)
        ended = time.monotonic()
        LOOKS.observe(ended - began)
        self._not_before[key] = ended + max(SPACING, min(SHARE * (ended - began), LONGEST) if again is None else SPACING)
        if again is not None:
            self.mark(key, again)

    def _backoff(self, key: str, error: Exception) -> float:
        FAILURES.inc()
        count = self._failures[key] = self._failures.get(key, 0) + 1
        first, longest = BACKOFF
        # Jitter: after an outage of the API server not all keys may come back at the same moment.
        delay = min(longest, first * 2.0 ** min(count - 1, 10)) * random.uniform(0.5, 1.5)
        if isinstance(error, ApiError):
            delay = max(delay, error.retry_after * random.uniform(1.0, 2.0))
        logger.warning("%s: %s; trying again in %.1f s", key, error or type(error).__name__, delay)
        return delay
