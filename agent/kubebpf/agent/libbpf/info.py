"""What the kernel tells about a loaded program, map or link (BPF_OBJ_GET_INFO_BY_FD).

It works on our own descriptors without CAP_SYS_ADMIN; going from an id to a descriptor needs it (bpf(2)).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import check, lib

Kind = Literal["prog", "map", "link"]


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A loaded program.

    Args:
        id: the kernel's number for it.
        name: its first 15 bytes, as the kernel keeps them.
        type: enum bpf_prog_type.
        run_time_ns, run_cnt: counted only while kernel.bpf_stats_enabled is 1.
        recursion_misses: runs that were skipped because the program was running on that CPU already.
        translated_bytes: of its instructions after the verifier's rewriting; 8 bytes each.
        verified_instructions: how many the verifier walked.
        gpl: whether its license is compatible with the kernel's.
    """

    id: int
    name: str
    type: int
    run_time_ns: int
    run_cnt: int
    recursion_misses: int
    translated_bytes: int
    verified_instructions: int
    gpl: bool = True


NO_PREALLOC = 1  # BPF_F_NO_PREALLOC


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map of the kernel: sizes in bytes, of one CPU's value for per-CPU maps; `grows`: takes memory for a key when it comes."""

    id: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    grows: bool = False


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """An attached link: its id, its program's id and enum bpf_link_type."""

    id: int
    program_id: int
    type: int


def program_info(fd: int) -> ProgramInfo:
    """Ask about a program.

    Raises:
        LibbpfError: fd is not a program.
    """
    i = _info(fd, "struct bpf_prog_info")
    return ProgramInfo(
        i.id, text(i.name), i.type, i.run_time_ns, i.run_cnt, i.recursion_misses, i.xlated_prog_len, i.verified_insns,
        bool(i.gpl_compatible & 1),
    )  # fmt: skip


def map_info(fd: int) -> MapInfo:
    """As program_info, of a map."""
    i = _info(fd, "struct bpf_map_info")
    return MapInfo(i.id, text(i.name), i.type, i.key_size, i.value_size, i.max_entries, bool(i.map_flags & NO_PREALLOC))


def map_memory(fd: int) -> int:
    """The bytes that a map takes now, as the kernel tells (`memlock`): exact since Linux 6.3; between 5.11 and that, keys and
    values of a full map."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0


def link_info(fd: int) -> LinkInfo:
    """As program_info, of a link."""
    i = _info(fd, "struct bpf_link_info")
    return LinkInfo(i.id, i.prog_id, i.type)


def program_btf(fd: int) -> int:
    """The number of a program's own BTF, 0 when it has none."""
    return int(_info(fd, "struct bpf_prog_info").btf_id)


def function_info(fd: int) -> tuple[list[int], int]:
    """The types of a program's functions in their order, and the number of the BTF that they are in."""
    count = _info(fd, "struct bpf_prog_info").nr_func_info
    records = ffi.new("__u32[]", max(count, 1) * 2)
    info: Any = ffi.new("struct bpf_prog_info *", {"func_info": int(ffi.cast("uintptr_t", records)), "nr_func_info": count})
    info.func_info_rec_size = 8  # struct bpf_func_info {u32 insn_off, u32 type_id}
    size = ffi.new("__u32 *", ffi.sizeof("struct bpf_prog_info"))
    if (result := lib().bpf_obj_get_info_by_fd(fd, info, size)) < 0:
        raise LibbpfError(-result, "bpf_obj_get_info_by_fd", subject="bpf_prog_info")
    return [int(records[2 * i + 1]) for i in range(info.nr_func_info)], int(info.btf_id)


@contextmanager
def program_numbered(number: int) -> Iterator[int]:
    """A descriptor of a loaded BPF program, until the block's end.

    Raises:
        LibbpfError: there is none of this number, or one may not ask (it needs CAP_SYS_ADMIN).
    """
    fd = check(int(lib().bpf_prog_get_fd_by_id(number)), "bpf_prog_get_fd_by_id", subject=f"program {number}")
    try:
        yield fd
    finally:
        os.close(fd)


def program_names() -> Iterator[tuple[int, str]]:
    """The number and the name of every loaded BPF program; the kernel keeps 15 bytes of a name, and BTF the whole.

    Raises:
        LibbpfError: not allowed to ask (it needs CAP_SYS_ADMIN).
    """
    number = ffi.new("__u32 *", 0)
    while (result := lib().bpf_prog_get_next_id(number[0], number)) == 0:
        with suppress(LibbpfError), program_numbered(int(number[0])) as fd:  # it may have gone meanwhile
            yield int(number[0]), _function_name(fd) or program_info(fd).name
    if result != -errno.ENOENT:
        raise LibbpfError(-result, "bpf_prog_get_next_id")


def _function_name(fd: int) -> str:
    types, number = function_info(fd)
    btf = lib().btf__load_from_kernel_by_id(number) if types else ffi.NULL
    if btf == ffi.NULL:
        return ""
    try:
        return text(lib().btf__name_by_offset(btf, lib().btf__type_by_id(btf, types[0]).name_off))
    finally:
        lib().btf__free(btf)


def exists(kind: Kind, id: int) -> bool:
    """Whether the kernel has a program, map or link of this id.

    Raises:
        LibbpfError: not allowed to ask (it needs CAP_SYS_ADMIN).
    """
    call = f"bpf_{kind}_get_fd_by_id"
    fd = getattr(lib(), call)(id)
    if fd == -errno.ENOENT:
        return False
    os.close(check(fd, call, subject=f"{kind} {id}"))
    return True


def _info(fd: int, structure: str) -> Any:
    info = ffi.new(f"{structure} *")
    size = ffi.new("__u32 *", ffi.sizeof(structure))
    if (result := lib().bpf_obj_get_info_by_fd(fd, info, size)) < 0:
        raise LibbpfError(-result, "bpf_obj_get_info_by_fd", subject=structure.removeprefix("struct "))
    return info[0]
