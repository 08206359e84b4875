"""The shared library, opened once, and its messages.

    with messages() as said:
        handle = lib().bpf_object__open_mem(...)
    said.text -> "libbpf: elf: section(3) …"

libbpf has one print function for the whole process. Ours keeps a stack of listeners for each thread; without a listener a
message is dropped. KUBEBPF_LIBBPF_DEBUG=1 copies everything, debug messages too, to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.errors import LibbpfError, LibbpfMissingError

SONAME = "libbpf.so.1"
_RAW_TRACEPOINT = 17  # BPF_PROG_TYPE_RAW_TRACEPOINT: a kind that every kernel loads
_DEBUG_LEVEL = 2  # enum libbpf_print_level: LIBBPF_WARN 0, LIBBPF_INFO 1, LIBBPF_DEBUG 2
_debug = os.environ.get("KUBEBPF_LIBBPF_DEBUG", "") not in ("", "0")


@dataclass
class Messages:
    """What libbpf printed while a listener was open: (level, text), warnings being level 0."""

    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All messages, in order."""
        return "".join(line for _, line in self.lines)

    @property
    def telling(self) -> str:
        """The first warning that names a cause; the later ones say what failed because of it."""
        warnings = [line.strip().removeprefix("libbpf: ") for level, line in self.lines if level == 0]
        return next((line for line in warnings if _MEMLOCK not in line), "")


# Every load without CAP_SYS_RESOURCE begins with this warning. Kernels since 5.11 account BPF memory elsewhere: it is no cause.
_MEMLOCK = "RLIMIT_MEMLOCK"


class _Listeners(threading.local):
    def __init__(self) -> None:
        self.stack: list[Messages] = []


_listeners = _Listeners()


@cache
def lib() -> Any:
    """The opened library.

    Raises:
        LibbpfMissingError: `libbpf.so.1` is not installed.
    """
    try:
        library: Any = ffi.dlopen(SONAME)
    except OSError as error:
        raise LibbpfMissingError(
            f"{SONAME} was not found: install libbpf 1.x (Debian and Ubuntu: apt install libbpf1; Fedora: dnf install libbpf)"
        ) from error
    library.libbpf_set_print(_print)
    return library


@cache
def libc() -> Any:
    """The C library of this process."""
    return ffi.dlopen(None)


@cache
def has(function: str) -> bool:
    """Whether the installed libbpf has a function. Newer calls are asked for so; versions are never compared."""
    try:
        return bool(getattr(lib(), function))
    except AttributeError:
        return False


def version() -> str:
    """The library's version, as `v1.1`."""
    return text(lib().libbpf_version_string())


@cache
def possible_cpus() -> int:
    """The number of possible CPUs: per-CPU map values have one slot for each, online or not."""
    count = int(lib().libbpf_num_possible_cpus())
    if count < 0:
        raise LibbpfError(-count, "libbpf_num_possible_cpus")
    return count


@cache
def has_helper(number: int) -> bool:
    """Whether the kernel has a BPF helper that programs of every kind may call.

    Args:
        number: enum bpf_func_id.
    """
    with messages():
        return bool(lib().libbpf_probe_bpf_helper(_RAW_TRACEPOINT, number, ffi.NULL) == 1)


@contextmanager
def messages() -> Iterator[Messages]:
    """Collects what libbpf prints in this thread."""
    heard = Messages()
    _listeners.stack.append(heard)
    try:
        yield heard
    finally:
        _listeners.stack.remove(heard)


def check(result: int, call: str, said: Messages | None = None, subject: str = "") -> int:
    """The result of a call, or its error.

    Args:
        result: what the call returned: a negative error number on failure (libbpf 1.x returns it and sets errno alike).
        call: its name.
        said: libbpf's messages meanwhile.
        subject: what it was done to.

    Raises:
        LibbpfError: result is negative.
    """
    if result < 0:
        raise failure(-result, call, said, subject)
    return result


def check_pointer(pointer: Any, call: str, said: Messages | None = None, subject: str = "") -> Any:
    """As check, for calls that give a pointer: NULL is the failure and errno has its number."""
    if pointer == ffi.NULL:
        raise failure(ffi.errno, call, said, subject)
    return pointer


def failure(errno: int, call: str, said: Messages | None = None, subject: str = "") -> LibbpfError:
    """The exception for a failed call."""
    return LibbpfError(errno, call, said.text if said else "", subject, said.telling if said else "")


def _format(template: Any, arguments: Any) -> str:
    # vasprintf and not vsnprintf: verifier logs reach megabytes, and a va_list can be walked only once.
    result = ffi.new("char **")
    if libc().vasprintf(result, template, arguments) < 0:
        return ""
    try:
        return text(result[0])
    finally:
        libc().free(result[0])


@ffi.callback("int(int, const char *, void *)", error=0)
def _print(level: int, template: Any, arguments: Any) -> int:
    if level >= _DEBUG_LEVEL and not _debug:
        return 0
    line = _format(template, arguments)
    if _debug:
        sys.stderr.write(line)
    if level < _DEBUG_LEVEL and _listeners.stack:
        _listeners.stack[-1].lines.append((level, line))
    return 0


def count_run_time() -> int:
    """Have the kernel count how long BPF programs run, until the descriptor that this returns is closed.

    Raises:
        LibbpfError: EPERM without CAP_SYS_ADMIN; EINVAL before Linux 5.8.
    """
    return check(lib().bpf_enable_stats(0), "bpf_enable_stats")  # BPF_STATS_RUN_TIME
