"""Types as the manifest describes them, and how values are laid out where user space reads them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from kubebpf.compiler.artifact import types as d
from kubebpf.compiler.artifact.histogram import slot_count
from kubebpf.compiler.emit.limits import TooLargeError
from kubebpf.compiler.types.model import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    EnumType,
    Field,
    Int,
    Pointer,
    Record,
    Resolved,
    String,
    Struct,
    Tuple,
    Type,
    flat_fields,
    members,
    round_up,
    sizeof,
)
from kubebpf.compiler.types.promote import is_integral

MOST_VALUES = 2048  # task_struct has about 1,000 members, with those of its structs


def describe(t: Type) -> d.Desc:
    """The descriptor of a value of type `t` as generated code lays it out.

    Raises:
        AssertionError: the type has no value that could be sent (the checker lets none through).
        TooLargeError: a struct of structs of structs holds more than MOST_VALUES.
    """
    found = sum(1 for _ in islice(_values(t), MOST_VALUES + 1))
    if found > MOST_VALUES:
        raise TooLargeError("or more fields in one value", found, MOST_VALUES)
    return _describe(t)


def _values(t: Type) -> Iterator[Type]:
    """All that a value holds. No recursion: structs of C can lie in each other as deep as their author likes."""
    waiting = [t]
    while waiting:
        found = waiting.pop()
        yield found
        match found:
            case Array(element=element):
                waiting.append(element)
            case Tuple(elements=elements):
                waiting.extend(elements)
            case Record(fields=fields):
                waiting.extend(e for _, e in fields)
            case Struct():
                waiting.extend(f.type for f in found.fields if isinstance(f.type, Struct | Array) or _printable(f.type))


def _describe(t: Type) -> d.Desc:
    match t:
        case Int(bits=bits, signed=signed, role=role):
            return d.DInt(bits, signed, role if role == "cgroup" else "")
        case Bool():
            return d.DBool()
        case EnumType(name=name, base=base, values=values):
            return d.DEnum(name, base.bits, base.signed, values)
        case String(size=size):
            return d.DString(size)
        case Buffer(size=size):
            return d.DBuffer(size)
        case Pointer():
            return d.DPointer()
        case Array(element=Int(role="char"), length=length):
            return d.DString(length)
        case Array(element=element, length=length):
            return d.DArray(_describe(element), length, sizeof(element))
        case Tuple(elements=elements):
            offsets, size = members(t)
            return d.DTuple(tuple((o, _describe(e)) for o, e in zip(offsets, elements, strict=True)), size)
        case Record(fields=fields):
            offsets, size = members(t)
            return d.DRecord(tuple(d.DField(n, o, _describe(e)) for o, (n, e) in zip(offsets, fields, strict=True)), size)
        case Struct(size=size):
            return d.DRecord(tuple(_field(f) for f in flat_fields(t) if _printable(f.type)), size)
        case Resolved(kind=kind, size=size, params=params):
            return d.DResolved(kind, size, params)
    raise AssertionError(t)


def _field(f: Field) -> d.DField:
    if f.bit_size:
        return d.DField(f.name, f.bit_offset // 8, _describe(f.type), f.bit_offset % 8, f.bit_size)
    return d.DField(f.name, f.offset, _describe(f.type))


def _printable(t: Type) -> bool:
    return is_integral(t) or isinstance(t, Pointer | Array | Struct | String)


def aggregate_layout(a: Aggregate) -> d.DAggregate:
    """How an aggregate lies in its map value; the layouts are the manifest's (artifact/types.py)."""
    slots = 0
    match a.kind:
        case "count" | "sum":
            size = 8
        case "min" | "max" | "avg" | "stats":
            size = 16
        case "hist" | "lhist":
            slots = slot_count(a.kind, a.params)
            size = slots * 8
        case _:
            size = a.params[1] * 24
    return d.DAggregate(a.kind, a.signed, size, a.params, a.how, slots)


def storage_type(t: Type) -> Type:
    """The type that a map's key is stored as: the kernel hashes keys of whole 32-bit words fastest (jhash2)."""
    return Int(32, t.signed, t.role) if isinstance(t, Int) and t.bits < 32 else t


def storage_size(t: Type) -> int:
    """The bytes of a stored value: a multiple of 8, so that every field of it is aligned."""
    return round_up(sizeof(t), 8)
