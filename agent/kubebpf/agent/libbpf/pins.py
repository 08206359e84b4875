"""Files of a bpffs that keep programs, maps and links beyond the process that made them.

    pin(map.fd, folder / "map_0")
    fd = opened(folder / "map_0")
    write_note(folder / "state", b"...")     a map of one entry: a bpffs has no plain files

bpffs refuses names with dots. Nothing here follows a symbolic link.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import map_info
from kubebpf.agent.libbpf.library import check, lib

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_LENGTH = 8  # bytes of the number in front of a note


def pin(fd: int, path: Path) -> None:
    """Keep what a descriptor of a program, map or link stands for.

    Args:
        fd: it stays the caller's.
        path: a file to make.

    Raises:
        LibbpfError: EEXIST; EINVAL for what cannot be pinned (perf events without a BPF link, before Linux 5.15); EPERM where
            there is no bpffs.
    """
    check(lib().bpf_obj_pin(fd, os.fsencode(path)), "bpf_obj_pin", subject=str(path))


def opened(path: Path) -> int:
    """A new descriptor of what is pinned.

    Raises:
        LibbpfError: there is no pin: ENOENT; ELOOP for a symbolic link.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        raise LibbpfError(error.errno or errno.EIO, "lstat", subject=str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        raise LibbpfError(errno.ELOOP, "bpf_obj_get", subject=f"{path}, which is no pin")
    return check(lib().bpf_obj_get(os.fsencode(path)), "bpf_obj_get", subject=str(path))


def write_note(path: Path, text: bytes) -> None:
    """Pin bytes.

    Raises:
        LibbpfError: no memory for them, or as `pin`.
    """
    data = len(text).to_bytes(_LENGTH, "little") + text
    fd = check(lib().bpf_map_create(_ARRAY, b"kb_note", 4, len(data), 1, ffi.NULL), "bpf_map_create", subject=str(path))
    try:
        check(lib().bpf_map_update_elem(fd, bytes(4), data, 0), "bpf_map_update_elem", subject=str(path))
        pin(fd, path)
    finally:
        os.close(fd)


def replace_note(path: Path, text: bytes) -> None:
    """Pin bytes in place of those that are there: whoever reads finds the old ones or the new ones.

    Raises:
        LibbpfError: as `write_note`.
    """
    new = path.with_name(f"{path.name}_new")
    new.unlink(missing_ok=True)  # of somebody who was killed
    write_note(new, text)
    new.replace(path)


def read_note(path: Path) -> bytes:
    """Pinned bytes.

    Raises:
        LibbpfError: there are none.
    """
    fd = opened(path)
    try:
        info = map_info(fd)
        if (info.type, info.key_size, info.max_entries) != (_ARRAY, 4, 1) or info.value_size < _LENGTH:
            raise LibbpfError(errno.EINVAL, "read_note", subject=f"{path}, which is no note")
        value = ffi.new("char[]", (info.value_size + 7) // 8 * 8)
        check(lib().bpf_map_lookup_elem(fd, bytes(4), value), "bpf_map_lookup_elem", subject=str(path))
        data = bytes(ffi.buffer(value, info.value_size))
        return data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")]
    finally:
        os.close(fd)
