"""System calls that libbpf 1.1 does not make, or not in this form: bpf(2) and perf_event_open(2) by number."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Sequence
from functools import cache
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import libc

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h, and the tables of s390 and powerpc.
_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331, "ppc64le": 319}
_PROG_LOAD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 5, 17, 28  # enum bpf_cmd
UPROBE_MULTI = 48  # BPF_TRACE_UPROBE_MULTI, enum bpf_attach_type
_KPROBE = 2  # BPF_PROG_TYPE_KPROBE
_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN


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


def uprobe_multi_link(
    program: int, path: str, places: Sequence[tuple[int, int, int]], returns: bool, pid: int, subject: str
) -> int:
    """Attach a program to many places of one file (Linux 6.6). Returns the link's descriptor.

    Args:
        program: its descriptor; it was loaded for UPROBE_MULTI.
        path: of the file.
        places: offset in the file, offset of the semaphore or 0, and cookie of each.
        returns: fire when the functions return.
        pid: only in this process; 0 for all.
        subject: for the error.

    Raises:
        LibbpfError: it cannot be attached; nothing is.
    """
    columns = [ffi.new("__u64[]", [place[i] for place in places]) for i in range(3)]
    name = ffi.new("char[]", os.fsencode(path))
    fields = {
        "prog_fd": program, "attach_type": UPROBE_MULTI, "path": name, "offsets": columns[0],
        "ref_ctr_offsets": columns[1] if any(place[1] for place in places) else ffi.NULL, "cookies": columns[2],
        "cnt": len(places), "multi_flags": _RETURN if returns else 0, "pid": pid,
    }  # fmt: skip
    attributes = ffi.new("struct uprobe_multi_attr *", fields)
    return _bpf(_LINK_CREATE, attributes, ffi.sizeof("struct uprobe_multi_attr"), subject)


@cache
def has_uprobe_multi() -> bool:
    """Whether the kernel attaches one program to many user places at once.

    A kernel that does says that a folder cannot be probed; another does not know the attach type. The process filter meant a
    thread at first, and such kernels say something else of a process that is none (Linux 46ba0e49b642).
    """
    try:
        program = _smallest_program()
    except LibbpfError:
        return False
    try:
        return (_refusal(program, 0), _refusal(program, 0xFFFFFFFF)) == (errno.EBADF, errno.EINVAL)
    finally:
        os.close(program)


def _refusal(program: int, pid: int) -> int:
    try:
        os.close(uprobe_multi_link(program, "/", [(0, 0, 0)], False, pid, "a test"))
    except LibbpfError as error:
        return int(error.errno or 0)
    return 0


def _smallest_program() -> int:
    # r0 = 0; exit
    code = ffi.from_buffer(b"\xb7" + bytes(7) + b"\x95" + bytes(7))
    license_ = ffi.new("char[]", b"GPL")
    fields = {"type": _KPROBE, "count": 2, "code": code, "license": license_, "expected_attach_type": UPROBE_MULTI}
    attributes = ffi.new("struct prog_load_attr *", fields)
    return _bpf(_PROG_LOAD, attributes, ffi.sizeof("struct prog_load_attr"), "a test")


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
