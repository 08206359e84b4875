"""Type information of a kernel that is not: this machine's, with names changed and members moved.

    other = Doctored.of_this_kernel()
    other.rename_member("task_struct", "comm", "command")
    other.move("task_struct", "pid", 16)             # it and all members behind it lie 16 bytes further, and the struct grows
    other.rename("enum", "pid_type", "kind_of_pid"); other.rename_constant("PIDTYPE_TGID", "PIDTYPE_GROUP")
    path.write_bytes(other.build())

Layout of the format: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_KINDS = {"struct": 4, "union": 5, "enum": 6, "typedef": 8, "function": 12, "enum64": 19}
# How many bytes follow a type of a kind: fixed ones, and for each of its vlen members.
_EXTRA = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12)}
_ARRAY, _PROTOTYPE = 3, 13
_HEADER = "<HBBIIIII"
_FLAG = 1 << 31  # members with the width of a bitfield in the upper byte of their offset


class Doctored:
    """See the module."""

    def __init__(self, raw: bytes) -> None:
        *self._head, self._types_at, self._types_size, strings_at, strings_size = struct.unpack_from(_HEADER, raw)
        start = self._head[-1]
        self._types = bytearray(raw[start + self._types_at : start + self._types_at + self._types_size])
        self._strings = bytearray(raw[start + strings_at : start + strings_at + strings_size])
        self._places: dict[tuple[int, str], list[int]] = {}
        for at, kind, name, _ in self._each():
            if name and kind in _KINDS.values():
                self._places.setdefault((kind, self._text(name)), []).append(at)

    @classmethod
    def of_this_kernel(cls) -> Self:
        """That of the running kernel."""
        return cls(Path("/sys/kernel/btf/vmlinux").read_bytes())

    def rename(self, sort: str, name: str, new: str) -> None:
        """Another name for a type or function."""
        for at in self._places[_KINDS[sort], name]:
            struct.pack_into("<I", self._types, at, self._string(new))

    def rename_member(self, owner: str, member: str, new: str) -> None:
        """Another name for a member of a struct or union."""
        for at in self._members(owner, member):
            struct.pack_into("<I", self._types, at, self._string(new))

    def rename_everywhere(self, member: str, new: str) -> None:
        """Another name for a member of whatever has it: of a struct without a name, too."""
        old, fresh = self._number(member), self._string(new)
        for at, kind, _, count in self._each():
            if kind in (_KINDS["struct"], _KINDS["union"]):
                for place in range(at + 12, at + 12 + 12 * count, 12):
                    if struct.unpack_from("<I", self._types, place)[0] == old:
                        struct.pack_into("<I", self._types, place, fresh)

    def rename_constant(self, name: str, new: str) -> None:
        """Another name for a constant of an enum."""
        old = self._number(name)
        for at, kind, _, count in self._each():
            if kind in (_KINDS["enum"], _KINDS["enum64"]):
                each = _EXTRA[kind][1]
                for place in range(at + 12, at + 12 + count * each, each):
                    if struct.unpack_from("<I", self._types, place)[0] == old:
                        struct.pack_into("<I", self._types, place, self._string(new))

    def rename_parameter(self, name: str, new: str) -> None:
        """Another name for a parameter of every function that has one of that name."""
        old, fresh = self._number(name), self._string(new)
        for at, kind, _, count in self._each():
            if kind == _PROTOTYPE:
                for place in range(at + 12, at + 12 + 8 * count, 8):
                    if struct.unpack_from("<I", self._types, place)[0] == old:
                        struct.pack_into("<I", self._types, place, fresh)

    def renumber(self, name: str, value: int) -> None:
        """Another value for a constant of an enum."""
        old = self._number(name)
        for at, kind, _, count in self._each():
            if kind == _KINDS["enum"]:
                for place in range(at + 12, at + 12 + 8 * count, 8):
                    if struct.unpack_from("<I", self._types, place)[0] == old:
                        struct.pack_into("<I", self._types, place + 4, value)

    def resize_array(self, owner: str, member: str, length: int) -> None:
        """Another number of elements for a member that is an array."""
        (at,) = self._members(owner, member)
        (old,) = struct.unpack_from("<I", self._types, at + 4)
        places = [place for place, *_ in self._each()]
        kind, element, index, _ = struct.unpack_from("<I4xIII", self._types, places[old - 1] + 4)
        assert kind >> 24 & 31 == _ARRAY
        self._types += struct.pack("<IIIIII", 0, _ARRAY << 24, 0, element, index, length)
        struct.pack_into("<I", self._types, at + 4, len(places) + 1)

    def move(self, owner: str, member: str, by: int, *, only_size: bool = False) -> None:
        """A member of a struct, and all behind it, lie some bytes further; the struct grows."""
        ((first,),) = ([self._offset(at)] for at in self._members(owner, member))
        for at in self._members(owner):
            if self._offset(at) >= first and not only_size:
                (value,) = struct.unpack_from("<I", self._types, at + 8)
                struct.pack_into("<I", self._types, at + 8, value + by * 8)
        (at,) = self._places[_KINDS["struct"], owner]
        (size,) = struct.unpack_from("<I", self._types, at + 8)
        struct.pack_into("<I", self._types, at + 8, size + by)

    def build(self) -> bytes:
        """The section."""
        head = struct.pack(_HEADER, *self._head, self._types_at, len(self._types), len(self._types), len(self._strings))
        return head + bytes(self._types) + bytes(self._strings)

    def _each(self) -> Iterator[tuple[int, int, int, int]]:
        """Place, kind, name's offset and vlen of every type."""
        at = 0
        while at < len(self._types):
            name, info = struct.unpack_from("<II", self._types, at)
            kind, count = info >> 24 & 31, info & 0xFFFF
            yield at, kind, name, count
            fixed, each = _EXTRA.get(kind, (0, 0))
            at += 12 + fixed + count * each

    def _members(self, owner: str, member: str = "") -> list[int]:
        """Where the members of a struct stand; of all, or of one."""
        places = [at for kind in (_KINDS["struct"], _KINDS["union"]) for at in self._places.get((kind, owner), [])]
        found = [at + 12 + 12 * i for at in places for i in range(struct.unpack_from("<I", self._types, at + 4)[0] & 0xFFFF)]
        chosen = [at for at in found if not member or self._text(struct.unpack_from("<I", self._types, at)[0]) == member]
        assert chosen, f"{owner} has no {member}"
        return chosen

    def _offset(self, at: int) -> int:
        (value,) = struct.unpack_from("<I", self._types, at + 8)
        return int(value) & 0xFFFFFF

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(0, offset)].decode()

    def _number(self, name: str) -> int:
        return self._strings.index(b"\0" + name.encode() + b"\0") + 1

    def _string(self, name: str) -> int:
        at = len(self._strings)
        self._strings += name.encode() + b"\0"
        return at
