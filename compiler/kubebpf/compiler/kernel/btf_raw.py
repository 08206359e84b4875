"""The bytes of a BTF section, indexed: where each type starts, and where a name leads. btf.py makes types from it.

    raw = RawBtf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())
    number = raw.find("task_struct", (Kind.STRUCT,))
    raw.kind(number), raw.name(number), raw.size(number)      -> (Kind.STRUCT, "task_struct", 9664)

The format is that of the kernel's Documentation/bpf/btf.rst. A type is a run of 32-bit words: the name's offset in the string
section, an info word (bits 0-15 vlen, 24-28 kind, 31 kind_flag), a size or another type's number, and then words that depend on
the kind. Types are not of one size, so one pass over their heads is needed; it costs 20 ms for the 126,000 types of a kernel, in
plain Python over a memoryview: less than importing numpy does.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from kubebpf.compiler.artifact.artifact import section
from kubebpf.compiler.artifact.manifest import ManifestError


class BtfError(Exception):
    """The bytes are no BTF that this reader understands: the message says what is wrong and where."""


class Kind(IntEnum):
    """The kinds of types (include/uapi/linux/btf.h)."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


MAGIC = 0xEB9F
HEAD = 3  # words: name, info, size or type
_BEYOND = 1 << 40  # the step of a kind that is not known: it leads past the end of every section, where the scan notices
_EXTRA = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_PER_ITEM = {
    Kind.STRUCT: 3, Kind.UNION: 3, Kind.ENUM: 2, Kind.FUNC_PROTO: 2, Kind.DATASEC: 3, Kind.ENUM64: 3,
}  # fmt: skip
_FIXED = [HEAD + _EXTRA.get(Kind(k), 0) if 0 < k <= Kind.ENUM64 else _BEYOND for k in range(32)]
_ITEM = [_PER_ITEM.get(Kind(k), 0) if k <= Kind.ENUM64 else 0 for k in range(32)]


class RawBtf:
    """One BTF section, and the base that it continues when it belongs to a module (split BTF).

    Type numbers and string offsets of a split section go on where those of its base end; every method takes numbers of both.

    Args:
        words: the type section.
        strings: the string section.
        base: the BTF of vmlinux under a module's, or None.
    """

    def __init__(self, words: memoryview, strings: bytes, base: RawBtf | None = None) -> None:
        self.words = words
        self.strings = strings
        self.base = base
        self.first = base.end if base else 1
        self.first_string = base.string_end if base else 0
        self.starts, self.by_kind = _scan(words)
        self._names: dict[Kind, dict[int, int]] = {}
        self._found: dict[tuple[str, tuple[Kind, ...]], int | None] = {}

    @classmethod
    def parse(cls, data: bytes, base: RawBtf | None = None) -> RawBtf:
        """Index raw BTF, or the `.BTF` section of an ELF object.

        Raises:
            BtfError: the data is no BTF, is cut short or contradicts itself.
        """
        if data[:4] == b"\x7fELF":
            data = _elf_section(data)
        words, strings = _sections(data)
        if base is None and strings[:1] != b"\0" and strings:
            raise BtfError("the string section of the BTF does not start with the empty string")
        return cls(words, strings, base)

    @property
    def end(self) -> int:
        """The first type number that is not used."""
        return self.first + len(self.starts)

    @property
    def string_end(self) -> int:
        """The first string offset behind this section."""
        return self.first_string + len(self.strings)

    def _place(self, number: int) -> tuple[memoryview, int]:
        """The words and the index in them where type `number` starts."""
        if self.base and 0 < number < self.first:
            return self.base._place(number)
        if not self.first <= number < self.end:
            raise BtfError(f"type {number} does not exist: the BTF has types 1 to {self.end - 1}")
        return self.words, self.starts[number - self.first]

    def kind(self, number: int) -> Kind:
        """The kind of a type; 0 is VOID."""
        if number == 0:
            return Kind.VOID
        words, at = self._place(number)
        return Kind(words[at + 1] >> 24 & 31)

    def flag(self, number: int) -> bool:
        """The kind_flag: bitfield sizes in members (structs), union (forwards), signed values (enums)."""
        words, at = self._place(number)
        return bool(words[at + 1] >> 31)

    def size(self, number: int) -> int:
        """The third word: the size in bytes, or the number of the type that this one refers to."""
        words, at = self._place(number)
        return words[at + 2]

    target = size

    def name(self, number: int) -> str:
        """The name of a type, "" for anonymous ones and void."""
        if number == 0:
            return ""
        words, at = self._place(number)
        return self.string(words[at])

    def extra(self, number: int) -> tuple[int, ...]:
        """The words behind the head of a type that has a fixed number of them (int, array, var)."""
        words, at = self._place(number)
        return tuple(words[at + HEAD : at + _FIXED[words[at + 1] >> 24 & 31]])

    def items(self, number: int) -> Iterator[tuple[int, ...]]:
        """The members, constants or parameters of a type, each as its words: name offset first."""
        words, at = self._place(number)
        info = words[at + 1]
        width = _ITEM[info >> 24 & 31]
        start = at + HEAD
        for i in range(start, start + width * (info & 0xFFFF), width):
            yield tuple(words[i : i + width])

    def string(self, offset: int) -> str:
        """The string at an offset.

        Raises:
            BtfError: the offset lies outside of the section.
        """
        if self.base and offset < self.first_string:
            return self.base.string(offset)
        start = offset - self.first_string
        end = self.strings.find(b"\0", start) if 0 <= start < len(self.strings) else -1
        if end < 0:
            raise BtfError(f"string offset {offset} lies outside of the BTF's string section")
        return self.strings[start:end].decode(errors="backslashreplace")

    def find(self, name: str, kinds: tuple[Kind, ...]) -> int | None:
        """The number of the first type of one of `kinds` with this name, own types before those of the base.

        A search costs up to 1 ms for a whole kernel, so the answers are kept.
        """
        asked = (name, kinds)
        if asked not in self._found:
            own = self._find(name, kinds)
            self._found[asked] = self.base.find(name, kinds) if own is None and self.base else own
        return self._found[asked]

    def _find(self, name: str, kinds: tuple[Kind, ...]) -> int | None:
        tables = [self._by_name(kind) for kind in kinds]
        for offset in self.offsets(name):
            for table in tables:
                if (at := table.get(offset)) is not None:
                    return self.first + bisect_left(self.starts, at)
        return None

    def offsets(self, name: str) -> Iterator[int]:
        """Every string offset that reads `name`: whole strings, then the tails of others, which writers of BTF may share."""
        if not name or "\0" in name:
            return
        if self.base:
            yield from self.base.offsets(name)
        text = name.encode(errors="surrogatepass") + b"\0"
        if self.strings.startswith(text):
            yield self.first_string
        for at in _occurrences(self.strings, b"\0" + text):
            yield self.first_string + at + 1
        for at in _occurrences(self.strings, text):
            if at and self.strings[at - 1]:
                yield self.first_string + at

    def numbers(self, kind: Kind) -> Iterator[int]:
        """The numbers of all types of a kind, the base's not counted."""
        # Both lists rise, so walking them together is cheaper than a search for each.
        wanted = iter(self.by_kind[kind])
        at = next(wanted, -1)
        for number, start in enumerate(self.starts, self.first):
            if start == at:
                yield number
                at = next(wanted, -1)

    def names(self, kind: Kind) -> Iterator[str]:
        """The names of all types of a kind, in the order of the section; the base's not counted, anonymous ones left out."""
        words = self.words
        return (self.string(words[at]) for at in self.by_kind[kind] if words[at])

    def starting(self, prefix: str, kind: Kind) -> Iterator[tuple[str, int]]:
        """The (name, number) of the types of a kind whose names start so, in the order of the strings; the base's not counted."""
        table = self._by_name(kind)
        for offset in self._offsets_starting(prefix.encode()):
            if (at := table.get(offset)) is not None:
                yield self.string(offset), self.first + bisect_left(self.starts, at)

    def _offsets_starting(self, prefix: bytes) -> Iterator[int]:
        """The offsets of the strings that start so, the base's first: a module's type may have its name there."""
        if self.base:
            yield from self.base._offsets_starting(prefix)
        if self.strings.startswith(prefix):
            yield self.first_string
        for place in _occurrences(self.strings, b"\0" + prefix):
            yield self.first_string + place + 1

    def _by_name(self, kind: Kind) -> dict[int, int]:
        """Name offset -> place of the first type of a kind with that name. Built once a kind: 2 ms for 15,000 pointers."""
        if kind not in self._names:
            backwards = self.by_kind[kind][::-1]
            self._names[kind] = dict(zip(map(self.words.__getitem__, backwards), backwards, strict=True))
        return self._names[kind]

    @cached_property
    def constants(self) -> dict[int, tuple[int, int]]:
        """Name offset of an enum constant -> (number of its enum, position in it); the base's not counted."""
        found: dict[int, tuple[int, int]] = {}
        for kind in (Kind.ENUM, Kind.ENUM64):
            for number in self.numbers(kind):
                for position, item in enumerate(self.items(number)):
                    found.setdefault(item[0], (number, position))
        return found


def _occurrences(text: bytes, wanted: bytes) -> Iterator[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


def read(path: Path, base: RawBtf | None = None) -> RawBtf:
    """Index the BTF in a file.

    Raises:
        BtfError: it cannot be read, or is no BTF.
    """
    try:
        return RawBtf.parse(path.read_bytes(), base)
    except OSError as error:
        raise BtfError(f"cannot read {path}: {error.strerror}") from error
    except BtfError as error:
        raise BtfError(f"{path}: {error}") from error


def readable(path: Path) -> Path:
    """A file of BTF that is there, and begins as one; `read` reads all of it.

    Raises:
        BtfError: it cannot be read, or is no BTF.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise BtfError(f"cannot read {path}: {error.strerror}") from error
    if head[:2] != MAGIC.to_bytes(2, "little") and head != b"\x7fELF":
        raise BtfError(f"{path}: not BTF: the magic number is missing")
    return path


def _sections(data: bytes) -> tuple[memoryview, bytes]:
    """The type words and the string bytes of raw BTF."""
    if len(data) < 24:
        raise BtfError(f"{len(data)} bytes are too few for a BTF header")
    magic, version, _, header, type_at, type_size, string_at, string_size = struct.unpack_from("<HBBIIIII", data)
    if magic != MAGIC:
        raise BtfError("big-endian BTF is not supported" if magic == 0x9FEB else "not BTF: the magic number is missing")
    if version != 1:
        raise BtfError(f"BTF version {version} is not supported")
    types, strings = header + type_at, header + string_at
    if header < 24 or types + type_size > len(data) or strings + string_size > len(data) or type_size % 4:
        raise BtfError("the BTF header points outside of its data: it is cut short or damaged")
    text = data[strings : strings + string_size]
    if text and text[-1]:
        raise BtfError("the string section of the BTF does not end with a NUL")
    return memoryview(data[types : types + type_size]).cast("I"), text


def _scan(words: memoryview) -> tuple[list[int], list[list[int]]]:
    """Where each type starts, and the same places sorted into kinds."""
    starts: list[int] = []
    by_kind: list[list[int]] = [[] for _ in range(32)]
    fixed, item, add, at, end = _FIXED, _ITEM, starts.append, 0, len(words)
    try:
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 31
            add(at)
            by_kind[kind].append(at)
            at += fixed[kind] + item[kind] * (info & 0xFFFF)
    except IndexError:
        at = _BEYOND
    if at != end:
        raise BtfError(_why_beyond(words, starts))
    return starts, by_kind


def _why_beyond(words: memoryview, starts: list[int]) -> str:
    number, last = len(starts), starts[-1] if starts else 0
    kind = words[last + 1] >> 24 & 31 if last + 1 < len(words) else Kind.VOID
    if _FIXED[kind] == _BEYOND and last + 1 < len(words):
        return f"type {number} is of kind {kind}, which this version does not know"
    return f"type {number} does not fit into the type section: the BTF is cut short or damaged"


def _elf_section(data: bytes) -> bytes:
    try:
        return section(data, ".BTF")
    except (ManifestError, ValueError) as error:
        raise BtfError("the ELF file has no .BTF section, or is damaged") from error
