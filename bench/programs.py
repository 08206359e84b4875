"""Programs in the kernel, of whichever process: who holds them, how often and how long they ran; and what makes them run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kubebpf.agent.libbpf.info import program_info
from kubebpf.agent.libbpf.library import check, lib
from machine import meter

_TRACEPOINT = 5  # enum bpf_prog_type


def call(count: int, through: Sequence[str] = ()) -> None:
    """Make getppid calls on one CPU.

    Args:
        count: how many.
        through: a command that runs the words behind it.
    """
    subprocess.run([*through, str(meter()), "calls", str(max(os.sched_getaffinity(0))), str(count)], check=True)


def asked(number: int) -> tuple[int, int, int]:
    """Time in ns, runs, and instructions of a program of the kernel."""
    descriptor = check(lib().bpf_prog_get_fd_by_id(number), "bpf_prog_get_fd_by_id")
    try:
        info = program_info(descriptor)
    finally:
        os.close(descriptor)
    return info.run_time_ns, info.run_cnt, info.translated_bytes // 8


def tracepoint_programs(pid: int) -> Iterator[int]:
    """The tracepoint programs that a process holds (proc(5), fdinfo)."""
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
            if int(fields.get("prog_type", 0)) == _TRACEPOINT:
                yield int(fields["prog_id"])
