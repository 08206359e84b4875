"""The types of the language, as immutable values: equal types are equal objects of Python.

    Int(64, signed=False)        uint64
    Pointer(Struct("struct", "task_struct", ...), Space.KERNEL)
    Tuple((Int(32, False), String(16)))

A struct or union carries a `source` that loads its fields on demand, because the kernel's types are recursive and there are
150,000
of them; two structs are equal when kind, name and origin are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum as PyEnum
from typing import Protocol


class Space(PyEnum):
    """The address space that a pointer points into: it decides between probe_read_kernel and probe_read_user."""

    NONE = "none"
    KERNEL = "kernel"
    USER = "user"
    BPF = "bpf"  # a map value, the stack, the context: read directly


@dataclass(frozen=True, slots=True)
class Void:
    """No value; `void` behind a pointer."""

    def __str__(self) -> str:
        return "void"


@dataclass(frozen=True, slots=True)
class Bool:
    """`bool`, one byte."""

    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class Int:
    """An integer of `bits` 8, 16, 32 or 64. `role` marks integers that identify something: "cgroup" for cgroup v2 ids, "clock
    tai" for a reading of that clock."""

    bits: int
    signed: bool
    role: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"


@dataclass(frozen=True, slots=True)
class EnumType:
    """An enum of C or BTF; `values` maps names to numbers in declaration order. It behaves as its integer."""

    name: str
    base: Int
    values: tuple[tuple[str, int], ...] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"enum {self.name}"


@dataclass(frozen=True, slots=True)
class String:
    """A NUL-terminated string held by value in `size` bytes, the NUL counted."""

    size: int

    def __str__(self) -> str:
        return f"string[{self.size}]"


@dataclass(frozen=True, slots=True)
class Buffer:
    """What buf() gives: a u32 length and up to `size` bytes."""

    size: int

    def __str__(self) -> str:
        return f"buffer[{self.size}]"


@dataclass(frozen=True, slots=True)
class Pointer:
    """`target*` in an address space. `trusted` pointers are BTF pointers that the verifier lets the program dereference directly.

    `growing` pointers point to a variable or map of the program, whose type inference may still enlarge."""

    target: Type
    space: Space = field(default=Space.NONE, compare=False)
    trusted: bool = field(default=False, compare=False)
    growing: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.target}*"


@dataclass(frozen=True, slots=True)
class Array:
    """`element[length]`; length 0 is a flexible array member."""

    element: Type
    length: int

    def __str__(self) -> str:
        dims, element = "", self.element
        while isinstance(element, Array):
            dims, element = f"{dims}[{element.length}]", element.element
        return f"{element}[{self.length}]{dims}"


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct or union.

    Args:
        name: "" for an anonymous struct or union member.
        type: the member's type.
        offset: bytes from the start of the struct; for a bitfield, of the first byte that it touches.
        bit_offset: bits from the start of the struct.
        bit_size: 0, or the width of a bitfield in bits.
        index: the member's position in the C declaration, which CO-RE counts.
        data_loc: True for a tracepoint's `__data_loc` member: the low 16 bits are an offset into the record, the high 16 a
        length.
    """

    name: str
    type: Type
    offset: int
    bit_offset: int
    bit_size: int = 0
    index: int = 0
    data_loc: bool = False


class FieldSource(Protocol):
    """Whoever knows the members of structs: the kernel's BTF, C definitions, tracepoint formats."""

    def fields(self, struct: Struct) -> tuple[Field, ...]:
        """The members of `struct` in declaration order, anonymous ones included."""
        ...


class Origin(PyEnum):
    """Where a struct is defined: BTF structs are accessed by CO-RE relocations, the others by fixed offsets."""

    BTF = "btf"
    C = "c"
    ARGS = "args"  # the argument record of a probe, laid out by the compiler


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct or union (`kind`) with its size in bytes. `ident` is a number by which its source finds it again.

    Anonymous structs have name "" and are told apart by `ident`."""

    kind: str
    name: str
    size: int = field(compare=False)
    origin: Origin
    source: FieldSource = field(compare=False, repr=False)
    ident: int = 0

    @property
    def fields(self) -> tuple[Field, ...]:
        """The members in declaration order."""
        return self.source.fields(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else f"{self.kind} <anonymous>"


@dataclass(frozen=True, slots=True)
class FunctionType:
    """The target of a function pointer: nothing is done with it but passing it on."""

    def __str__(self) -> str:
        return "void ()"


@dataclass(frozen=True, slots=True)
class Tuple:
    """`(T1, T2, …)`."""

    elements: tuple[Type, ...]

    def __str__(self) -> str:
        return f"({','.join(map(str, self.elements))})"


@dataclass(frozen=True, slots=True)
class Record:
    """`(name = T, …)`."""

    fields: tuple[tuple[str, Type], ...]

    def __str__(self) -> str:
        return "record { " + " ".join(f".{n} = {t};" for n, t in self.fields) + " }"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The value of a map that a map function feeds: `count`, `sum`, `min`, `max`, `avg`, `stats`, `hist`, `lhist`, `tseries`.

    Args:
        kind: the function's name.
        signed: whether its argument is signed (count: False).
        params: hist: (k,); lhist: (min, max, step); tseries: (interval ns, intervals); else ().
        how: tseries' aggregation ("", avg, max, min, sum).
    """

    kind: str
    signed: bool = True
    params: tuple[int, ...] = ()
    how: str = ""

    def __str__(self) -> str:
        sign = "" if self.signed or self.kind == "count" else "u"
        given = f"({', '.join(map(str, self.params))})" if any(self.params) else ""  # two hist_t may still not go together
        return f"{sign}{self.kind}_t{given}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value that only the node can turn into text, kept as the raw numbers that this takes.

    `kind`: ksym, usym, kstack, ustack, inet, macaddr, cgroup_path, username, pod, timestamp, strftime, mac...; `params` are
    kind-specific
    constants (a stack's mode and limit, strftime's format id).
    """

    kind: str
    size: int
    params: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        if self.kind in ("kstack", "ustack"):
            return "_".join(map(str, (self.kind, *self.params)))
        return {"macaddr": "macaddr_t", "inet": "inet"}.get(self.kind, f"{self.kind}_t")


Type = (
    Void
    | Bool
    | Int
    | EnumType
    | String
    | Buffer
    | Pointer
    | Array
    | Struct
    | FunctionType
    | Tuple
    | Record
    | Aggregate
    | Resolved
)

U8, U16, U32, U64 = (Int(bits, False) for bits in (8, 16, 32, 64))
I8, I16, I32, I64 = (Int(bits, True) for bits in (8, 16, 32, 64))
CLOCK = "clock "  # how the role of a clock's reading starts
VOID, BOOL = Void(), Bool()


def sizeof(t: Type) -> int:
    """The size of a value of type `t` in bytes, as it lies in a map, an event or on the stack (tuples with C's padding)."""
    match t:
        case Void() | FunctionType():
            return 0
        case Bool():
            return 1
        case Int(bits=bits):
            return bits // 8
        case EnumType(base=base):
            return sizeof(base)
        case String(size=size) | Resolved(size=size):
            return size
        case Buffer(size=size):
            return size + 4
        case Pointer():
            return 8
        case Array(element=element, length=length):
            return sizeof(element) * length
        case Struct(size=size):
            return size
        case Tuple() | Record():
            return members(t)[1]
        case Aggregate():
            return 8
    raise AssertionError(t)


def alignof(t: Type) -> int:
    """The alignment of a value of type `t` in bytes, at most 8."""
    match t:
        case Array(element=element):
            return alignof(element)
        case Tuple(elements=elements):
            return max((alignof(e) for e in elements), default=1)
        case Record(fields=pairs):
            return max((alignof(e) for _, e in pairs), default=1)
        case String() | Bool() | Void() | FunctionType():
            return 1
        case Buffer():
            return 4
        case Struct() | Resolved() | Aggregate():
            return 8
        case _:
            return min(sizeof(t), 8) or 1


def members(t: Tuple | Record) -> tuple[tuple[int, ...], int]:
    """The byte offset of each member of a tuple or record, and the whole size, padded to its alignment.

    >>> members(Tuple((U8, U64)))
    ((0, 8), 16)
    """
    elements = t.elements if isinstance(t, Tuple) else tuple(e for _, e in t.fields)
    offsets, end = [], 0
    for element in elements:
        end = round_up(end, alignof(element))
        offsets.append(end)
        end += sizeof(element)
    return tuple(offsets), round_up(end, alignof(t))


def parts(t: Type) -> int:
    """How many values a tuple or record holds, those of the tuples in it and these themselves counted; 1 for other types.

    >>> parts(Tuple((U8, Tuple((U8, U8)))))
    5
    """
    match t:
        case Tuple(elements=elements):
            return 1 + sum(map(parts, elements))
        case Record(fields=fields):
            return 1 + sum(parts(e) for _, e in fields)
        case _:
            return 1


def flat_fields(struct: Struct) -> Iterator[Field]:
    """The named members of a struct or union, those of its anonymous members among them, with offsets from the whole's start."""
    for f in struct.fields:
        if f.name or not isinstance(f.type, Struct):
            yield f
            continue
        for inner in flat_fields(f.type):
            yield replace(inner, offset=f.offset + inner.offset, bit_offset=f.bit_offset + inner.bit_offset)


def round_up(n: int, to: int) -> int:
    """The smallest multiple of `to` that is not below `n`."""
    return (n + to - 1) // to * to
