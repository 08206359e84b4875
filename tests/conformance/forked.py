"""`kubebpf …` in a fork of this process, which has imported it already: for machines on which imports take longer than all else.

process = Forked(["kubebpf", "run", "-e", "…"], {})      used as a subprocess.Popen whose output is piped
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NoReturn

_GLANCE_S = 0.02
_WANTED = (
    "kubebpf.cli.run",
    "kubebpf.cli.building",
    "kubebpf.cli.local",
    "kubebpf.compiler.pipeline",
    "kubebpf.agent.session.maps",
)


class Forked:
    """See the module; the methods are those of subprocess.Popen."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        for name in _WANTED:
            import_module(name)
        out, err = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _be(command, env, out[1], err[1])
        os.close(out[1])
        os.close(err[1])
        self.stdout: BinaryIO = open(out[0], "rb")  # noqa: PTH123, SIM115 - descriptors
        self.stderr: BinaryIO = open(err[0], "rb")  # noqa: PTH123, SIM115

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (timeout or 1e9)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("kubebpf", timeout or 0)
            time.sleep(_GLANCE_S)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _be(command: list[str], env: Mapping[str, str], out: int, err: int) -> NoReturn:
    """The new process: what a fresh `kubebpf` would be."""
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(open(n, mode), line_buffering=n == 2)  # noqa: PTH123, SIM115
            for n, mode in ((0, "rb"), (1, "wb"), (2, "wb"))
        )
        Path("/proc/self/comm").write_text("kubebpf")
        sys.argv = command
        os.environ.update(env)
        from kubebpf.cli.main import main

        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
