"""BTF built type by type, for tests that need one that no kernel has.

    btf = BtfWriter()
    number = btf.integer("int", 4, signed=True)
    btf.struct("point", 8, [("x", number, 0), ("y", number, 32)])
    Btf.parse(btf.build())

Each method gives the number of the new type. Numbers may be used before their types exist, which is how cycles are made.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

Member = tuple[str, int, int] | tuple[str, int, int, int]  # name, type, bit offset, and a bitfield's width


class BtfWriter:
    """A BTF section in the making; on top of `base` when it is a module's."""

    def __init__(self, base: BtfWriter | None = None) -> None:
        self.types: list[bytes] = []
        self.text = b"" if base else b"\0"
        self.first = base.next if base else 1
        self.first_string: int = base.first_string + len(base.text) if base else 0
        self._offsets = {} if base else {"": 0}

    @property
    def next(self) -> int:
        """The number that the next type gets."""
        return self.first + len(self.types)

    def string(self, name: str) -> int:
        if not name:
            return 0
        if name not in self._offsets:
            self._offsets[name] = self.first_string + len(self.text)
            self.text += name.encode() + b"\0"
        return self._offsets[name]

    def add(self, kind: int, name: str, third: int, words: Sequence[int] = (), vlen: int = 0, flag: bool = False) -> int:
        """A type of any kind, from its words; negative words are written as two's complement."""
        info = flag << 31 | kind << 24 | vlen
        body = (self.string(name), info, third, *(w & 0xFFFFFFFF for w in words))
        self.types.append(struct.pack(f"<{len(body)}I", *body))
        return self.next - 1

    def integer(self, name: str, size: int, signed: bool = False, boolean: bool = False, bits: int = 0, shift: int = 0) -> int:
        encoding = signed | boolean << 2
        return self.add(1, name, size, [encoding << 24 | shift << 16 | (bits or size * 8)])

    def pointer(self, target: int) -> int:
        return self.add(2, "", target)

    def array(self, element: int, length: int, index: int = 1) -> int:
        return self.add(3, "", 0, [element, index, length])

    def struct(self, name: str, size: int, members: Sequence[Member] = (), union: bool = False) -> int:
        """kind_flag is set when a member has a bitfield's width."""
        flag = any(len(m) == 4 for m in members)
        words: list[int] = []
        for label, target, bits, *width in members:
            words += [self.string(label), target, bits | (width[0] if width else 0) << 24]
        return self.add(5 if union else 4, name, size, words, len(members), flag)

    def enum(self, name: str, values: dict[str, int], size: int = 4, signed: bool = False) -> int:
        words = [w for label, value in values.items() for w in (self.string(label), value)]
        return self.add(6, name, size, words, len(values), signed)

    def enum64(self, name: str, values: dict[str, int], signed: bool = False) -> int:
        words = [w for label, v in values.items() for w in (self.string(label), v, v >> 32)]
        return self.add(19, name, 8, words, len(values), signed)

    def forward(self, name: str, union: bool = False) -> int:
        return self.add(7, name, 0, flag=union)

    def typedef(self, name: str, target: int) -> int:
        return self.add(8, name, target)

    def volatile(self, target: int) -> int:
        return self.add(9, "", target)

    def const(self, target: int) -> int:
        return self.add(10, "", target)

    def restrict(self, target: int) -> int:
        return self.add(11, "", target)

    def prototype(self, returns: int, params: Sequence[tuple[str, int]] = ()) -> int:
        words = [w for label, target in params for w in (self.string(label), target)]
        return self.add(13, "", returns, words, len(params))

    def function(self, name: str, returns: int, params: Sequence[tuple[str, int]] = ()) -> int:
        return self.add(12, name, self.prototype(returns, params), vlen=1)

    def tag(self, name: str, target: int) -> int:
        return self.add(18, name, target)

    def build(self) -> bytes:
        """The section: header, types, strings."""
        types = b"".join(self.types)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.text))
        return header + types + self.text
