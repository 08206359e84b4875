"""Reading what pointers point to: struct members by CO-RE, bitfields, elements, `*p`, and the parts of tuples."""

from __future__ import annotations

from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.emit.relocations import BYTE_OFFSET, BYTE_SIZE, LSHIFT, RSHIFT
from kubebpf.compiler.probes.record import RawArgument
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Int, Origin, Pointer, Space, String, Struct, Type, members, sizeof
from kubebpf.compiler.types.promote import as_int

# --- Where a value lies -----------------------------------------------------------------------------------------------


def place_of(code: Code, expr: typed.Expr) -> tuple[Operand, Space]:
    """The address (a ptr) and address space of an lvalue in traced or own memory."""
    match expr:
        case typed.Member():
            return _member_place(code, expr)
        case typed.Dereference():
            return code.as_pointer(code.scalar(expr.pointer)), _space(expr.pointer.type)
        case typed.Element():
            return _element_place(code, expr)[:2]
        case _:
            return code.address(expr), Space.BPF


def followed(code: Code, expr: typed.Expr) -> Operand:
    """A pointer of the kernel that the verifier knows the type of: from the context, each step by a load of its own.

    args.file.f_path  ->  the address of f_path in what `file` points to
    """
    match expr:
        case typed.Argument(access=RawArgument(index=index)):
            return code.f.load("ptr", code.f.offset(code.f.parameter, index * 8), align=8)
        case typed.Call(builtin=builtin) if builtin.name == "ctx":
            return code.f.parameter
        case typed.Member(object=inner, struct=struct, field=field):
            place = code.module.relocations.member(code.f, followed(code, inner), struct, field)
            if not isinstance(expr.type, Pointer):
                return place
            pointer = code.f.load("ptr", place, align=8)
            return _present(code, pointer) if isinstance(inner, typed.Call) else pointer
        case typed.Convert(operand=operand) if isinstance(expr.type, Pointer):
            return followed(code, operand)
        case _:
            return code.as_pointer(code.scalar(expr))


def _present(code: Code, pointer: Operand) -> Operand:
    """What an iterator gives, which is nothing once at its end: the program ends there then."""
    there = code.f.label("present")
    code.f.branch(code.f.compare("ne", pointer, NULL), there, code.exit)
    code.f.place(there)
    return pointer


def _space(t: Type) -> Space:
    return t.space if isinstance(t, Pointer) and t.space is not Space.NONE else Space.KERNEL


def _member_place(code: Code, expr: typed.Member) -> tuple[Operand, Space]:
    if isinstance(expr.object.type, Pointer):
        base, space = code.as_pointer(code.scalar(expr.object)), _space(expr.object.type)
    else:
        base, space = place_of(code, expr.object)
    if _relocated(expr):
        return code.module.relocations.member(code.f, base, expr.struct, expr.field), space
    return code.f.offset(base, expr.field.offset), space


def _relocated(expr: typed.Member) -> bool:
    """Whether CO-RE finds the field, of the kernel's struct or of a copy of it. It goes by the name of the outermost struct, so
    that one has to have a name."""
    root: typed.Expr = expr
    while isinstance(root, typed.Member) and not isinstance(root.object.type, Pointer):
        root = root.object
    named = not isinstance(root, typed.Member) or bool(root.struct.name)
    return expr.struct.origin is Origin.BTF and named


def _element_place(code: Code, expr: typed.Element) -> tuple[Operand, Space, Operand | None]:
    """Where an element lies, and, for an index that only the run tells, whether it is inside the array."""
    if expr.array is None:
        base, space = code.as_pointer(code.scalar(expr.object)), _space(expr.object.type)
    else:
        base, space = place_of(code, expr.object)
    element = expr.object.type.target if isinstance(expr.object.type, Pointer) else expr.type
    index, inside = code.scalar(expr.index), None
    if expr.array is not None and expr.array.length and not isinstance(expr.index, typed.Constant):
        index, inside = _kept_inside(code, index, expr.array.length)
    return code.f.offset(base, code.f.binary("mul", index, _stride(code, element, space))), space, inside


def _stride(code: Code, element: Type, space: Space) -> Operand:
    """The distance of two elements: of kernel structs in the kernel's memory it is the node's."""
    if isinstance(element, Struct) and element.origin is Origin.BTF and element.name and element.size and space is not Space.BPF:
        return code.module.relocations.type_size(code.f, element)
    return const(sizeof(element))


def _kept_inside(code: Code, index: Operand, length: int) -> tuple[Operand, Operand]:
    """An index into our own memory is kept inside the array, as the verifier demands; beyond it, zero is read."""
    last = const(length - 1)
    inside = code.f.compare("ule", index, last)
    return code.f.select(inside, index, last), inside


def part_address(code: Code, expr: typed.Part) -> Operand:
    """A member of a tuple or record."""
    t = expr.object.type
    offsets, _ = members(t)  # type: ignore[arg-type]
    return code.f.offset(code.address(expr.object), offsets[expr.index])


# --- Reading ----------------------------------------------------------------------------------------------------------


def fetch_scalar(code: Code, t: Type, place: Operand, space: Space) -> Operand:
    """A scalar at a place."""
    if space is Space.BPF:
        return code.load(t, place)
    slot = code.slot("read")
    code.read(space, slot, sizeof(t), place)
    return code.load(t, slot, align=sizeof(t))


def fetch_memory(code: Code, t: Type, place: Operand, space: Space, to: Operand, padded: bool) -> None:
    """Any other value at a place: a string up to its NUL, anything else byte by byte."""
    size = sizeof(t)
    if space is Space.BPF:
        code.copy(to, place, size)
    elif isinstance(t, String):
        code.read_string(space, to, size, place, padded=padded)
    else:
        code.read(space, to, size, place)


def read_scalar(code: Code, expr: typed.Member) -> Operand:
    """A field that is a number or pointer."""
    place, space = _member_place(code, expr)
    if expr.field.bit_size:
        return _bitfield(code, expr, place, space)
    return fetch_scalar(code, expr.type, place, space)


def _bitfield(code: Code, expr: typed.Member, place: Operand, space: Space) -> Operand:
    """A bitfield: the bytes that hold it into a register, then shifted into place, as the node's kernel lays them out."""
    f, r = code.f, code.module.relocations
    signed = as_int(expr.type).signed
    if not _relocated(expr):
        byte, shift = expr.field.bit_offset // 8, expr.field.bit_offset % 8
        whole = _bits_from(code, f.offset(place, byte - expr.field.offset), expr.field.bit_size + shift, space)
        if expr.field.bit_size + shift > 64:  # a packed field of 58 bits and more can lie in nine bytes
            last = fetch_scalar(code, Int(8, False), f.offset(place, byte - expr.field.offset + 8), space)
            low = f.binary("lshr", whole, const(shift))
            whole, shift = f.binary("or", low, f.binary("shl", last, const(64 - shift))), 0
        left = f.binary("shl", whole, const(64 - shift - expr.field.bit_size))
        return f.binary("ashr" if signed else "lshr", left, const(64 - expr.field.bit_size))
    base = code.as_pointer(code.scalar(expr.object)) if isinstance(expr.object.type, Pointer) else place_of(code, expr.object)[0]
    slot = code.slot("read")
    f.store(const(0), slot, align=8)
    start = f.offset(base, r.field_info(f, place, BYTE_OFFSET))
    size = f.binary("and", r.field_info(f, place, BYTE_SIZE), const(15))
    code.read(space, slot, f.cast("trunc", size, "i32"), start)
    left = f.binary("shl", f.load("i64", slot, align=8), r.field_info(f, place, LSHIFT))
    return f.binary("ashr" if signed else "lshr", left, r.field_info(f, place, RSHIFT))


def _bits_from(code: Code, place: Operand, bits: int, space: Space) -> Operand:
    """The number that starts at a byte and has at least so many bits, or 64."""
    return fetch_scalar(code, Int(next(w for w in (8, 16, 32, 64) if w >= min(bits, 64)), False), place, space)


def read_memory(code: Code, expr: typed.Member, to: Operand, padded: bool) -> None:
    """A field that is a string, array or struct."""
    place, space = _member_place(code, expr)
    fetch_memory(code, expr.type, place, space, to, padded)


def dereference_scalar(code: Code, expr: typed.Dereference) -> Operand:
    """`*p` of a number."""
    return fetch_scalar(code, expr.type, *place_of(code, expr))


def dereference_memory(code: Code, expr: typed.Dereference, to: Operand, padded: bool) -> None:
    """`*p` of anything else."""
    place, space = place_of(code, expr)
    fetch_memory(code, expr.type, place, space, to, padded)


def element_scalar(code: Code, expr: typed.Element) -> Operand:
    """`a[i]` of a number."""
    place, space, inside = _element_place(code, expr)
    value = fetch_scalar(code, expr.type, place, space)
    return value if inside is None else code.f.select(inside, value, const(0))


def element_memory(code: Code, expr: typed.Element, to: Operand, padded: bool) -> None:
    """`a[i]` of anything else."""
    place, space, inside = _element_place(code, expr)
    fetch_memory(code, expr.type, place, space, to, padded)
    if inside is None:
        return
    beyond, done = code.f.label("beyond"), code.f.label("element")
    code.f.branch(inside, done, beyond)
    code.f.place(beyond)
    code.zero(to, sizeof(expr.type))
    code.f.jump(done)
    code.f.place(done)


def offset_of(code: Code, expr: typed.OffsetOf) -> Operand:
    """`offsetof` in kernel structs: the sum of the relocated offsets."""
    total = const(0)
    for struct, field in expr.steps:
        null = Operand("null", "ptr")
        address = code.module.relocations.member(code.f, null, struct, field)
        total = code.f.binary("add", total, code.module.relocations.field_info(code.f, address, BYTE_OFFSET))
    return total
