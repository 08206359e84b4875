"""System calls that libbpf 1.1 does not make, or not in this form: bpf(2) and perf_event_open(2) by number."""

from __future__ import annotations

import errno
import platform
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import libc

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h, and the tables of s390 and powerpc.
_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331, "ppc64le": 319}
_RAW_TRACEPOINT_OPEN = 17  # enum bpf_cmd


def perf_event_open(attributes: Any, pid: int, cpu: int, flags: int, subject: str) -> int:
    """perf_event_open(2) without a group.

    Args:
        attributes: struct perf_event_attr *.
        pid, cpu, flags: as the manual says.
        subject: for the error.

    Raises:
        LibbpfError: it failed.
    """
    arguments = (ffi.cast("int", pid), ffi.cast("int", cpu), ffi.cast("int", -1), ffi.cast("unsigned long", flags))
    return _call("perf_event_open", _PERF_EVENT_OPEN, subject, attributes, *arguments)


def raw_tracepoint_open(program: int, event: str, cookie: int, subject: str) -> int:
    """Attach a raw_tp or tp_btf program. Returns the link's descriptor.

    The cookie of such links came with Linux 6.10, and libbpf 1.1 refuses it for tp_btf; an older kernel refuses the longer
    attributes (EINVAL), and the program is attached without a cookie there.

    Args:
        program: its descriptor.
        event: the tracepoint's name; "" for tp_btf programs, that know theirs.
        cookie: for the program.
        subject: for the error.

    Raises:
        LibbpfError: it cannot be attached.
    """
    name = ffi.new("char[]", event.encode()) if event else ffi.NULL
    attributes = ffi.new("struct raw_tracepoint_attr *", {"name": name, "prog_fd": program, "cookie": cookie})
    try:
        return _bpf(_RAW_TRACEPOINT_OPEN, attributes, ffi.sizeof("struct raw_tracepoint_attr"), subject)
    except LibbpfError as error:
        if error.errno not in (errno.EINVAL, errno.E2BIG):
            raise
    return _bpf(_RAW_TRACEPOINT_OPEN, attributes, ffi.offsetof("struct raw_tracepoint_attr", "cookie"), subject)


def _bpf(command: int, attributes: Any, size: int, subject: str) -> int:
    return _call("bpf", _BPF, subject, ffi.cast("int", command), attributes, ffi.cast("unsigned int", size))


def _call(name: str, numbers: dict[str, int], subject: str, *arguments: Any) -> int:
    number = numbers.get(platform.machine())
    if number is None:
        raise LibbpfError(errno.ENOSYS, name, subject=f"{subject} on {platform.machine()}")
    result = int(libc().syscall(ffi.cast("long", number), *arguments))
    if result < 0:
        raise LibbpfError(ffi.errno, name, subject=subject)
    return result
