"""How much stack the programs of an object use, read from their instructions.

The kernel gives a program and the functions that it calls 512 bytes together (MAX_BPF_STACK, check_max_stack_depth in
kernel/bpf/verifier.c). LLVM is told of no such limit, because it ends the process over it (see target.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

LIMIT = 512
CALLEE = 32  # what the verifier counts at least for a function that is called, such as a callback
_FRAME_POINTER = 10
_LOAD, _STORE_IMMEDIATE, _STORE = 1, 2, 3  # instruction classes BPF_LDX, BPF_ST, BPF_STX
_MOVE, _ADD = 0xBF, 0x07  # rX = rY; rX += imm: the address of something on the stack
_EXECUTABLE = 0x4  # SHF_EXECINSTR


def deepest(elf: bytes) -> int:
    """The bytes of stack that the most demanding program or function of the object uses.

    Args:
        elf: a 64-bit little-endian BPF object.
    """
    return max((_depth(code) for code in _code_sections(elf)), default=0)


def _code_sections(elf: bytes) -> Iterator[bytes]:
    # Elf64_Ehdr: e_shoff at 40, e_shentsize and e_shnum at 58. Elf64_Shdr: sh_name, sh_type, flags, addr, offset, size.
    (table,) = struct.unpack_from("<Q", elf, 40)
    entry, count = struct.unpack_from("<HH", elf, 58)
    for i in range(count):
        _, _, flags, _, offset, size = struct.unpack_from("<IIQQQQ", elf, table + i * entry)
        if flags & _EXECUTABLE:
            yield elf[offset : offset + size]


def _depth(code: bytes) -> int:
    """The lowest offset from r10 that is loaded from, stored to, or made an address."""
    lowest, addressed = 0, -1
    for opcode, registers, offset, immediate in struct.iter_unpack("<BBhi", code):
        target, source = registers & 15, registers >> 4
        kind = opcode & 7
        if (kind == _LOAD and source == _FRAME_POINTER) or (kind in (_STORE, _STORE_IMMEDIATE) and target == _FRAME_POINTER):
            lowest = min(lowest, offset)
        if opcode == _ADD and target == addressed:
            lowest = min(lowest, immediate)
        addressed = target if opcode == _MOVE and source == _FRAME_POINTER else -1
    return -lowest
