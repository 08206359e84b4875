"""A small C program for uprobes, built once for each version of its source.

with victim(times=3) as process:      # ready, waiting
    process.go()                      # makes its calls, and stays until the block ends
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

_SOURCE = Path(__file__).with_name("victim.c")


@cache
def victim_program() -> Path:
    """The compiled program."""
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"kubebpf-victim-{os.getuid()}-{key}"
    if not program.exists():
        with tempfile.NamedTemporaryFile(dir=program.parent, prefix=program.name, delete=False) as building:
            new = Path(building.name)
        subprocess.run(["gcc", "-O0", "-Wall", "-Werror", "-o", new, _SOURCE], check=True)
        new.chmod(0o755)
        new.rename(program)  # at the end: another test run must not execute a half-written file
    return program


class Victim:
    """A process of it that waits for go()."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._expect("ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    def go(self) -> None:
        """Let it make its calls, and wait until they are made."""
        assert self.process.stdin is not None
        self.process.stdin.write("x")
        self.process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word


@contextmanager
def victim(times: int = 1) -> Iterator[Victim]:
    """A process that is there until the end of the block."""
    command = [str(victim_program()), str(times)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Victim(process)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
