"""What a kernel's BTF says, as types of the language. Everything is made on demand; opening costs 30 ms for a whole kernel.

    btf = Btf.read(Path("/sys/kernel/btf/vmlinux"))
    btf.struct("task_struct").fields[0]          -> Field("thread_info", Struct(…), offset 0, …)
    btf.typedef("pid_t")                         -> Int(32, signed=True)
    btf.function("vfs_read").params              -> (("file", Pointer(struct file)), ("buf", Pointer(int8, USER)), …)
    btf.enum_constant("TCP_CLOSE")               -> (EnumType(…), 7)

const, volatile, restrict and typedefs are taken off. Pointers are `Space.KERNEL` unless BTF tags the pointee as `__user`: BTF
describes the kernel's memory. A pointer read through a user pointer is a user pointer all the same; that is for the reader of the
field to say. No pointer is `trusted`: that depends on the probe. `char` is an Int of 8 bits with the role "char": an array of it
is text and an array of u8 is not, and as kernels since 6.2 are built with unsigned chars, the sign does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kubebpf.compiler.kernel.btf_raw import BtfError, Kind, RawBtf, read
from kubebpf.compiler.types.model import (
    BOOL,
    U8,
    VOID,
    Array,
    EnumType,
    Field,
    FunctionType,
    Int,
    Origin,
    Pointer,
    Space,
    Struct,
    Type,
)

__all__ = ["CHAR", "Btf", "BtfError", "Function"]

_WRAPPERS = {Kind.TYPEDEF, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG}
_MODIFIERS = _WRAPPERS - {Kind.TYPEDEF}
_DEEPEST = 64  # The kernel refuses chains longer than 32 (MAX_RESOLVE_DEPTH, kernel/bpf/btf.c); longer means a cycle.
MOST_ABSENT = 10_000  # names that are known to be no constant
CHAR = "char"  # the role of an Int that C calls char
_SIGNED, _BOOLEAN = 1, 4  # the encoding bits of an INT


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the kernel, or the arguments of a raw tracepoint.

    Args:
        name: as BTF spells it.
        params: (name, type) in order; a name is `arg0`, `arg1`, … where BTF has none.
        returns: `VOID` when it returns nothing.
        variadic: its parameters end with `...`.
        known: False in an offline view, where the function is taken to exist and nothing else is known.
    """

    name: str
    params: tuple[tuple[str, Type], ...] = ()
    returns: Type = VOID
    variadic: bool = False
    known: bool = True


class Btf:
    """The types of one kernel or module. It is the `source` of the structs that it gives out.

    Every lookup returns None when BTF has no such thing, and raises BtfError where the BTF is damaged.
    """

    def __init__(self, raw: RawBtf, base: Btf | None = None) -> None:
        self.raw = raw
        self._no_constants: set[str] = set()
        self.base = base
        self._types: dict[int, Type] = {}
        self._fields: dict[int, tuple[Field, ...]] = {}

    @classmethod
    def read(cls, path: Path, base: Btf | None = None) -> Btf:
        """Open a file of raw BTF or an ELF with a `.BTF` section; `base` is vmlinux's BTF when the file is a module's.

        Raises:
            BtfError: the file cannot be read or is no BTF.
        """
        return cls(read(path, base.raw if base else None), base)

    @classmethod
    def parse(cls, data: bytes, base: Btf | None = None) -> Btf:
        """As `read`, from bytes."""
        return cls(RawBtf.parse(data, base.raw if base else None), base)

    @classmethod
    def empty(cls) -> Btf:
        """The BTF of a kernel of which nothing is known."""
        return cls(RawBtf(memoryview(b"").cast("I"), b"\0"))

    def struct(self, name: str) -> Struct | None:
        """The first struct with this name: a definition before a mere forward declaration, which has size 0."""
        return self._composite(name, Kind.STRUCT)

    def union(self, name: str) -> Struct | None:
        """As `struct`, for unions."""
        return self._composite(name, Kind.UNION)

    def enum(self, name: str) -> EnumType | None:
        """The first enum with this name."""
        number = self.raw.find(name, (Kind.ENUM, Kind.ENUM64))
        found = None if number is None else self.type(number)
        return found if isinstance(found, EnumType) else None

    def typedef(self, name: str) -> Type | None:
        """What a typedef, or a base type of C such as `unsigned int`, stands for."""
        number = self.raw.find(name, (Kind.TYPEDEF, Kind.INT, Kind.FLOAT))
        return None if number is None else self.type(number)

    def function(self, name: str) -> Function | None:
        """The first function with this name."""
        number = self.raw.find(name, (Kind.FUNC,))
        return None if number is None else self.prototype(self.raw.target(number), name)

    def variable(self, name: str) -> Type | None:
        """The type of a variable of the kernel; BTF has the per-CPU ones only."""
        number = self.raw.find(name, (Kind.VAR,))
        return None if number is None else self.type(self.raw.target(number))

    def enum_constant(self, name: str) -> tuple[EnumType, int] | None:
        """The enum that declares a constant, and the constant's value. The first call reads all enums (15 ms)."""
        if name in self._no_constants:
            return None
        for offset in self.raw.offsets(name):
            if (place := self.raw.constants.get(offset)) is not None:
                found = self.type(place[0])
                assert isinstance(found, EnumType)
                return found, found.values[place[1]][1]
        found_in_base = self.base.enum_constant(name) if self.base else None
        if found_in_base is None and len(self._no_constants) < MOST_ABSENT:
            self._no_constants.add(name)  # a search for what is not there takes milliseconds
        return found_in_base

    def functions(self) -> Iterator[str]:
        """The names of all functions, in BTF's order, some more than once; a module's own only."""
        return self.raw.names(Kind.FUNC)

    def names(self, *kinds: Kind) -> Iterator[str]:
        """The names of all types of some kinds, a module's own only."""
        for kind in kinds:
            yield from self.raw.names(kind)

    def prototype(self, number: int, name: str) -> Function:
        """A FUNC_PROTO as a function called `name`."""
        if self.raw.kind(number) is not Kind.FUNC_PROTO:
            raise BtfError(f"{name} is a function without a prototype (type {number})")
        params, variadic = [], False
        for i, (label, target) in enumerate(self.raw.items(number)):
            if label == 0 and target == 0:  # the `...` at the end
                variadic = True
                continue
            params.append((self.raw.string(label) or f"arg{i}", self.type(target)))
        return Function(name, tuple(params), self.type(self.raw.target(number)), variadic)

    def alias(self, struct: Struct) -> str:
        """The name of a typedef for an anonymous struct (`atomic_t`), by which CO-RE can refer to it; "" when it has none."""
        return self._aliases.get(struct.ident, "") or (self.base.alias(struct) if self.base else "")

    def fields(self, struct: Struct) -> tuple[Field, ...]:
        """The members of a struct or union that this BTF gave out, in declaration order."""
        if struct.ident not in self._fields:
            kind = self.raw.kind(struct.ident)
            defined = kind in (Kind.STRUCT, Kind.UNION)
            self._fields[struct.ident] = tuple(self._members(struct.ident)) if defined else ()
        return self._fields[struct.ident]

    def type(self, number: int, depth: int = 0) -> Type:
        """The type with this number.

        Raises:
            BtfError: there is none, or it contains itself.
        """
        if self.base and number < self.raw.first:
            return self.base.type(number)
        if number not in self._types:
            if depth > _DEEPEST:
                raise BtfError(f"type {number} refers to itself, or is nested deeper than {_DEEPEST} levels")
            self._types[number] = self._make(number, depth + 1)
        return self._types[number]

    def plain(self, number: int) -> int:
        """The number of the type below a type's typedefs and qualifiers."""
        for _ in range(_DEEPEST):
            if self.raw.kind(number) not in _WRAPPERS:
                return number
            number = self.raw.target(number)
        raise BtfError(f"type {number} refers to itself, or is nested deeper than {_DEEPEST} levels")

    def tags(self, number: int) -> tuple[tuple[str, ...], int]:
        """The BTF type tags (`user`, `percpu`, `rcu`) around a type, and the number of the type below them."""
        tags: list[str] = []
        for _ in range(_DEEPEST):
            kind = self.raw.kind(number)
            if kind not in _MODIFIERS:
                return tuple(tags), number
            if kind is Kind.TYPE_TAG:
                tags.append(self.raw.name(number))
            number = self.raw.target(number)
        raise BtfError(f"type {number} refers to itself, or is nested deeper than {_DEEPEST} levels")

    def _make(self, number: int, depth: int) -> Type:
        kind = self.raw.kind(number)
        if kind in _WRAPPERS:
            return self.type(self.raw.target(number), depth)
        match kind:
            case Kind.VOID:
                return VOID
            case Kind.INT:
                return self._int(number)
            case Kind.PTR:
                return self._pointer(number, depth)
            case Kind.ARRAY:
                element, _, length = self.raw.extra(number)
                return Array(self.type(element, depth), length)
            case Kind.STRUCT | Kind.UNION:
                return Struct(kind.name.lower(), self.raw.name(number), self.raw.size(number), Origin.BTF, self, number)
            case Kind.ENUM | Kind.ENUM64:
                return self._enum(number, kind)
            case Kind.FWD:
                return self._forward(number)
            case Kind.FUNC_PROTO | Kind.FUNC:
                return FunctionType()
            case Kind.FLOAT:
                return Array(U8, self.raw.size(number))  # The language has no floats: their bytes can be looked at.
        raise BtfError(f"type {number} is a {kind.name}, where a type of a value is needed")

    def _int(self, number: int) -> Type:
        size, (word,) = self.raw.size(number), self.raw.extra(number)
        encoding = word >> 24 & 15
        if encoding & _BOOLEAN and size == 1:
            return BOOL
        signed = bool(encoding & _SIGNED)
        if size in (1, 2, 4, 8):
            return Int(size * 8, signed, CHAR if self.raw.name(number) == "char" else "")
        if size == 16:
            return Array(Int(64, False), 2)  # __int128, of which the language has no arithmetic
        raise BtfError(f"type {number} is an integer of {size} bytes")

    def _pointer(self, number: int, depth: int) -> Pointer:
        target = self.raw.target(number)
        space = Space.USER if "user" in self.tags(target)[0] else Space.KERNEL
        return Pointer(self.type(target, depth), space)

    def _enum(self, number: int, kind: Kind) -> EnumType:
        signed, bits = self.raw.flag(number), self.raw.size(number) * 8
        if bits not in (8, 16, 32, 64):
            raise BtfError(f"type {number} is an enum of {bits // 8} bytes")
        values = []
        for item in self.raw.items(number):
            value, width = (item[1], 32) if kind is Kind.ENUM else (item[2] << 32 | item[1], 64)
            values.append((self.raw.string(item[0]), value - (1 << width) if signed and value >> (width - 1) else value))
        return EnumType(self.raw.name(number), Int(bits, signed), tuple(values))

    def _forward(self, number: int) -> Struct:
        """A forward declaration: the definition of the same name where there is one, else a struct of size 0."""
        name, kind = self.raw.name(number), Kind.UNION if self.raw.flag(number) else Kind.STRUCT
        return self._defined(name, kind) or Struct(kind.name.lower(), name, 0, Origin.BTF, self, number)

    def _defined(self, name: str, kind: Kind) -> Struct | None:
        number = self.raw.find(name, (kind,))
        found = None if number is None else self.type(number)
        return found if isinstance(found, Struct) else None

    def _composite(self, name: str, kind: Kind) -> Struct | None:
        if found := self._defined(name, kind):
            return found
        number = self.raw.find(name, (Kind.FWD,))
        forward = None if number is None else self.type(number)
        return forward if isinstance(forward, Struct) and forward.kind == kind.name.lower() else None

    def _members(self, number: int) -> Iterator[Field]:
        sized = self.raw.flag(number)
        for index, (label, target, place) in enumerate(self.raw.items(number)):
            # With kind_flag, the upper 8 bits of a member's place are the width of a bitfield (btf.rst, BTF_KIND_STRUCT).
            bits, width = (place & 0xFFFFFF, place >> 24) if sized else (place, 0)
            bits, width = (bits, width) if sized else self._old_bitfield(target, bits)
            yield Field(self.raw.string(label), self.type(target), bits // 8, bits, width, index)

    def _old_bitfield(self, target: int, bits: int) -> tuple[int, int]:
        """Without kind_flag a bitfield's width is told by its INT, which is narrower than its size."""
        target = self.plain(target)
        if self.raw.kind(target) is not Kind.INT:
            return bits, 0
        (word,) = self.raw.extra(target)
        width, shift = word & 0xFF, word >> 16 & 0xFF
        return (bits, 0) if width == self.raw.size(target) * 8 and not shift else (bits + shift, width)

    @cached_property
    def _aliases(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for number in self.raw.numbers(Kind.TYPEDEF):
            target = self.tags(self.raw.target(number))[1]
            if self.raw.kind(target) in (Kind.STRUCT, Kind.UNION) and not self.raw.name(target):
                found.setdefault(target, self.raw.name(number))
        return found
