"""Operands of usdt probes: the assembler's text as the record that generated code reads.

-4@%edi                s32 in a register           8@$5, 8@5               a constant
4@-20(%rbp)            u32 in memory               1@(%rax,%rbx,8)         with an index
-4@counter(%rip)       a variable by its name      4@[sp, 12], 8@x0        arm64
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable

from kubebpf.compiler.artifact.operands import NO_REGISTER, Operand

Symbols = Callable[[str], int | None]  # the address of a symbol
_SPLIT = re.compile(r"(?:[^\s\[\(]|\[[^\]]*\]|\([^\)]*\))+")
_SIZED = re.compile(r"(?:(-?)([1248])f?@)?(.+)")
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)")
_X86_MEMORY = re.compile(r"([^()]*)\(\s*(%\w+)?\s*(?:,\s*(%\w+)\s*(?:,\s*([1248]))?)?\s*\)")
_ARM_MEMORY = re.compile(r"\[\s*(\w+)\s*(?:,\s*#?([^\],]+?)\s*(?:,\s*lsl\s*#?(\d))?)?\s*\]")

# struct pt_regs, arch/x86/include/uapi/asm/ptrace.h
_X86_ORDER = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di - ip - - sp"
_X86 = {name: i for i, name in enumerate(_X86_ORDER.split()) if name != "-"}
_X86_RIP, _ARM_PC = _X86["ip"], 32


class OperandError(ValueError):
    """An operand that cannot be read at run time."""


def operands(text: str, symbols: Symbols, here: int, machine: str = "") -> tuple[Operand, ...]:
    """All operands of a probe's place.

    Args:
        text: of the note.
        symbols: the addresses of names in it.
        here: the address of the place, as the file is laid out.
        machine: whose assembler it is; "" for this one's.

    Raises:
        OperandError: one of them is none of the forms above.
    """
    return tuple(operand(part, symbols, here, machine) for part in split(text))


def split(text: str) -> list[str]:
    """The operands of a note, one by one."""
    return _SPLIT.findall(text)


def operand(text: str, symbols: Symbols, here: int, machine: str = "") -> Operand:
    """One operand; arguments and errors as above."""
    match = _SIZED.fullmatch(text)
    if match is None:
        raise OperandError(f"'{text}' is no operand")
    size = int(match[2] or 8)
    reader = _arm if (machine or platform.machine()) == "aarch64" else _x86
    place = reader(match[3], symbols, here)
    if place is None:
        raise OperandError(f"the operand '{text}' cannot be read: it is in no register that the kernel saves")
    kind, fields = place
    return Operand(**fields, bits=size * 8, signed=bool(match[1]), size=size if kind == "memory" else 0)


_Place = tuple[str, dict[str, int]]


def _x86(text: str, symbols: Symbols, here: int) -> _Place | None:
    if text.startswith("$"):
        return _constant(text[1:], symbols, here)
    if text.startswith("%"):
        return _x86_register(text)
    match = _X86_MEMORY.fullmatch(text)
    if match is None:
        return _constant(text, symbols, here)
    displacement, base, index, scale = match.groups()
    if base == "%rip":
        found = _sum(displacement, symbols)
        return None if found is None else ("memory", {"base": _X86_RIP, "number": found - here})
    fields = {"scale": int(scale or 1).bit_length() - 1}
    for field, name in (("base", base), ("index", index)):
        register = _x86_register(name) if name else ("register", {"base": NO_REGISTER})
        if register is None:
            return None
        fields[field] = register[1]["base"]
    number = _sum(displacement or "0", symbols)
    return None if number is None else ("memory", fields | {"number": number})


def _x86_register(text: str) -> _Place | None:
    """`%rax %eax %ax %al %ah %r8 %r8d %r8w %r8b`."""
    name = text.removeprefix("%")
    if match := re.fullmatch(r"(r\d+)[dwb]?", name):
        return ("register", {"base": _X86[match[1]]}) if match[1] in _X86 else None
    if match := re.fullmatch(r"([abcd])([lh])", name):
        return "register", {"base": _X86[f"{match[1]}x"], "down": 8 if match[2] == "h" else 0}
    if name in ("sil", "dil", "bpl", "spl"):
        name = name[:2]
    name = name[1:] if name[:1] in "re" and len(name) == 3 else name
    return ("register", {"base": _X86[name]}) if name in _X86 else None


def _arm(text: str, symbols: Symbols, here: int) -> _Place | None:
    if match := _ARM_MEMORY.fullmatch(text):
        base = _arm_register(match[1])
        index = _arm_register(match[2]) if match[2] else None
        number = 0 if index is not None or not match[2] else _sum(match[2], symbols)
        if base is None or number is None:
            return None
        fields = {"base": base, "index": NO_REGISTER if index is None else index, "scale": int(match[3] or 0)}
        return "memory", fields | {"number": number}
    register = _arm_register(text)
    return ("register", {"base": register}) if register is not None else _constant(text, symbols, here, _ARM_PC)


def _arm_register(text: str) -> int | None:
    """x0…x30 and sp, as struct user_pt_regs has them (arch/arm64/include/uapi/asm/ptrace.h); w0…w30 are their low halves."""
    match = re.fullmatch(r"[xw](\d+)", text)
    if match and int(match[1]) <= 30:
        return int(match[1])
    return {"sp": 31, "fp": 29, "lr": 30}.get(text)


def _constant(text: str, symbols: Symbols, here: int, ip: int = _X86_RIP) -> _Place | None:
    if _NUMBER.fullmatch(text):
        return "constant", {"number": _number(text)}
    address = _sum(text, symbols)
    # The address of a symbol is where the program was loaded: as far from here as in the file.
    return None if address is None else ("constant", {"base": ip, "number": address - here})


def _sum(text: str, symbols: Symbols) -> int | None:
    """`-20`, `name`, `name+4`, `16+name`: numbers and addresses of symbols added; None for an unknown symbol."""
    total = 0
    for sign, word in re.findall(r"([+-]?)\s*([^+-]+)", text):
        value = _number(word) if _NUMBER.fullmatch(word) else symbols(word)
        if value is None:
            return None
        total += -value if sign == "-" else value
    return total


def _number(text: str) -> int:
    return int(text, 0) if "x" in text.lower() else int(text)
