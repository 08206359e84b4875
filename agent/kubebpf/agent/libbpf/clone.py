"""More instances of a loaded tracing program, each for another place.

The kernel loads a fentry, fexit or tp_btf program for one function or tracepoint, and an object has one program for a wildcard.
libbpf 1.1 loads each program of an object once, so the instructions that it loaded, with maps and types in place, are loaded
again.

    link = attached_clone(program, Place(number=4711), cookie=8)
"""

from __future__ import annotations

import os
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.info import function_info
from kubebpf.agent.libbpf.library import check, lib
from kubebpf.agent.libbpf.link import DescriptorLink
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.libbpf.syscalls import raw_tracepoint_open
from kubebpf.agent.libbpf.types import Place

RAW_TP = 23  # BPF_TRACE_RAW_TP, enum bpf_attach_type
_LOG_BYTES = 1 << 16
_LD_IMM64, _CALL = 0x18, 0x85  # BPF_LD | BPF_DW | BPF_IMM, BPF_JMP | BPF_CALL
_TRACING = 26  # BPF_PROG_TYPE_TRACING
_MOVE, _EXIT = 0xB7, 0x95  # BPF_ALU64 | BPF_MOV | BPF_K, BPF_JMP | BPF_EXIT
_PSEUDO_FUNC, _PSEUDO_CALL = 4, 1


class CloneLink(DescriptorLink):
    """The link of a clone, with the clone's own descriptor beside it for statistics."""

    def __init__(self, fd: int, program: int) -> None:
        super().__init__(fd)
        self.program = program

    def close(self) -> None:
        """As DescriptorLink.close; the program goes with its link."""
        super().close()
        program, self.program = self.program, -1
        if program >= 0:
            os.close(program)


def attached_clone(template: Program, place: Place, cookie: int) -> CloneLink:
    """Load a program's instructions for another place, and attach them there.

    Args:
        template: a loaded tracing program.
        place: where the new instance goes.
        cookie: for the program (Linux 5.19).

    Raises:
        LibbpfError: the kernel refused it; the log is the verifier's.
    """
    program = _load(template, place)
    try:
        if template.attach_type == RAW_TP:
            return CloneLink(raw_tracepoint_open(program, "", cookie, template.name), program)
        options: Any = ffi.new("struct bpf_link_create_opts *", {"sz": ffi.sizeof("struct bpf_link_create_opts")})
        options.tracing.cookie = cookie
        link = lib().bpf_link_create(program, 0, template.attach_type, options)
        return CloneLink(check(link, "bpf_link_create", subject=template.name), program)
    except BaseException:
        os.close(program)
        raise


def trial(place: Place, attach_type: int) -> int:
    """Whether the kernel loads a tracing program for a place: 0, or why it does not, as in errno."""
    nothing = ffi.new("struct bpf_insn[2]", [{"code": _MOVE}, {"code": _EXIT}])  # r0 = 0; exit
    fields = {
        "sz": ffi.sizeof("struct bpf_prog_load_opts"),
        "expected_attach_type": attach_type,
        "attach_btf_id": place.number,
        "attach_btf_obj_fd": place.object,
    }
    options: Any = ffi.new("struct bpf_prog_load_opts *", fields)
    loaded = int(lib().bpf_prog_load(_TRACING, b"kb_trial", b"GPL", nothing, 2, options))
    if loaded >= 0:
        os.close(loaded)
    return max(0, -loaded)


def _load(template: Program, place: Place) -> int:
    instructions, count = template.instructions
    log = ffi.new("char[]", _LOG_BYTES)
    info, types = function_info(template.fd)
    records = _records(instructions, count, info)
    fields = {
        "sz": ffi.sizeof("struct bpf_prog_load_opts"),
        "expected_attach_type": template.attach_type,
        "attach_btf_id": place.number,
        "attach_btf_obj_fd": place.object,
        "attach_prog_fd": place.program,
        "log_buf": log,
        "log_size": _LOG_BYTES,
    }
    if records:
        fields |= {"func_info": ffi.from_buffer(records), "func_info_cnt": len(records) // 8, "func_info_rec_size": 8}
        fields["prog_btf_fd"] = check(lib().bpf_btf_get_fd_by_id(types), "bpf_btf_get_fd_by_id")
    options: Any = ffi.new("struct bpf_prog_load_opts *", fields)
    license = b"GPL" if template.info.gpl else b""
    try:
        loaded = lib().bpf_prog_load(template.type, template.name.encode()[:15], license, instructions, count, options)
        return check(int(loaded), "bpf_prog_load", subject=f"{template.name}: {text(log).strip()[-300:]}")
    finally:
        if records:
            os.close(int(options.prog_btf_fd))


def _records(instructions: Any, count: int, types: list[int]) -> bytes:
    """struct bpf_func_info {u32 instruction, u32 type} of each function: callbacks have to have one.

    The kernel tells the functions' types in their order; where each begins in the instructions before the verifier rewrote them,
    their calls tell.
    """
    starts = {0}
    for at in range(count):
        code, source = instructions[at].code, instructions[at].registers >> 4
        if (code, source) in ((_LD_IMM64, _PSEUDO_FUNC), (_CALL, _PSEUDO_CALL)):
            starts.add(at + 1 + instructions[at].imm)
    if len(starts) == 1 or len(starts) != len(types):
        return b""
    return b"".join(s.to_bytes(4, "little") + t.to_bytes(4, "little") for s, t in zip(sorted(starts), types, strict=True))
