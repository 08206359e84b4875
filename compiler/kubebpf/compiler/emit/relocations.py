"""CO-RE: kernel structs are declared with just the members that the program reads, and libbpf finds these in the node's own BTF.

    curtask.real_parent.tgid  ->  struct task_struct { struct task_struct *real_parent; int tgid; }  with two field relocations

libbpf matches a local type with the kernel's by name, and a member by name and kind (bpf_core_match_member), so offsets and
sizes here are made up; they only have to rise, because the kernel checks that of the object's BTF (btf_struct_check_meta).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kubebpf.compiler.emit.debug import Debug
from kubebpf.compiler.emit.ir import Function, Operand
from kubebpf.compiler.types.model import (
    Array,
    Bool,
    EnumType,
    Field,
    Int,
    Pointer,
    String,
    Struct,
    Type,
    round_up,
    sizeof,
)

BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT, RSHIFT = range(6)  # enum bpf_field_info_kind
TYPE_SIZE = 1  # enum bpf_type_info_kind: BPF_TYPE_SIZE


@dataclass
class LocalStruct:
    """The declaration of one kernel struct, growing with every new member that is read."""

    struct: Struct
    number: int
    symbol: str
    members: list[int] = field(default_factory=list)
    indices: dict[str, int] = field(default_factory=dict)
    end: int = 0


@dataclass
class Relocations:
    """The kernel structs of one module.

    Args:
        suffix: appended to their names; see target.py.
    """

    debug: Debug
    suffix: str
    structs: dict[tuple[str, str, int], LocalStruct] = field(default_factory=dict)

    def member(self, f: Function, base: Operand, struct: Struct, member: Field) -> Operand:
        """The address of a member, as a relocated offset from `base` (a ptr)."""
        local = self.local(struct)
        index = self._index(local, member)
        name = "llvm.preserve.union.access.index.p0.p0" if struct.kind == "union" else "llvm.preserve.struct.access.index.p0.p0"
        if struct.kind == "union":
            call = f"call ptr @{name}({base}, i32 {index})"
        else:
            call = f"call ptr @{name}(ptr elementtype(%{local.symbol}) {base.text}, i32 {index}, i32 {index})"
        return f.value(f"{call}, !llvm.preserve.access.index !{local.number}", "ptr")

    def element(self, f: Function, base: Operand, array: Array, index: int) -> Operand:
        """The address of a constant element of an array member, as part of the same relocation."""
        number = self._array(array)
        size = sizeof(array.element)
        call = (
            f"call ptr @llvm.preserve.array.access.index.p0.p0(ptr elementtype([{array.length} x [{size} x i8]]) "
            f"{base.text}, i32 1, i32 {index})"
        )
        return f.value(f"{call}, !llvm.preserve.access.index !{number}", "ptr")

    def field_info(self, f: Function, address: Operand, kind: int) -> Operand:
        """What the node's kernel says of a member: its offset, size, shifts (for bitfields), existence."""
        return f.cast("zext", f.value(f"call i32 @llvm.bpf.preserve.field.info.p0({address}, i64 {kind})", "i32"), "i64")

    def type_size(self, f: Function, struct: Struct) -> Operand:
        """sizeof on the node."""
        local = self.local(struct)
        # LLVM tells calls apart by the number.
        self._sequence += 1
        call = f"call i32 @llvm.bpf.preserve.type.info(i32 {self._sequence}, i64 {TYPE_SIZE})"
        return f.cast("zext", f.value(f"{call}, !llvm.preserve.access.index !{local.number}", "i32"), "i64")

    _sequence: int = 0

    def local(self, struct: Struct) -> LocalStruct:
        """The declaration of a struct, begun at first sight."""
        key = (struct.kind, struct.name, 0 if struct.name else struct.ident)
        if key not in self.structs:
            symbol = f"{struct.kind}.{struct.name or f'anonymous{struct.ident}'}"
            self.structs[key] = LocalStruct(struct, self.debug.reserve(), symbol)
        return self.structs[key]

    def _index(self, local: LocalStruct, member: Field) -> int:
        if member.name in local.indices:
            return local.indices[member.name]
        bits = member.bit_size or max(sizeof(member.type), 1) * 8
        offset = 0 if local.struct.kind == "union" else round_up(local.end, 64)
        type_ = self._type(member.type)
        local.members.append(self.debug.member(member.name, type_, bits, offset, bitfield=bool(member.bit_size)))
        local.end = max(local.end, offset + bits)
        local.indices[member.name] = len(local.members) - 1
        return local.indices[member.name]

    def of(self, t: Type) -> int:
        """A type of a kernel function's prototype: pointers keep what they point to."""
        return (
            self.debug.pointer(self.local(t.target).number)
            if isinstance(t, Pointer) and isinstance(t.target, Struct)
            else self._type(t)
        )

    def declared(self, t: Type) -> int:
        """A type of the same kind, for a variable whose members nobody reads."""
        if not isinstance(t, Struct):
            return self._type(t)
        empty = self.debug.member("first", self.debug.base("char", 8, signed=True), 8, 0)
        return self.debug.struct(t.name + self.suffix if t.name else "", [empty], 8, union=t.kind == "union")

    def _type(self, t: Type) -> int:
        match t:
            case Pointer():
                return self.debug.void_pointer
            case Struct():
                return self.local(t).number
            case Array():
                return self._array(t)
            case String(size=size):
                return self._array(Array(Int(8, True, "char"), size))
            case EnumType():
                return self._enum(t)
            case Bool():
                return self.debug.add('!DIBasicType(name: "_Bool", size: 8, encoding: DW_ATE_boolean)')
            case Int(bits=bits, signed=signed):
                return self.debug.base(f"{'' if signed else 'u'}int{bits}", bits, signed=signed)
            case _:
                return self.debug.base("char", 8, signed=True)

    def _array(self, t: Array) -> int:
        return self.debug.array(self._type(t.element), sizeof(t.element) * 8, t.length)

    def _enum(self, t: EnumType) -> int:
        # libbpf wants an enum for an enum; which constants it has is of no matter (bpf_core_fields_are_compat).
        name, value = t.values[0] if t.values else ("none", 0)
        enumerator = self.debug.add(f'!DIEnumerator(name: "{name}", value: {value})')
        base = self._type(t.base)
        named = f'name: "{t.name}", ' if t.name else ""
        return self.debug.add(
            f"!DICompositeType(tag: DW_TAG_enumeration_type, {named}file: !{self.debug.file}, "
            f"baseType: !{base}, size: {t.base.bits}, elements: !{{!{enumerator}}})"
        )

    def finish(self) -> str:
        """Fill in the declarations, and give the LLVM types that go with them."""
        lines = []
        for local in self.structs.values():
            size = round_up(local.end, 64)
            union = local.struct.kind == "union"
            name = local.struct.name + self.suffix if local.struct.name else ""
            self.debug.struct(name, local.members, size, number=local.number, union=union)
            lines.append(f"%{local.symbol} = type {{ {', '.join(['i64'] * max(len(local.members), 1))} }}")
        return "\n".join(lines) + "\n"
