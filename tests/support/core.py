"""CO-RE relocations of an object, read from its .BTF and .BTF.ext by the kernel's documentation alone
(Documentation/bpf/btf.rst).

relocations(elf) -> [Relocation("task_struct", ("real_parent",), "byte_off"), Relocation("task_struct", ("tgid",), "byte_off")]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kubebpf.compiler.artifact.artifact import section

KINDS = ("byte_off", "byte_sz", "field_exists", "signed", "lshift", "rshift", "local_id", "target_id", "type_exists", "type_size",
         "enumval_exists", "enumval_value", "type_matches")  # fmt: skip
# How many bytes follow a type of a kind: fixed ones, and for each of its vlen members.
_EXTRA = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12)}
_ARRAY, _STRUCT, _UNION, _ENUM = 3, 4, 5, 6


@dataclass(frozen=True)
class Relocation:
    """One: the type it starts from, the names on its way (numbers for elements of arrays), what is asked."""

    type: str
    path: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class _Type:
    name: str
    kind: int
    members: tuple[tuple[str, int], ...]
    element: int


class _Btf:
    def __init__(self, data: bytes) -> None:
        head, types, type_bytes, strings, _ = struct.unpack_from("<IIIII", data, 4)
        self.strings = data[head + strings :]
        self.types = [_Type("void", 0, (), 0), *self._types(data[head + types : head + types + type_bytes])]

    def text(self, offset: int) -> str:
        return self.strings[offset : self.strings.index(b"\0", offset)].decode()

    def _types(self, data: bytes) -> Iterator[_Type]:
        at = 0
        while at < len(data):
            name, info, _ = struct.unpack_from("<III", data, at)
            kind, count = info >> 24 & 31, info & 0xFFFF
            fixed, each = _EXTRA.get(kind, (0, 0))
            start = at + 12
            members: tuple[tuple[str, int], ...] = ()
            if kind in (_STRUCT, _UNION):
                found = (struct.unpack_from("<III", data, start + i * each) for i in range(count))
                members = tuple((self.text(n), t) for n, t, _ in found)
            element = struct.unpack_from("<I", data, start)[0] if kind == _ARRAY else 0
            yield _Type(self.text(name), kind, members, element)
            at = start + fixed + count * each


def relocations(elf: bytes) -> list[Relocation]:
    """All of them, in the order of the sections and instructions."""
    btf, data = _Btf(section(elf, ".BTF")), section(elf, ".BTF.ext")
    (head,) = struct.unpack_from("<I", data, 4)
    start, length = struct.unpack_from("<II", data, 24)
    return list(_read(btf, data[head + start : head + start + length])) if length else []


def _read(btf: _Btf, data: bytes) -> Iterator[Relocation]:
    (size,) = struct.unpack_from("<I", data)
    at = 4
    while at < len(data):
        _, count = struct.unpack_from("<II", data, at)
        at += 8
        for _ in range(count):
            _, number, access, kind = struct.unpack_from("<IIII", data, at)
            at += size
            yield _relocation(btf, number, btf.text(access), KINDS[kind])


def _relocation(btf: _Btf, number: int, access: str, kind: str) -> Relocation:
    current = btf.types[number]
    name, path = current.name, []
    for step in access.split(":")[1:]:
        if current.kind == _ARRAY:
            path.append(step)
            current = btf.types[current.element]
        else:
            member, target = current.members[int(step)]
            path.append(member)
            current = btf.types[target]
    return Relocation(name, tuple(path), kind)
