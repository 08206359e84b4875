"""Where an argument of a usdt probe lies: the record that the node writes and the program reads, once an event.

    Operand(number=-20, base=4, size=4, signed=True)    the s32 at 20 bytes below the address in register 4 of pt_regs

The value is `number + registers[base] + (registers[index] << scale)`, replaced by the `size` bytes at that address unless size is
0; of it the `bits` lowest behind the `down` lowest are the argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

NO_REGISTER: Final = 0xFF
COUNT: Final = 12  # arguments of a probe; STAP_PROBE12 is the largest macro of sys/sdt.h
NUMBER, BASE, INDEX, SCALE, DOWN, UNUSED, SIGNED, SIZE = 0, 8, 9, 10, 11, 12, 13, 14  # byte offsets in a record
BYTES: Final = 16

_LAYOUT = struct.Struct("<q7Bx")


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand.

    Args:
        number: a constant or a displacement.
        base, index: of u64 in the BPF context (pt_regs, user_pt_regs); NO_REGISTER for none.
        scale: how far the index is shifted.
        down: lowest bits to drop: 8 for %ah and its kin.
        bits: of the argument: 8, 16, 32, 64.
        signed: of the argument.
        size: bytes to read at the address; 0: the sum is the value.
    """

    number: int = 0
    base: int = NO_REGISTER
    index: int = NO_REGISTER
    scale: int = 0
    down: int = 0
    bits: int = 64
    signed: bool = False
    size: int = 0

    def pack(self) -> bytes:
        """The record, BYTES long."""
        number = (self.number + (1 << 63)) % (1 << 64) - (1 << 63)
        return _LAYOUT.pack(number, self.base, self.index, self.scale, self.down, 64 - self.bits, self.signed, self.size)


def pack(operands: tuple[Operand, ...]) -> bytes:
    """The records of one place of a probe: arguments that it does not have are 0."""
    missing = (Operand(),) * (COUNT - len(operands))
    return b"".join(o.pack() for o in (*operands, *missing)[:COUNT])
