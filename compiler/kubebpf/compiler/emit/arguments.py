"""The arguments of probes, read from the program's context: tracepoint records, raw argument arrays, saved registers."""

from __future__ import annotations

from kubebpf.compiler.emit import operands, parameters
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.registers import argument_register, registers
from kubebpf.compiler.kernel.tracepoints import TracepointField
from kubebpf.compiler.probes.record import Operand as UsdtOperand
from kubebpf.compiler.probes.record import Passed, RawArgument, Register, Returned
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Array, Field, Space, Struct, sizeof
from kubebpf.compiler.types.walk import bodies, walk
from kubebpf.compiler.userland.convention import Place


def scalar(code: Code, expr: typed.Argument) -> Operand:
    """An argument that is a number or pointer."""
    match expr.access:
        case RawArgument(index=index):
            word = code.f.load("i64", code.f.offset(code.f.parameter, index * 8), align=8)
            return code.extend(word, expr.type)
        case Returned():
            slot = code.slot("returned")
            code.helper(Helper.GET_FUNC_RET, code.f.parameter, slot)
            return code.extend(code.f.load("i64", slot, align=8), expr.type)
        case Register(role=role):
            return _traced_or_saved(code, role) if code.traceable else _saved(code, role)
        case Passed(place=Place() as place):
            return code.extend(parameters.word(code, place), expr.type)
        case UsdtOperand(index=index):
            return operands.usdt(code, index)
        case TracepointField() as field:
            return _tracepoint_scalar(code, expr, field)
    return const(0)  # an offline view knows the argument's name at most


_NEED_REGISTERS = frozenset(("reg", "ctx", "override"))


def traceable(probe: typed.Probe) -> bool:
    """Whether a kprobe's program asks for nothing that fentry and fexit do not give as well."""
    target = probe.target
    if target.provider.name not in ("kprobe", "kretprobe") or "address" in target.parts or target.parts["offset"]:
        return False
    nodes = (node for part in bodies((probe.predicate, probe.body)) for node in walk(part))
    return not any(isinstance(node, typed.Call) and node.builtin.name in _NEED_REGISTERS for node in nodes)


def _saved(code: Code, role: str) -> Operand:
    return code.f.load("i64", code.f.offset(code.f.parameter, _register(code, role)), align=8)


def _traced_or_saved(code: Code, role: str) -> Operand:
    """A register, or what it holds from where fentry and fexit have it: the node says which, and the verifier drops the other."""
    f = code.f
    slot = code.slot("traced")
    traced, saved, done = f.label("traced"), f.label("saved"), f.label("argument")
    f.branch(f.compare("ne", code.load_constant("traced", str(code.number)), const(0)), traced, saved)
    f.place(traced)
    if role == "retval":
        code.helper(Helper.GET_FUNC_RET, f.parameter, slot)
    else:
        code.helper(Helper.GET_FUNC_ARG, f.parameter, const(int(role.removeprefix("arg")), "i32"), slot)
    f.jump(done)
    f.place(saved)
    f.store(_saved(code, role), slot, align=8)
    f.place(done)
    return f.load("i64", slot, align=8)


def instruction_pointer(code: Code) -> Operand:
    """Where the traced program is."""
    offset = registers(code.module.arch).instruction_pointer
    return code.f.load("i64", code.f.offset(code.f.parameter, offset), align=8)


def _register(code: Code, role: str) -> int:
    arch = code.module.arch
    return registers(arch).result if role == "retval" else argument_register(arch, int(role.removeprefix("arg")))


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
    """An argument that is an array, string or struct inside the record, which is kernel memory, or passed by value."""
    if isinstance(expr.access, Passed):
        assert isinstance(expr.access.place, Place)
        parameters.memory(code, expr.access.place, sizeof(expr.type), to)
        return
    assert isinstance(expr.access, TracepointField)
    size = sizeof(expr.type)
    place = field_place(code, expr.access)
    code.read(Space.KERNEL, to, size, place)
