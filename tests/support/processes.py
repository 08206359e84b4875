"""Child processes that never outlive the tests, ended by their own pid only."""

from __future__ import annotations

import ctypes
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec must not import or dlopen.
_LIBC = ctypes.CDLL(None, use_errno=True)


class ServerDiedError(Exception):
    """A server ended by itself; carries the end of its log."""


def _die_with_parent() -> None:
    # A test run ended by kill -9 would otherwise leave etcd and its friends behind.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Server:
    """One long-running program with its log file; may be started again after it was stopped or killed."""

    def __init__(self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self.env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False  # to end

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerDiedError(f"{self.name} was never started")
        return self._process.pid

    def start(self) -> None:
        """Start unless it runs. From the main thread: the kernel ends the program with the thread that started it."""
        if self.running:
            return
        self._told = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                preexec_fn=_die_with_parent,
            )

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._told |= number in (signal.SIGTERM, signal.SIGKILL)
            self._process.send_signal(number)

    def stop(self, grace: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL after the grace time; the exit status, None if it never ran."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int | None:
        """kill -9, as a crash would be."""
        self.signal(signal.SIGKILL)
        return self._process.wait() if self._process is not None else None

    @property
    def ended_by_itself(self) -> int | None:
        """The exit status of one that nobody has told to end."""
        return None if self._process is None or self._told else self._process.poll()

    def check(self) -> None:
        """Raise with the end of the log if the program has ended by itself."""
        if not self.running:
            raise ServerDiedError(f"{self.name} ended by itself ({self.ended_by_itself}):\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


T = TypeVar("T")


def eventually(check: Callable[[], T], timeout: float = 30.0, every: float = 0.05, what: str = "") -> T:
    """Call until the answer is true and return it; an AssertionError inside means "not yet", the last one is raised."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = check()
            if answer:
                return answer
            failure = AssertionError(f"not within {timeout:g} s: {what or getattr(check, '__name__', check)}")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 below the range that the kernel hands to outgoing connections.

    A server that is stopped and started again on its port must not find it taken by somebody's client meanwhile.
    """
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.randrange(20000, 32000)))
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [holder.getsockname()[1] for holder in held]
    finally:
        for holder in held:
            holder.close()
