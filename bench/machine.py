"""The machine under the figures: its name, the small measuring program, and the kernel's BPF statistics."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("meter.c")
_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")


class UnableError(Exception):
    """This machine cannot be measured; the message says why, for the person who asked."""


def meter() -> Path:
    """The compiled meter.c; one for each version of its source.

    Raises:
        UnableError: there is no C compiler.
    """
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"kubebpf-meter-{os.getuid()}-{key}"
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnableError("bench/meter.c needs a C compiler: apt install gcc libc6-dev")
    building = program.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-static", "-o", building, _SOURCE], check=True)
    return building.rename(program)


@contextmanager
def run_statistics() -> Iterator[None]:
    """The kernel counts runs and times of BPF programs inside this block (kernel.bpf_stats_enabled)."""
    before = _STATISTICS.read_text()
    _STATISTICS.write_text("1")
    try:
        yield
    finally:
        _STATISTICS.write_text(before)


def processor() -> str:
    """The processor as /proc/cpuinfo names it, and how many there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs"


def require_rights() -> None:
    """Refuse early what would fail later.

    Raises:
        UnableError: not root, or a kernel without BTF.
    """
    if os.geteuid() != 0:
        raise UnableError("measuring programs in the kernel needs root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise UnableError("this kernel has no BTF")
