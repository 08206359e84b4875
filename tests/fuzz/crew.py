"""Inputs by number, judged in processes that may die or hang: what ends one of them is a finding like any other.

for number, finding in crew(range(1000), lambda n: judge(mutant(Random(n), seeds()))): …
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized

from fuzz.judge import Finding

MEMORY = 2 << 30  # bytes of address space beyond what the process has when it starts
WALL = 30.0  # seconds without an answer, then a worker is ended

Judge = Callable[[int], Finding | None]
_FORK = multiprocessing.get_context("fork")


class _Worker:
    """A process that judges the numbers of a range, and says which one it is at."""

    def __init__(self, numbers: range, judge: Judge) -> None:
        self._numbers, self._judge = numbers, judge
        self.begin(0)

    def begin(self, index: int) -> None:
        """Start with the number at this place of the range."""
        self.at: Synchronized[int] = _FORK.Value("q", index)
        self.pipe, writing = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=self._work, args=(index, writing), daemon=True)
        self.process.start()
        writing.close()
        self.seen, self.moved = index, time.monotonic()

    def _work(self, first: int, answers: Connection) -> None:
        os.nice(5)
        limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + MEMORY  # noqa: SIM115, PTH123
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for index in range(first, len(self._numbers)):
            self.at.value = index
            if finding := self._judge(self._numbers[index]):
                answers.send((self._numbers[index], finding))
        self.at.value = len(self._numbers)

    def hangs(self) -> bool:
        """Whether it has been at one number for too long; it is ended then."""
        if self.at.value != self.seen:
            self.seen, self.moved = self.at.value, time.monotonic()
        if time.monotonic() - self.moved < WALL:
            return False
        self.process.kill()
        return True

    def buried(self) -> tuple[int, Finding] | None:
        """What its end says; None when it had done its work. It goes on with the next number."""
        self.process.join()
        self.pipe.close()
        index = self.at.value
        if index == len(self._numbers):
            return None
        found = self._numbers[index], Finding("killed", f"exit code {self.process.exitcode}")
        self.begin(index + 1)
        return found


def crew(numbers: range, judge: Judge, workers: int = 2, until: float = float("inf")) -> Iterator[tuple[int, Finding]]:
    """Judge all numbers; findings come as they are made.

    Args:
        numbers: of the inputs.
        judge: what to do with one; runs in a fork of this process.
        workers: processes at a time.
        until: time.monotonic() at which all end.
    """
    running = [_Worker(numbers[i::workers], judge) for i in range(workers)]
    try:
        while running and time.monotonic() < until:
            for pipe in wait([worker.pipe for worker in running], timeout=0.2):
                worker = next(w for w in running if w.pipe is pipe)
                try:
                    yield worker.pipe.recv()
                except EOFError:
                    end = worker.buried()
                    if end is None:
                        running.remove(worker)
                    else:
                        yield end
            for worker in running:
                worker.hangs()
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.join()
