"""Kernels that differ from this machine's: its types, with some names changed."""

from __future__ import annotations

from pathlib import Path

RENAMED = "begin_time"  # as long as the name that it replaces, so that nothing else moves
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def renamed_kernel(new: str = RENAMED, old: str = "start_time", data: bytes = b"") -> bytes:
    """The types of a kernel where every member, type and function `old` is called `new`.

    Args:
        new: as long as `old`.
        data: the types of another kernel than this machine's.
    """
    assert len(old) == len(new)
    data = data or VMLINUX.read_bytes()
    wanted = b"\0" + old.encode() + b"\0"
    assert data.count(wanted) == 1
    return data.replace(wanted, b"\0" + new.encode() + b"\0")
