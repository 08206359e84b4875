"""Kernels that differ from this machine's: its types, with one member called otherwise."""

from __future__ import annotations

from pathlib import Path

RENAMED = "begin_time"  # as long as the name that it replaces, so that nothing else moves
_NAME = "start_time"
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def renamed_kernel(old: str = _NAME, new: str = RENAMED) -> bytes:
    """The types of a kernel where every member, type and function `old` is called `new`.

    Args:
        new: as long as `old`.
    """
    assert len(old) == len(new)
    data = VMLINUX.read_bytes()
    wanted = b"\0" + old.encode() + b"\0"
    assert data.count(wanted) == 1
    return data.replace(wanted, b"\0" + new.encode() + b"\0")
