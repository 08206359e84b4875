"""The process of `-c CMD`: made before the probes are attached, let loose afterwards.

    with Child.start("ls -l /tmp") as child:       forked, waiting on a pipe, its process id known
        …                                          attach
        child.go()                                 now it becomes ls
        select([child.fd], …)                      readable once it has ended

No ptrace, and no SIGSTOP that a shell would report: the fork reads one byte from a pipe before it calls exec.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from kubebpf.cli.problems import error_line

_GRACE_SECONDS = 2.0


class Child:
    """A command that waits to be run, runs, or has ended.

    Args:
        pid: its process id, the same before and after exec.
        fd: a pidfd.
        gate: the writing end of the pipe that it waits on.
    """

    def __init__(self, pid: int, fd: int, gate: int) -> None:
        self.pid, self.fd, self._gate = pid, fd, gate

    @classmethod
    def start(cls, command: str) -> Self:
        """Fork.

        Args:
            command: words, quoted as in a shell; no shell runs it.

        Raises:
            UserError: it is no command line, or there is no such program.
        """
        words = _words(command)
        program = shutil.which(words[0])
        if program is None:
            raise error_line(f"-c: '{words[0]}' does not exist or is not executable")
        gate, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(program, words, gate, go)
        os.close(gate)
        return cls(pid, os.pidfd_open(pid), go)

    def go(self) -> None:
        """Let it run its program."""
        os.write(self._gate, b"\n")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it if it still runs: it was started for this trace only."""
        os.close(self._gate)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, signal.SIGTERM)
        self._reap()
        os.close(self.fd)

    def _reap(self) -> None:
        import select

        ended, _, _ = select.select([self.fd], [], [], _GRACE_SECONDS)
        if not ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise error_line(f"-c: {error}: {command}") from error
    if not words:
        raise error_line("-c: an empty command")
    return words


def _become(program: str, words: list[str], gate: int, go: int) -> NoReturn:
    # Between fork and exec: nothing may escape into the parent's code.
    try:
        os.close(go)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        # An empty read means that the parent is gone.
        if os.read(gate, 1):
            os.execv(program, words)
    except OSError as error:
        os.write(2, f"ERROR: -c: {program}: {error.strerror}\n".encode())
    finally:
        os._exit(127)
