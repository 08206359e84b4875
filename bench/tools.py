"""The two tools that are compared: how each is called, and a command of one under the meter.

peer = Tool.peer()                       # $BPFTRACE, else bpftrace on PATH, else None
costs([ours.command("-e", program)], 5)  # [Cost(wall_ms=210.4, memory_mib=96.0)]
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

from machine import UnableError, meter


@dataclass(frozen=True, slots=True)
class Tool:
    """A tracer.

    Args:
        name: in tables.
        words: the command line in front of its options.
        version: what it says of itself.
    """

    name: str
    words: tuple[str, ...]
    version: str

    @classmethod
    def ours(cls) -> Self:
        """The kubebpf beside this Python."""
        program = Path(sys.executable).with_name("kubebpf")
        return cls("kubebpf", (str(program), "run"), _said((str(program), "--version")))

    @classmethod
    def peer(cls) -> Self | None:
        """bpftrace: the command line in $BPFTRACE, or the one on PATH, or None."""
        words = tuple(shlex.split(os.environ.get("BPFTRACE", "bpftrace")))
        if not words or shutil.which(words[0]) is None:
            return None
        return cls("bpftrace", words, _said((*words, "--version")))

    def command(self, *options: str, warnings: bool = False) -> list[str]:
        """A command line; without warnings, neither tool generates code that counts what goes wrong."""
        return [*self.words, *([] if warnings else ["--no-warnings"]), *options]


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall time, and peak memory of all processes together: medians of several runs."""

    wall_ms: float
    memory_mib: float


def costs(commands: Sequence[Sequence[str]], rounds: int) -> list[Cost]:
    """Run commands in turn, so that what else the machine does meets all alike; time and memory in runs of their own.

    Returns:
        the costs, in the order of the commands.

    Raises:
        UnableError: one failed.
    """
    for command in commands:
        _measured("time", command)  # the files are in the page cache from here on
    times = [[_measured("time", command) / 1e6 for command in commands] for _ in range(rounds)]
    sizes = [[_measured("weigh", command) / 1024 for command in commands] for _ in range(max(rounds // 3, 1))]
    return [Cost(median(t), median(s)) for t, s in zip(zip(*times, strict=True), zip(*sizes, strict=True), strict=True)]


def _measured(what: str, command: Sequence[str]) -> int:
    reader, writer = os.pipe()
    with os.fdopen(reader) as said:
        try:
            done = subprocess.run([meter(), what, str(writer), *command], pass_fds=(writer,), capture_output=True, check=False)
        finally:
            os.close(writer)
        words = said.read().split()
    if done.returncode or len(words) != 2 or words[1] != "0":
        raise UnableError(f"{shlex.join(command)} failed:\n{done.stderr.decode()}{done.stdout.decode()}")
    return int(words[0])


def _said(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnableError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()
