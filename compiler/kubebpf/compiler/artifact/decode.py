"""Bytes to values: what a descriptor of `types.py` says about memory, applied to it.

    decode(DTuple(((0, DInt(32, False)), (4, DString(4))), 8), b"\\x07\\0\\0\\0ls\\0\\0", PlainResolver())  -> Tuple((7, "ls"))

What bytes alone cannot say (symbols, stacks, user names, pods) a Resolver is asked.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Protocol

from kubebpf.compiler.artifact.strftime import format_time
from kubebpf.compiler.artifact.types import (
    DArray,
    DBool,
    DBuffer,
    DEnum,
    Desc,
    DField,
    DInt,
    DPointer,
    DRecord,
    DResolved,
    DString,
    DTuple,
    size_of,
)
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Text, Tuple, Value

Memory = bytes | memoryview


class Resolver(Protocol):
    """What only the node can say."""

    trailer: str
    """What is put behind a string that was cut: the setting str_trunc_trailer."""

    def ksym(self, address: int) -> str:
        """The kernel symbol at an address."""

    def usym(self, address: int, pid: int, probe: int) -> str:
        """The symbol at an address of a process, that may have ended; the probe knows its binary."""

    def stack(self, kind: str, mode: str, addresses: Sequence[int], pid: int, probe: int) -> str:
        """The lines of a stack as bpftrace prints them, newlines before and behind; `kind` is kstack or ustack."""

    def notice(self, pid: int) -> None:
        """A process is about to be in a stack or symbol for the first time; it may end soon."""

    def username(self, uid: int) -> str:
        """The name of a user of this machine, or an empty string."""

    def cgroup(self, id: int) -> Cgroup:
        """What is known of a cgroup v2 id."""

    def owner(self, kind: str, id: int) -> str:
        """The pod, namespace, container or node (`kind`) of a container's cgroup; "" where there is none."""

    def cgroup_path(self, id: int, pattern: str) -> Cgroup | Text:
        """The same for cgroup_path(); `pattern` selects hierarchies, empty takes all."""

    def timestamp(self, ns: int, format: str, mode: str) -> str:
        """A moment of the clock `mode` (boot, monotonic, tai, …) in the words of a strftime format."""

    def string(self, index: int) -> str:
        """An entry of the manifest's strings."""


class PlainResolver:
    """Knows nothing of the node: addresses and ids stay numbers, clocks count from 1970.

    Args:
        strings: the manifest's.
        trailer: put behind strings that were cut.
        boot_ns: when the machine's clocks started, in nanoseconds since 1970.
    """

    def __init__(self, strings: Sequence[str] = (), trailer: str = "..", boot_ns: int = 0) -> None:
        self.strings = strings
        self.trailer = trailer
        self.boot_ns = boot_ns

    def ksym(self, address: int) -> str:
        """The number; bpftrace prints an address of nothing as 0."""
        return hex(address) if address else "0"

    def usym(self, address: int, pid: int, probe: int) -> str:
        """The number."""
        return self.ksym(address)

    def stack(self, kind: str, mode: str, addresses: Sequence[int], pid: int, probe: int) -> str:
        """The numbers."""
        return stack_lines(mode, addresses, [hex(address) for address in addresses])

    def notice(self, pid: int) -> None:
        """Nothing."""

    def username(self, uid: int) -> str:
        """The number."""
        return str(uid)

    def cgroup(self, id: int) -> Cgroup:
        """The id alone."""
        return Cgroup(id)

    def owner(self, kind: str, id: int) -> str:
        """Nobody."""
        return ""

    def cgroup_path(self, id: int, pattern: str) -> Cgroup | Text:
        """The id alone."""
        return Cgroup(id, as_path=True)

    def timestamp(self, ns: int, format: str, mode: str) -> str:
        """The moment in local time."""
        return format_time(ns + self.boot_ns, format)

    def string(self, index: int) -> str:
        """The entry, or an empty string."""
        return self.strings[index] if index < len(self.strings) else ""


def stack_lines(mode: str, addresses: Sequence[int], symbols: Sequence[str]) -> str:
    """The text of a stack from the text of its frames, innermost first.

    Args:
        mode: bpftrace (the symbols, indented), perf (a tab, the bare address, the symbol) or raw (the bare addresses).
        addresses: of the frames.
        symbols: of the frames, `name+offset`; for perf of a user stack with the module behind it.
    """
    lines = {
        "perf": [f"\t{address:x} {symbol}\n" for address, symbol in zip(addresses, symbols, strict=True)],
        "raw": [f"{address:x}\n" for address in addresses],
    }.get(mode, [f"        {symbol}\n" for symbol in symbols])
    return "\n" + "".join(lines)


def decode(desc: Desc, data: Memory, resolver: Resolver) -> Value:
    """The value at the start of `data`.

    Args:
        desc: what lies there.
        data: at least size_of(desc) bytes.
        resolver: asked for what the bytes cannot say.

    Raises:
        struct.error, IndexError: `data` is too short.
    """
    match desc:
        case DInt(bits, signed, role):
            number = _integer(data, bits, signed)
            return resolver.cgroup(number) if role == "cgroup" else number
        case DBool():
            return data[0] != 0
        case DString(size):
            return _string(bytes(data[:size]), resolver.trailer)
        case DPointer():
            return Pointer(_integer(data, 64, signed=False))
        case DEnum(bits=bits, signed=signed):
            return _enum(desc, _integer(data, bits, signed))
        case DBuffer(size):
            return Bytes(bytes(data[4 : 4 + min(size, _integer(data, 32, signed=False))]))
        case DArray(element, length, stride):
            return Array(tuple(decode(element, data[i * stride :], resolver) for i in range(length)))
        case DTuple(items):
            return Tuple(tuple(decode(item, data[offset:], resolver) for offset, item in items))
        case DRecord(fields):
            return Record(tuple((field.name, _field(field, data, resolver)) for field in fields))
        case DResolved():
            return _resolved(desc, data, resolver)


def zero(desc: Desc, resolver: Resolver) -> Value:
    """What bpftrace shows of a map that nothing was assigned to: the value of zero bytes."""
    return decode(desc, bytes(size_of(desc)), resolver)


_FORMATS = {(8, 0): "<B", (8, 1): "<b", (16, 0): "<H", (16, 1): "<h", (32, 0): "<I", (32, 1): "<i", (64, 0): "<Q", (64, 1): "<q"}


def _integer(data: Memory, bits: int, signed: bool) -> int:
    (number,) = struct.unpack_from(_FORMATS[bits, int(signed)], data)
    return int(number)


def _string(data: bytes, trailer: str) -> str:
    text, end, _ = data.partition(b"\0")
    # A buffer without its NUL was too short for the string.
    return text.decode("utf-8", "surrogateescape") + ("" if end or not data else trailer)


def _enum(desc: DEnum, number: int) -> Enum:
    return Enum(next((name for name, value in desc.values if value == number), ""), number)


def _field(field: DField, data: Memory, resolver: Resolver) -> Value:
    if not field.bit_size:
        return decode(field.type, data[field.offset :], resolver)
    return _bits(field, data)


def _bits(field: DField, data: Memory) -> Value:
    length = (field.bit_shift + field.bit_size + 7) // 8
    raw = int.from_bytes(data[field.offset : field.offset + length], "little") >> field.bit_shift
    number = raw & ((1 << field.bit_size) - 1)
    if isinstance(field.type, DBool):
        return number != 0
    if isinstance(field.type, DInt | DEnum) and field.type.signed and number >> (field.bit_size - 1):
        number -= 1 << field.bit_size
    return _enum(field.type, number) if isinstance(field.type, DEnum) else number


def _resolved(desc: DResolved, data: Memory, resolver: Resolver) -> Value:
    kind = desc.kind
    if kind == "cgroup_path":
        id, index = struct.unpack_from("<QQ", data)
        return resolver.cgroup_path(id, resolver.string(index))
    return Text(_TEXTS[kind](desc, data, resolver), kind)


def _ksym(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    return resolver.ksym(_integer(data, 64, signed=False))


def _usym(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    address, pid, probe = struct.unpack_from("<QII", data)
    return resolver.usym(address, pid, probe)


def _inet(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    family = _integer(data, 64, signed=False)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, bytes(data[8:12]))
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, bytes(data[8:24]))
    return ""


def _macaddr(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    return ":".join(f"{byte:02X}" for byte in data[:6])


def _username(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    return resolver.username(_integer(data, 64, signed=False))


def _owner(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    return resolver.owner(desc.kind, _integer(data, 64, signed=False))


def _timestamp(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    ns, index = struct.unpack_from("<QQ", data)
    return resolver.timestamp(ns, resolver.string(index), str(desc.params[0]) if desc.params else "boot")


def _stack(desc: DResolved, data: Memory, resolver: Resolver) -> str:
    pid, probe, count = struct.unpack_from("<IIQ", data)
    mode, limit = str(desc.params[0]), int(desc.params[1])
    if mode == "build_id":
        return _build_ids(data[16:], min(count, limit))
    addresses = struct.unpack_from(f"<{min(count, limit)}Q", data, 16)
    return resolver.stack(desc.kind, mode, addresses, pid, probe)


def _build_ids(data: Memory, count: int) -> str:
    """Frames of struct bpf_stack_build_id {s32 status, u8 id[20], u64} (include/uapi/linux/bpf.h): the number is an offset in the
    file of that build id, or an address where the kernel could not tell the file."""
    frames = [struct.unpack_from("<i20sQ", data, i * 32) for i in range(count)]
    return "\n" + "".join(f"{id.hex()} {at:#x}\n" if status == 1 else f"{at:x}\n" for status, id, at in frames)


_TEXTS = {
    "ksym": _ksym, "usym": _usym, "inet": _inet, "macaddr": _macaddr, "username": _username,
    "pod": _owner, "namespace": _owner, "container": _owner, "node": _owner,
    "timestamp": _timestamp, "strftime": _timestamp, "kstack": _stack, "ustack": _stack,
}  # fmt: skip
