"""How much stack the programs of an object use with the functions that run on top of them, read from their instructions.

The kernel gives a program and the functions that it calls, or hands to a helper, 512 bytes together (MAX_BPF_STACK,
check_max_stack_depth in kernel/bpf/verifier.c), and room for 8 of them. LLVM is told of no such limit, because it
ends the process over it (see target.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

LIMIT = 512
FRAMES = 8  # MAX_CALL_FRAMES: a program and the functions on top of it
_ROUNDED = 32  # what the verifier rounds a function's stack up to, and counts at least
_FRAME_POINTER = 10
_LOAD, _STORE_IMMEDIATE, _STORE = 1, 2, 3  # instruction classes BPF_LDX, BPF_ST, BPF_STX
_MOVE, _ADD = 0xBF, 0x07  # rX = rY; rX += imm: the address of something on the stack
_CALL, _ADDRESS = 0x85, 0x18  # call; rX = imm64
_TO_FUNCTION = 1  # the source register of a call to another function: BPF_PSEUDO_CALL
_EXECUTABLE = 0x4  # SHF_EXECINSTR
_SYMBOLS, _RELOCATIONS = 2, 9  # SHT_SYMTAB, SHT_REL
_FUNCTION = 2  # STT_FUNC

_Place = tuple[int, int]  # section, and the offset in it


@dataclass(slots=True)
class _Body:
    """One function of the object."""

    depth: int
    callees: set[_Place] = field(default_factory=set)


def deepest(elf: bytes) -> int:
    """The bytes of stack that the most demanding program of the object uses, with all that runs on top of it.

    Args:
        elf: a 64-bit little-endian BPF object.
    """
    bodies = _bodies(elf)
    return max((_stack(place, bodies) for place in bodies), default=0)


def frames(elf: bytes) -> int:
    """How many functions of the object are on top of each other at most, the program itself counted."""
    bodies = _bodies(elf)
    return max((_frames(place, bodies) for place in bodies), default=0)


def _stack(place: _Place, bodies: dict[_Place, _Body]) -> int:
    body = bodies[place]
    below = [_rounded(_stack(callee, bodies)) for callee in body.callees if callee in bodies]
    return _rounded(body.depth) + max(below) if below else body.depth


def _rounded(depth: int) -> int:
    return max(-(-depth // _ROUNDED), 1) * _ROUNDED


def _frames(place: _Place, bodies: dict[_Place, _Body]) -> int:
    return 1 + max((_frames(callee, bodies) for callee in bodies[place].callees if callee in bodies), default=0)


def _bodies(elf: bytes) -> dict[_Place, _Body]:
    """The functions by their place."""
    # Elf64_Ehdr: e_shoff at 40, e_shentsize and e_shnum at 58. Elf64_Shdr: sh_name, sh_type, flags, addr, offset, size, …
    (table,) = struct.unpack_from("<Q", elf, 40)
    entry, count = struct.unpack_from("<HH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQII", elf, table + i * entry) for i in range(count)]
    symbols = next((list(_symbols(elf, h[4], h[5])) for h in headers if h[1] == _SYMBOLS), [])
    relocated = {
        (h[7], at): symbols[symbol][1]
        for h in headers
        if h[1] == _RELOCATIONS
        for at, symbol in _relocations(elf, h[4], h[5])
        if headers[symbols[symbol][1][0]][2] & _EXECUTABLE
    }
    bodies = {}
    for kind, (section, start), size in symbols:
        if kind == _FUNCTION:
            text = headers[section][4] + start
            code = elf[text : text + size]
            bodies[section, start] = _Body(_depth(code), set(_callees(code, section, start, relocated)))
    return bodies


def _symbols(elf: bytes, offset: int, size: int) -> Iterator[tuple[int, _Place, int]]:
    for at in range(offset, offset + size, 24):
        # Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size. Reserved sections hold no code.
        _, info, _, section, value, length = struct.unpack_from("<IBBHQQ", elf, at)
        yield info & 15, (section if section < 0xFF00 else 0, value), length


def _relocations(elf: bytes, offset: int, size: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + size, 16):
        place, info = struct.unpack_from("<QQ", elf, at)
        yield place, info >> 32


def _callees(code: bytes, section: int, start: int, relocated: dict[_Place, _Place]) -> Iterator[_Place]:
    """What a function calls, and whose address it takes. An instruction holds the way from the relocation's symbol."""
    for number, (opcode, registers, _, immediate) in enumerate(struct.iter_unpack("<BBhi", code)):
        at = start + number * 8
        symbol = relocated.get((section, at))
        if opcode == _CALL and registers >> 4 == _TO_FUNCTION:
            to, base = symbol or (section, at)
            yield to, base + (immediate + 1) * 8
        elif opcode == _ADDRESS and symbol:
            yield symbol[0], symbol[1] + immediate


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
