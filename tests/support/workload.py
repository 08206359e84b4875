"""Processes whose system calls are known exactly, in a pod or outside every pod, and noise beside them.

work = Workload.start("--getppid", 1000, pod=pod)      # ready, waiting
work.go()                                              # makes the calls and ends
with noise():                                          # getppid calls outside every pod
    ...
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from support.pods import Pod

_SOURCE = Path(__file__).with_name("workload.c")


@cache
def workload_program() -> Path:
    """The compiled helper; one for each version of its source, shared by all test runs of this user."""
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"kubebpf-workload-{os.getuid()}-{key}"
    if not program.exists():
        with tempfile.NamedTemporaryFile(dir=program.parent, prefix=program.name, delete=False) as building:
            new = Path(building.name)
        subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-static", "-o", new, _SOURCE], check=True)
        new.chmod(0o755)
        # Renamed at the end: another test run must not execute a half-written file.
        new.rename(program)
    return program


class Workload:
    """One helper process that is ready and waits for go()."""

    def __init__(self, process: subprocess.Popen[Any], linger: bool) -> None:
        self.process = process
        self.linger = linger

    @classmethod
    def start(
        cls,
        *options: str | int,
        pod: Pod | None = None,
        container: str | None = None,
        cgroup: Path | None = None,
        linger: bool = False,
    ) -> Self:
        """Start it in a container of a pod (or in a cgroup nested there), or outside every pod; see workload.c."""
        argv = [str(workload_program()), "--wait", *(["--linger"] if linger else []), *(str(word) for word in options)]
        pipe = subprocess.PIPE
        if pod is None:
            process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        else:
            process = pod.run(argv, container, stdin=pipe, stdout=pipe, cgroup=cgroup)
        work = cls(process, linger)
        work._expect("ready")
        return work

    @property
    def pid(self) -> int:
        return self.process.pid

    def begin(self) -> None:
        """Let it start, without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write("x")
        self.process.stdin.flush()

    def go(self) -> int:
        """Let it make its calls and wait until they are made; the number of getppid calls (-1 while it lingers)."""
        self.begin()
        if not self.linger:
            return self.end()
        self._expect("done")
        return -1

    def end(self) -> int:
        """Wait until it has ended (a lingering one is told to); the number of getppid calls it made."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        made = int(self.process.stdout.readlines()[-1])
        self.process.stdout.close()
        assert self.process.wait(10) == 0
        return made

    def stop(self) -> int:
        """SIGTERM for one that runs --forever; the number of getppid calls it made."""
        self.process.terminate()
        return self.end()

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == word, f"the workload said {said!r}, not {word!r}"


@contextmanager
def noise(gap_us: int = 200) -> Iterator[Workload]:
    """A process outside every pod that calls getppid all the time."""
    work = Workload.start("--forever", "--gap-us", gap_us)
    work.begin()
    try:
        yield work
    finally:
        work.stop()


def make_calls(count: int, pod: Pod | None = None, container: str | None = None) -> int:
    """Exactly that many getppid calls in a pod, now; the pid that made them."""
    work = Workload.start("--getppid", count, pod=pod, container=container)
    assert work.go() == count
    return work.pid
