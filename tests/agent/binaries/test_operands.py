"""Operands of usdt probes as records."""

from __future__ import annotations

import pytest

from kubebpf.agent.binaries.operands import OperandError, operand, operands, split
from kubebpf.compiler.artifact.operands import BYTES, COUNT, NO_REGISTER, Operand, pack

SYMBOLS = {"counter": 0x5000}.get


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-4@%edi", Operand(base=14, bits=32, signed=True)),
        ("8@%r12", Operand(base=3)),
        ("4@%r12d", Operand(base=3, bits=32)),
        ("1@%r9b", Operand(base=8, bits=8)),
        ("-1@%sil", Operand(base=13, bits=8, signed=True)),
        ("1@%ah", Operand(base=10, bits=8, down=8)),
        ("%rax", Operand(base=10)),
        ("8@$5", Operand(5)),
        ("-4@$-0x10", Operand(-16, bits=32, signed=True)),
        ("-4@-20(%rbp)", Operand(-20, base=4, bits=32, signed=True, size=4)),
        ("2@(%rax,%rbx,8)", Operand(base=10, index=5, scale=3, bits=16, size=2)),
        ("1@16(%rsp,%rcx)", Operand(16, base=19, index=11, bits=8, size=1)),
        ("8@(,%rcx,4)", Operand(index=11, scale=2, size=8)),
        ("4@counter(%rip)", Operand(0x4000, base=16, bits=32, size=4)),
        ("4@counter+8(%rip)", Operand(0x4008, base=16, bits=32, size=4)),
        ("8@$counter", Operand(0x4000, base=16)),
        ("8f@-8(%rbp)", Operand(-8, base=4, size=8)),
    ],
)
def test_x86(text: str, expected: Operand) -> None:
    assert operand(text, SYMBOLS, 0x1000, "x86_64") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@x0", Operand(base=0)),
        ("-4@w19", Operand(base=19, bits=32, signed=True)),
        ("-4@5", Operand(5, bits=32, signed=True)),
        ("4@[sp, 12]", Operand(12, base=31, bits=32, size=4)),
        ("-4@[x29, -20]", Operand(-20, base=29, bits=32, signed=True, size=4)),
        ("8@[x1]", Operand(base=1, size=8)),
        ("8@[x1, x2, lsl #3]", Operand(base=1, index=2, scale=3, size=8)),
    ],
)
def test_arm(text: str, expected: Operand) -> None:
    assert operand(text, SYMBOLS, 0x1000, "aarch64") == expected


@pytest.mark.parametrize("text", ["8f@%xmm0", "4@unknown(%rip)", "8@(%xmm1)", "@", "4@%st(0)"])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(OperandError):
        operand(text, SYMBOLS, 0, "x86_64")


def test_blanks_inside_of_operands() -> None:
    assert split("4@[sp, 12] -4@%edi 8@(%rax, %rbx, 8)") == ["4@[sp, 12]", "-4@%edi", "8@(%rax, %rbx, 8)"]
    assert operands("", SYMBOLS, 0) == ()


def test_records() -> None:
    data = pack((Operand(-20, base=4, bits=32, signed=True, size=4),))
    assert len(data) == COUNT * BYTES
    assert data[:BYTES] == (-20).to_bytes(8, "little", signed=True) + bytes((4, NO_REGISTER, 0, 0, 32, 1, 4, 0))
    assert data[BYTES : 2 * BYTES] == Operand().pack()
