"""Limits that a new process puts on itself before the compiler starts in it."""

from __future__ import annotations

import resource

FILE_LIMIT = 16 << 20  # bytes that LLVM may write into a temporary file


def limit_process(memory: int) -> None:
    """Bound the address space to `memory` bytes, write no core file and no large files (setrlimit(2))."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


def allow_processor_time(seconds: int) -> None:
    """From now on the process may use that much processor time more; beyond it the kernel sends SIGXCPU."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds + 1, hard))
