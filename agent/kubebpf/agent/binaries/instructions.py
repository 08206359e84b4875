"""Where the instructions of a function start: a breakpoint inside of one would change another instruction than it looks like.

    start_before(bytes.fromhex("554889e5 …"), 2)   -> 1: at 2 is the middle of `mov %rsp,%rbp`, which starts at 1

x86-64's instructions are measured, not understood: prefixes, opcode, ModRM, SIB, displacement, immediate (Intel's manual,
volume 2, chapter 2 and appendix A). arm64's have four bytes each.
"""

from __future__ import annotations

import platform

LONGEST = 15
_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")


def start_before(code: bytes, offset: int, machine: str = "") -> int | None:
    """The start of the instruction that holds an offset, or None where it cannot be told.

    Args:
        code: from the start of a function on.
        offset: in it.
        machine: whose code it is; "" for this one's.
    """
    if (machine or platform.machine()) != "x86_64":
        return offset // 4 * 4
    at = 0
    while at < offset:
        size = length(code, at)
        if size is None:
            return None
        if at + size > offset:
            return at
        at += size
    return at


# What the kernel emulates or treats apart: jumps, calls, returns, nop, popf (branch_setup_xol_ops and arch_uprobe_analyze_insn,
# arch/x86/kernel/uprobes.c, up to Linux 6.18 at least).
_TREATED_APART = frozenset((*range(0x70, 0x80), 0x90, 0x9A, 0x9D, 0xC2, 0xC3, 0xCA, 0xCB, 0xE8, 0xE9, 0xEA, 0xEB, 0xFF))


def is_misread(code: bytes, machine: str = "") -> bool:
    """Whether the kernel takes an instruction for another one, so that a probe there changes what the program does.

    It looks at the opcode and not at what is before it: `vpshufd` (VEX, opcode 70) is jumped over as a `jo` would be.

    Args:
        code: from the instruction on.
        machine: whose code it is; "" for this one's.
    """
    if (machine or platform.machine()) != "x86_64" or len(code) < LONGEST:
        return False
    opcode = {0xC5: code[2], 0xC4: code[3], 0x62: code[4]}.get(code[0])
    return opcode in _TREATED_APART


def length(code: bytes, at: int) -> int | None:
    """The bytes of the x86-64 instruction at an offset; None for what is none."""
    try:
        size = _Decoder(code, at).size()
    except IndexError:
        return None
    return size if 0 < size <= LONGEST else None


def _ranges(*parts: int | tuple[int, int]) -> frozenset[int]:
    return frozenset(n for part in parts for n in (range(part[0], part[1] + 1) if isinstance(part, tuple) else (part,)))


# One-byte opcodes. Arithmetic is in rows of eight: four with ModRM, two with an immediate for the accumulator.
_ARITHMETIC = [row + n for row in range(0, 0x40, 8) for n in range(4)]
_MODRM = _ranges(
    *_ARITHMETIC, 0x63, 0x69, 0x6B, (0x80, 0x8F), 0xC0, 0xC1, 0xC6, 0xC7, (0xD0, 0xD3), (0xD8, 0xDF), 0xF6, 0xF7, 0xFE, 0xFF
)
_BYTE = _ranges(
    *range(0x04, 0x40, 8), 0x6A, 0x6B, (0x70, 0x7F), 0x80, 0x83, 0xA8, (0xB0, 0xB7), 0xC0, 0xC1, 0xC6, 0xCD,
    (0xE0, 0xE7), 0xEB,
)  # fmt: skip
_WORD = _ranges(*range(0x05, 0x40, 8), 0x68, 0x69, 0x81, 0xA9, 0xC7)  # four bytes, two with the prefix 66
_INVALID = _ranges(
    0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, (0x60, 0x61), 0x82, 0x9A, 0xCE, 0xD4, 0xD5, 0xD6, 0xEA
)
# Two-byte opcodes (0F xx) without ModRM, and those with a byte behind it.
_PLAIN_0F = _ranges(
    0x05, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0E, (0x30, 0x37), 0x77, (0x80, 0x8F), 0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA, (0xC8, 0xCF)
)
_BYTE_0F = _ranges((0x70, 0x73), 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6, 0x0F)


class _Decoder:
    def __init__(self, code: bytes, at: int) -> None:
        self.code, self.start, self.at = code, at, at
        self.wide = self.short = self.small_address = False

    def byte(self) -> int:
        value = self.code[self.at]
        self.at += 1
        return value

    def size(self) -> int:
        opcode = self.byte()
        while opcode in _PREFIXES:
            self.short |= opcode == 0x66
            self.small_address |= opcode == 0x67
            opcode = self.byte()
        if 0x40 <= opcode <= 0x4F:  # REX
            self.wide = bool(opcode & 8)
            opcode = self.byte()
        if opcode in (0xC4, 0xC5, 0x62):
            self.vector(opcode)
        elif opcode == 0x0F:
            self.two_bytes()
        else:
            self.one_byte(opcode)
        return self.at - self.start

    def one_byte(self, opcode: int) -> None:
        if opcode in _INVALID:
            raise IndexError
        if opcode in (0x8F,) and self.code[self.at] & 0x38:
            raise IndexError  # AMD's XOP
        extension = self.modrm() if opcode in _MODRM else 0
        self.at += opcode in _BYTE
        if opcode in _WORD:
            self.at += 2 if self.short else 4
        if opcode in (0xE8, 0xE9):
            self.at += 4
        if 0xB8 <= opcode <= 0xBF:
            self.at += 8 if self.wide else 2 if self.short else 4
        if 0xA0 <= opcode <= 0xA3:
            self.at += 4 if self.small_address else 8
        if opcode in (0xC2, 0xCA):
            self.at += 2
        if opcode == 0xC8:
            self.at += 3
        if opcode in (0xF6, 0xF7) and extension < 2:  # test
            self.at += 1 if opcode == 0xF6 else 2 if self.short else 4

    def two_bytes(self) -> None:
        opcode = self.byte()
        if opcode in (0x38, 0x3A):
            self.byte()
            self.modrm()
            self.at += opcode == 0x3A
        elif opcode in _PLAIN_0F:
            self.at += 4 if 0x80 <= opcode <= 0x8F else 0
        else:
            self.modrm()
            self.at += opcode in _BYTE_0F

    def vector(self, escape: int) -> None:
        """VEX and EVEX: the prefix names the opcode map."""
        first = self.byte()
        table = {0xC5: 1, 0xC4: first & 0x1F, 0x62: first & 7}[escape]
        self.at += {0xC5: 0, 0xC4: 1, 0x62: 2}[escape]
        opcode = self.byte()
        if table == 1 and opcode == 0x77:  # vzeroupper
            return
        self.modrm()
        self.at += table == 3 or (table == 1 and opcode in _BYTE_0F)

    def modrm(self) -> int:
        """ModRM with SIB and displacement; gives the opcode's extension."""
        modrm = self.byte()
        mode, extension, rm = modrm >> 6, modrm >> 3 & 7, modrm & 7
        if mode == 3:
            return extension
        base = self.byte() & 7 if rm == 4 else rm
        self.at += {0: 4 if base == 5 else 0, 1: 1, 2: 4}[mode]
        self.code[self.at - 1]  # what is cut off is no instruction
        return extension
