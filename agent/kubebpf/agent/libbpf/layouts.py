"""How this node's kernel lays out structs and numbers its constants, read from its type information through libbpf.

with KernelTypes() as types:
    found = next(composites(types, "struct", "task_struct"))
    found.size, found.part("comm")                  -> 9792, Place(at=20352, size=128)        in bits
    constants(types, "", ["TASK_COMM_LEN"])         -> {"TASK_COMM_LEN": 16}
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.library import lib
from kubebpf.agent.libbpf.types import KernelTypes

# BTF_KIND_* (Documentation/bpf/btf.rst)
_ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG, _ENUM64 = 3, 4, 5, 6, 8, 9, 10, 11, 18, 19
_TRANSPARENT = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
_KINDS = {"struct": _STRUCT, "union": _UNION, "typedef": _TYPEDEF}
_DEEPEST = 64
_found: dict[tuple[str, str], int] = {}  # file and name to value: a look through all enums takes a tenth of a second


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member lies, from the start of the whole, and how much it takes: in bits."""

    at: int
    size: int


@dataclass(frozen=True)
class Composite:
    """A struct or union of the kernel, as long as its KernelTypes are open."""

    btf: Any
    number: int

    @property
    def size(self) -> int:
        """In bytes."""
        return int(lib().btf__type_by_id(self.btf, self.number).size)

    def part(self, path: str) -> Place | None:
        """A member, `outer.inner` of a struct in it, or an element of an array, `array[3]`; None when there is none.

        Those of unnamed structs and unions in it count as its own, as in C.
        """
        at, number, width = 0, self.number, 0
        path, _, index = path.partition("[")
        for name in path.split("."):
            found = self._find(number, name, 0)
            if found is None:
                return None
            at, number, width = at + found[0], found[1], found[2]
        if index:
            return self._element(at, number, int(index.rstrip("]")))
        return Place(at, width or max(0, int(lib().btf__resolve_size(self.btf, number))) * 8)

    def _element(self, at: int, number: int, index: int) -> Place | None:
        array = lib().btf__type_by_id(self.btf, _plain(self.btf, number))
        if array.info >> 24 & 0x1F != _ARRAY:
            return None
        element, _, length = ffi.cast("__u32 *", array + 1)[0:3]  # struct btf_array {type, index_type, nelems}
        size = max(0, int(lib().btf__resolve_size(self.btf, element))) * 8
        return Place(at + index * size, size) if index < length else None

    def _find(self, number: int, name: str, depth: int) -> tuple[int, int, int] | None:
        """Place in bits, type and, of a bitfield, width of a member."""
        unnamed = list[tuple[int, int]]()
        for label, target, at, width in _members(self.btf, _plain(self.btf, number)):
            if label == name:
                return at, target, width
            if not label:
                unnamed.append((at, target))
        for at, target in unnamed if depth < _DEEPEST else ():
            inner = self._find(target, name, depth + 1)
            if inner is not None:
                return at + inner[0], inner[1], inner[2]
        return None


def composites(types: KernelTypes, sort: str, name: str) -> Iterator[Composite]:
    """The structs or unions of a name, also of a typedef: nearly always one, at once; a further one takes a look at all types.

    Args:
        sort: struct, union, typedef.

    Raises:
        LibbpfError: the kernel has no type information.
    """
    for btf in types.each():
        first = int(lib().btf__find_by_name_kind(btf, name.encode(), _KINDS[sort]))
        if first <= 0:
            continue
        yield from _as_composite(btf, first)
        for number in range(first + 1, int(lib().btf__type_cnt(btf))):
            if _kind(btf, number) == _KINDS[sort] and _text(btf, lib().btf__type_by_id(btf, number).name_off) == name:
                yield from _as_composite(btf, number)
        return


def _as_composite(btf: Any, number: int) -> Iterator[Composite]:
    plain = _plain(btf, number)
    if _kind(btf, plain) in (_STRUCT, _UNION):
        yield Composite(btf, plain)


def constants(types: KernelTypes, enum: str, names: Collection[str]) -> dict[str, int]:
    """The values of constants of enums. Those that the named enum does not have are looked for in all others.

    Raises:
        LibbpfError: the kernel has no type information.
    """
    kept = {name: _found[types.source, name] for name in names if (types.source, name) in _found}
    found = (enumeration(types, enum) if enum else {}) | kept
    left = set(names) - found.keys()
    for btf in types.each() if left else ():
        for number in range(1, int(lib().btf__type_cnt(btf))):
            if _kind(btf, number) in (_ENUM, _ENUM64):
                here = {name: value for name, value in _values(btf, number) if name in left}
                found |= here
                left -= here.keys()
        if not left:
            break
    found = {name: found[name] for name in names if name in found}
    _found.update({(types.source, name): value for name, value in found.items()})
    return found


def enumeration(types: KernelTypes, name: str) -> dict[str, int]:
    """All constants of an enum; none when there is no such enum.

    Raises:
        LibbpfError: the kernel has no type information.
    """
    for btf in types.each():
        for kind in (_ENUM, _ENUM64):
            number = int(lib().btf__find_by_name_kind(btf, name.encode(), kind))
            if number > 0:
                return dict(_values(btf, number))
    return {}


def _kind(btf: Any, number: int) -> int:
    return int(lib().btf__type_by_id(btf, number).info >> 24 & 0x1F)


def _plain(btf: Any, number: int) -> int:
    for _ in range(_DEEPEST):
        if _kind(btf, number) not in _TRANSPARENT:
            break
        number = int(lib().btf__type_by_id(btf, number).size)  # their target stands where others have their size
    return number


def _members(btf: Any, number: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, type, place in bits, and width of a bitfield."""
    found = lib().btf__type_by_id(btf, number)
    if found.info >> 24 & 0x1F not in (_STRUCT, _UNION):
        return
    widths = found.info >> 31  # kind_flag: the upper byte of a place is a bitfield's width
    words: Any = ffi.cast("__u32 *", found + 1)  # struct btf_member {name, type, offset}
    for i in range(found.info & 0xFFFF):
        name, target, place = words[3 * i], words[3 * i + 1], words[3 * i + 2]
        yield _text(btf, name), int(target), int(place & 0xFFFFFF if widths else place), int(place >> 24 if widths else 0)


def _values(btf: Any, number: int) -> Iterator[tuple[str, int]]:
    found = lib().btf__type_by_id(btf, number)
    signed, wide = found.info >> 31, found.info >> 24 & 0x1F == _ENUM64
    words: Any = ffi.cast("__u32 *", found + 1)  # struct btf_enum {name, value}, struct btf_enum64 {name, low, high}
    width, bits = (3, 64) if wide else (2, 32)
    for i in range(found.info & 0xFFFF):
        value = int(words[width * i + 1]) | (int(words[width * i + 2]) << 32 if wide else 0)
        yield _text(btf, words[width * i]), value - (1 << bits) if signed and value >> (bits - 1) else value


def _text(btf: Any, offset: int) -> str:
    return text(lib().btf__name_by_offset(btf, offset))
