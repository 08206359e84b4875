"""kopf, run for ever: when one of its watches gives up, all of it is run again in the same process.

kopf takes an answer 404 to a watch for final, and an operator that lost one watch of four looks healthy and sees nothing. An API
server that has just started answers so for every custom resource until it has read the CRDs (about a second), so each of its
restarts could do that. kopf tells of it only in its log (kopf/_core/reactor/orchestration.py, aiotasks.guard).

And one thing of kopf's is made cheaper: at the start each object waits until all are indexed, and each one that comes or is
indexed woke all that waited (kopf/_cogs/aiokits/aiotoggles.py). For four thousand objects that took two minutes of a core.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import kopf
from kopf._cogs.aiokits import aiotoggles

logger = logging.getLogger(__name__)

ORCHESTRATION = "kopf._core.reactor.orchestration"
PAUSES = (1.0, 2.0, 5.0)  # seconds before the next run; the last one for ever


class GaveUp(logging.Filter):
    """Swallows kopf's record of a task that failed, traceback and all, and calls `tell` with its text."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if record.levelno < logging.ERROR or not record.exc_info:
            return True
        self._tell(record.getMessage())
        return False


async def _make_toggle(self: aiotoggles.ToggleSet, val: bool = False, *, name: str | None = None) -> aiotoggles.Toggle:
    """As kopf's, but who waits is woken only when there is something to see: another state of the whole set."""
    toggle = aiotoggles.Toggle(val, name=name, condition=self._condition)
    async with self._condition:
        before = self.is_on()
        self._toggles.add(toggle)
        if self.is_on() != before:
            self._condition.notify_all()
    return toggle


async def _drop_toggle(self: aiotoggles.ToggleSet, toggle: aiotoggles.Toggle) -> None:
    """Likewise."""
    async with self._condition:
        before = self.is_on()
        self._toggles.discard(toggle)
        if self.is_on() != before:
            self._condition.notify_all()


def wake_less(toggles: Any = aiotoggles.ToggleSet) -> None:
    """Put these in place of kopf's own, as long as kopf's are made of the parts that they use."""
    if {"_condition", "_toggles"} <= set(vars(toggles(all))):
        toggles.make_toggle, toggles.drop_toggle = _make_toggle, _drop_toggle


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether asyncio has more to say than that kopf's watches were in the middle of something when the process ended."""
    return not record.getMessage().startswith("an error occurred during closing of asynchronous generator")


async def run(**options: Any) -> None:
    """Run `kopf.operator` until a signal ends it.

    Args:
        options: of `kopf.operator`; every run gets a copy of `memo`.
    """
    memo = options.pop("memo")
    wake_less()
    logging.getLogger("asyncio").addFilter(is_worth_a_line)
    for pause in _pauses():
        if not await _run_once(memo, **options):
            return
        await asyncio.sleep(pause)


def _pauses() -> Any:
    yield from PAUSES
    while True:
        yield PAUSES[-1]


async def _run_once(memo: kopf.Memo, **options: Any) -> bool:
    """Whether a watch gave up."""
    stop, failures = asyncio.Event(), list[str]()

    def tell(what: str) -> None:
        logger.warning("starting again: %s", what)
        failures.append(what)
        stop.set()

    noticing = GaveUp(tell)
    orchestration = logging.getLogger(ORCHESTRATION)
    orchestration.addFilter(noticing)
    try:
        await kopf.operator(stop_flag=stop, **options | {"memo": kopf.Memo(memo, stop_flag=stop)})
    finally:
        orchestration.removeFilter(noticing)
    return bool(failures)
