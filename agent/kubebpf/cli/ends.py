"""What ends a run from outside: a signal, the clock, the end of a process.

with Ends(duration_s=5.0, processes=[child.fd]) as ends:
    ends.start_clock()
    while not ends.reached:
        ends.wait(session.epoll_fd)
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 1.0  # the longest wait: counters of failures are looked at this often


class Ends:
    """Waits for events of the program and for its end.

    Args:
        duration_s: seconds from start_clock on; None for no limit.
        processes: pidfds; one that becomes readable ends the run.

    From its block's begin to its end SIGINT, SIGTERM and SIGHUP only set `reached`; a second one of them acts as usual.
    """

    def __init__(self, duration_s: float | None = None, processes: Sequence[int] = ()) -> None:
        self.reached = False
        self._duration, self._processes = duration_s, set(processes)
        self._deadline: float | None = None
        self._before: dict[int, Any] = {}
        self._wakeup = (-1, -1)
        self._heard: list[int] = []

    def __enter__(self) -> Self:
        """Take the signals."""
        self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._caught) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the signals back."""
        self._restore()
        signal.set_wakeup_fd(-1)
        for descriptor in self._wakeup:
            os.close(descriptor)

    def listen(self, numbers: Sequence[int]) -> None:
        """Take further signals, which do not end the run: `heard` gives them."""
        for number in numbers:
            self._before.setdefault(number, signal.signal(number, self._hear))

    def heard(self) -> list[int]:
        """The signals of `listen` that came since the last call, in their order."""
        heard, self._heard = self._heard, []
        return heard

    def start_clock(self) -> None:
        """The duration counts from now."""
        if self._duration is not None:
            self._deadline = time.monotonic() + self._duration

    def wait(self, events: int | None) -> None:
        """Sleep until there are events, an end, or a second has passed.

        Args:
            events: a descriptor that is readable when there are events; None when there never are.
        """
        poll = select.poll()
        for descriptor in (*self._processes, self._wakeup[0], *([] if events is None else [events])):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._timeout_ms())}
        if self._wakeup[0] in ready:
            os.read(self._wakeup[0], 4096)  # a byte for each signal; the handlers have run
        self.reached |= bool(ready & self._processes) or self._late()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _timeout_ms(self) -> int:
        left = _TICK_S if self._deadline is None else min(_TICK_S, max(0.0, self._deadline - time.monotonic()))
        return int(left * 1000) + 1

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.reached = True
        self._restore()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard.append(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
