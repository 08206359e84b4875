"""Where the registers of the traced program are, in the pt_regs that is the context of its probes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registers:
    """Where a processor's calling convention puts arguments and results: byte offsets in the pt_regs of the BPF context."""

    arguments: tuple[int, ...]
    result: int
    stack_pointer: int
    instruction_pointer: int


# include/uapi/linux/bpf_perf_event.h and arch/*/include/uapi/asm/ptrace.h; arm64 has x0…x30 from offset 0.
REGISTERS = {
    "x86_64": Registers((112, 104, 96, 88, 72, 64), 80, 152, 128),
    "aarch64": Registers((0, 8, 16, 24, 32, 40, 48, 56), 0, 248, 256),
}
# arch/x86/include/uapi/asm/ptrace.h and arch/arm64/include/uapi/asm/ptrace.h, 8 bytes each in this order.
_PT_REGS = {
    "x86_64": (
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax", "ip", "cs",
        "flags", "sp", "ss",
    ),
    "aarch64": (*(f"r{i}" for i in range(31)), "sp", "pc", "pstate"),
}  # fmt: skip


def register_names(arch: str) -> tuple[str, ...]:
    """The names that `reg()` takes on a processor."""
    return _PT_REGS[arch]


def register_offset(arch: str, name: str) -> int | None:
    """Where a register lies in the pt_regs, in bytes; None for an unknown name."""
    names = _PT_REGS[arch]
    return names.index(name) * 8 if name in names else None


def registers(arch: str) -> Registers:
    """Where arguments, results and the like are on a processor."""
    return REGISTERS[arch]


def argument_register(arch: str, number: int) -> int:
    """Where an argument that is passed in a register lies, in bytes."""
    return REGISTERS[arch].arguments[number]
