"""The arguments of probes, read from the program's context: tracepoint records, raw argument arrays, saved registers."""

from __future__ import annotations

from dataclasses import dataclass

from kubebpf.compiler.emit import operands
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.kernel.tracepoints import TracepointField
from kubebpf.compiler.probes.record import Operand as UsdtOperand
from kubebpf.compiler.probes.record import RawArgument, Register
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Array, Field, Space, Struct, sizeof


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
    "aarch64": Registers((0, 8, 16, 24, 32, 40), 0, 248, 256),
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


def scalar(code: Code, expr: typed.Argument) -> Operand:
    """An argument that is a number or pointer."""
    match expr.access:
        case RawArgument(index=index):
            word = code.f.load("i64", code.f.offset(code.f.parameter, index * 8), align=8)
            return code.extend(word, expr.type)
        case Register(role=role):
            return code.f.load("i64", code.f.offset(code.f.parameter, _register(code, role)), align=8)
        case UsdtOperand(index=index):
            return operands.usdt(code, index)
        case TracepointField() as field:
            return _tracepoint_scalar(code, expr, field)
    return const(0)  # an offline view knows the argument's name at most


def instruction_pointer(code: Code) -> Operand:
    """Where the traced program is."""
    offset = REGISTERS[code.module.options.arch].instruction_pointer
    return code.f.load("i64", code.f.offset(code.f.parameter, offset), align=8)


def _register(code: Code, role: str) -> int:
    registers = REGISTERS[code.module.options.arch]
    return registers.result if role == "retval" else registers.arguments[int(role.removeprefix("arg"))]


def _tracepoint_scalar(code: Code, expr: typed.Argument, field: TracepointField) -> Operand:
    place = field_place(code, field)
    if field.data_loc:
        return _data_location(code, field, place)
    bits = field.size * 8
    word = code.f.load(f"i{bits}", place, align=field.size)
    return code.extend(code.f.cast("zext", word, "i64"), expr.type)


def _data_location(code: Code, field: TracepointField, place: Operand) -> Operand:
    """The address of data at the end of the record: `__data_loc` says where, from the record's or from its own start."""
    f = code.f
    where = f.binary("and", f.cast("zext", f.load("i32", place, align=4), "i64"), const(0xFFFF))
    base = f.offset(f.parameter, field.offset + 4) if field.relative else f.parameter
    return code.as_number(f.offset(base, where))


def field_place(code: Code, field: TracepointField) -> Operand:
    """The address of a field of the record: by CO-RE where BTF knows the record."""
    if field.struct is None:
        return code.f.offset(code.f.parameter, field.offset)
    member = _member(field.struct, field.member)
    relocations = code.module.relocations
    place = relocations.member(code.f, code.f.parameter, field.struct, member)
    if field.index is None:
        return place
    assert isinstance(member.type, Array)
    return relocations.element(code.f, place, member.type, field.index)


def _member(struct: Struct, name: str) -> Field:
    return next(f for f in struct.fields if f.name == name)


def memory(code: Code, expr: typed.Argument, to: Operand, padded: bool) -> None:
    """An argument that is an array, string or struct inside the record: the record is kernel memory."""
    assert isinstance(expr.access, TracepointField)
    size = sizeof(expr.type)
    place = field_place(code, expr.access)
    code.read(Space.KERNEL, to, size, place)
