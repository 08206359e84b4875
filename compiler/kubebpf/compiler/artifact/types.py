"""How values lie in memory, told to whoever reads them: descriptors of map keys, map values and event arguments.

They are a smaller language than the compiler's types: what is needed to decode bytes, no more. In the manifest they are JSON:

    {"t": "int", "bits": 64, "signed": false, "role": "cgroup"}
    {"t": "tuple", "size": 24, "items": [[0, {"t": "int", "bits": 32, "signed": false}], [8, {"t": "string", "size": 16}]]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DInt:
    """A little-endian integer. `role` "cgroup" marks a cgroup v2 id."""

    bits: int
    signed: bool
    role: str = ""


@dataclass(frozen=True, slots=True)
class DBool:
    """One byte, 0 or 1."""


@dataclass(frozen=True, slots=True)
class DString:
    """NUL-terminated in `size` bytes. A string that fills the buffer was cut."""

    size: int


@dataclass(frozen=True, slots=True)
class DBuffer:
    """A u32 length and `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class DPointer:
    """Eight bytes, printed as 0x… ."""


@dataclass(frozen=True, slots=True)
class DEnum:
    """An integer with names."""

    name: str
    bits: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DArray:
    """`length` elements of `stride` bytes each."""

    element: Desc
    length: int
    stride: int


@dataclass(frozen=True, slots=True)
class DTuple:
    """`items` are (byte offset, descriptor); `size` counts the padding at the end."""

    items: tuple[tuple[int, Desc], ...]
    size: int


@dataclass(frozen=True, slots=True)
class DField:
    """A named member. For a bitfield `bit_size` is not 0, and `bit_shift` counts bits from bit 0 of the byte at `offset`."""

    name: str
    offset: int
    type: Desc
    bit_shift: int = 0
    bit_size: int = 0


@dataclass(frozen=True, slots=True)
class DRecord:
    """A record, struct or the arguments of a probe: named members."""

    fields: tuple[DField, ...]
    size: int


@dataclass(frozen=True, slots=True)
class DResolved:
    """Raw numbers that the node turns into text. Layouts by `kind`:

    ksym: u64 address. usym: u64 address, u32 pid, u32 probe. inet: u64 family, 16 bytes. macaddr: 6 bytes. username: u64 uid.
    pod, namespace, container: u64 cgroup id. node: u64 0.
    cgroup_path: u64 cgroup id, u64 index into the manifest's strings (the hierarchy filter). timestamp/strftime: u64 nanoseconds,
    u64 index into the manifest's strings (the format), with params (mode,). kstack/ustack: u32 pid, u32 probe, u64 count,
    then up to params[1] u64 addresses, with params (mode, limit).
    """

    kind: str
    size: int
    params: tuple[int | str, ...] = ()


Desc = DInt | DBool | DString | DBuffer | DPointer | DEnum | DArray | DTuple | DRecord | DResolved


@dataclass(frozen=True, slots=True)
class DAggregate:
    """The layout of an aggregate in a per-CPU map value. All numbers are 64 bits, little endian; x is u64, or s64 when `signed`.

    count: {u64}. sum: {x}. min, max: {u64 value as `extremes` keeps it, u64 set}. avg, stats: {x total, u64 count}.
    hist (params (k,)): u64[slots], slot(n) = 0 for n < 0; 1 + n for n < 2**k; else with l = floor(log2 n):
    1 + ((l - k + 1) << k) + ((n >> (l - k)) & (2**k - 1)). For k = 0: slot 1 is 0, slot 2 + l is [2**l, 2**(l+1)).
    lhist (params (min, max, step)): u64[slots]: slot 0 is below min, slot 1 + i is [min + i*step, min + (i+1)*step) for the whole
    steps in the range, the last is where they end and above.
    tseries (params (interval ns, n), how): n of {x value, u64 meta, u64 epoch + 1}, a value of min or max as `extremes` keeps it;
    an interval that was never used is zeros.
    `slots` is the number of slots of a histogram. A whole-value histogram of a keyed map has its array under each key.
    """

    kind: str
    signed: bool
    size: int
    params: tuple[int, ...] = ()
    how: str = ""
    slots: int = 0


def to_json(d: Desc | DAggregate) -> dict[str, Any]:
    """The JSON form of a descriptor."""
    match d:
        case DInt(bits, signed, role):
            return {"t": "int", "bits": bits, "signed": signed} | ({"role": role} if role else {})
        case DBool():
            return {"t": "bool"}
        case DString(size):
            return {"t": "string", "size": size}
        case DBuffer(size):
            return {"t": "buffer", "size": size}
        case DPointer():
            return {"t": "pointer"}
        case DEnum(name, bits, signed, values):
            return {"t": "enum", "name": name, "bits": bits, "signed": signed, "values": [list(v) for v in values]}
        case DArray(element, length, stride):
            return {"t": "array", "element": to_json(element), "length": length, "stride": stride}
        case DTuple(items, size):
            return {"t": "tuple", "size": size, "items": [[offset, to_json(item)] for offset, item in items]}
        case DRecord(fields, size):
            return {"t": "record", "size": size, "fields": [_field_json(f) for f in fields]}
        case DResolved(kind, size, params):
            return {"t": "resolved", "kind": kind, "size": size, "params": list(params)}
        case DAggregate(kind, signed, size, params, how, slots):
            return {
                "t": "aggregate", "kind": kind, "signed": signed, "size": size,
                "params": list(params), "how": how, "slots": slots,
            }  # fmt: skip


def _field_json(f: DField) -> dict[str, Any]:
    bits = {"bit_shift": f.bit_shift, "bit_size": f.bit_size} if f.bit_size else {}
    return {"name": f.name, "offset": f.offset, "type": to_json(f.type)} | bits


def from_json(j: dict[str, Any]) -> Desc | DAggregate:
    """A descriptor from its JSON form.

    Raises:
        KeyError: a member is missing or the kind is unknown; the manifest is not ours.
    """
    d: Desc | DAggregate = _READERS[j["t"]](j)
    return d


def desc_from_json(j: dict[str, Any]) -> Desc:
    """As from_json, for places where an aggregate cannot stand."""
    d = from_json(j)
    assert not isinstance(d, DAggregate)
    return d


_READERS: dict[str, Any] = {
    "int": lambda j: DInt(j["bits"], j["signed"], j.get("role", "")),
    "bool": lambda j: DBool(),
    "string": lambda j: DString(j["size"]),
    "buffer": lambda j: DBuffer(j["size"]),
    "pointer": lambda j: DPointer(),
    "enum": lambda j: DEnum(j["name"], j["bits"], j["signed"], tuple((n, v) for n, v in j["values"])),
    "array": lambda j: DArray(desc_from_json(j["element"]), j["length"], j["stride"]),
    "tuple": lambda j: DTuple(tuple((o, desc_from_json(i)) for o, i in j["items"]), j["size"]),
    "record": lambda j: DRecord(
        tuple(
            DField(f["name"], f["offset"], desc_from_json(f["type"]), f.get("bit_shift", 0), f.get("bit_size", 0))
            for f in j["fields"]
        ),
        j["size"],
    ),
    "resolved": lambda j: DResolved(j["kind"], j["size"], tuple(j["params"])),
    "aggregate": lambda j: DAggregate(j["kind"], j["signed"], j["size"], tuple(j["params"]), j["how"], j["slots"]),
}


def size_of(d: Desc | DAggregate) -> int:
    """The size in bytes of a value that `d` describes."""
    match d:
        case DInt(bits=bits) | DEnum(bits=bits):
            return bits // 8
        case DBool():
            return 1
        case DBuffer(size):
            return size + 4
        case DPointer():
            return 8
        case DArray(_, length, stride):
            return length * stride
        case _:
            return d.size
