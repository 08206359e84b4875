r"""printf() of plain values, prepared once for each event: a record becomes text without a value of ours in between.

    formatter_of(event of printf("%d %s\n", pid, comm), "..")([b"\x01…"])  -> ["4711 bash\n"]

Python's own formatting does the work, for what it does in the same way as `printf.py`, which is the measure: integers, addresses
and strings. For all else there is None, and the record is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from kubebpf.compiler.artifact.manifest import Argument, Event
from kubebpf.compiler.artifact.printf import SPEC, bits_of
from kubebpf.compiler.artifact.types import Desc, DInt, DPointer, DString

Formatter = Callable[[Iterable[bytes]], list[str]]
_MOST_TEXTS = 4096
_SIZES = {8: "b", 16: "h", 32: "i", 64: "q"}
_CODES = {(bits, signed): code if signed else code.upper() for bits, code in _SIZES.items() for signed in (False, True)}


@dataclass(frozen=True, slots=True)
class _Part:
    """A conversion in Python's words, and its value in those of struct, of `size` bytes."""

    conversion: str
    code: str
    size: int


class _Texts(dict[bytes, str]):
    """The text of a string's buffer; most strings come again and again."""

    def __init__(self, trailer: str) -> None:
        super().__init__()
        self._trailer = trailer

    def __missing__(self, data: bytes) -> str:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        text, end, _ = data.partition(b"\0")
        self[data] = found = text.decode("utf-8", "surrogateescape") + ("" if end or not data else self._trailer)
        return found


def formatter_of(event: Event, trailer: str) -> Formatter | None:
    """How records of an event become texts, or None when something in it is not as simple.

    Args:
        event: with a format and the arguments for it.
        trailer: put behind strings that were cut.
    """
    matches = [match for match in SPEC.finditer(event.format) if match[0] != "%%"]
    if len(matches) != len(event.arguments):
        return None
    found = [_part(match, argument.type) for match, argument in zip(matches, event.arguments, strict=True)]
    parts = [part for part in found if part]
    layout = _layout(event.arguments, parts) if len(parts) == len(found) else None
    if layout is None:
        return None
    rest = iter(parts)
    pieces = [*_pieces(event.format, lambda: next(rest).conversion)]
    strings = tuple(i for i, argument in enumerate(event.arguments) if isinstance(argument.type, DString))
    return _formatter("".join(pieces), struct.Struct(layout).unpack_from, len(parts), strings, _Texts(trailer))


def _formatter(
    template: str, unpack: Callable[[bytes], tuple[int | bytes, ...]], count: int, strings: tuple[int, ...], texts: _Texts
) -> Formatter:
    """Loops that Python runs in C: a flood of records has to pass here."""
    fill = template.__mod__

    def formatted(records: Iterable[bytes]) -> list[str]:
        values: list[object] = [*chain.from_iterable(map(unpack, records))]
        for i in strings:
            values[i::count] = map(texts.__getitem__, values[i::count])  # type: ignore[arg-type]
        rows = zip(*[iter(values)] * count, strict=True)
        return [*map(fill, rows)]

    if strings:
        return formatted
    return lambda records: [*map(fill, map(unpack, records))]


def _pieces(format: str, conversion: Callable[[], str]) -> Iterator[str]:
    at = 0
    for match in SPEC.finditer(format):
        yield format[at : match.start()].replace("%", "%%")
        yield "%%" if match[0] == "%%" else conversion()
        at = match.end()
    yield format[at:].replace("%", "%%")


def _layout(arguments: tuple[Argument, ...], parts: list[_Part]) -> str | None:
    """For struct: the values with the bytes between them; None when they do not follow each other."""
    layout, end = "<", 0
    for argument, part in zip(arguments, parts, strict=True):
        if argument.offset < end:
            return None
        layout += f"{argument.offset - end}x{part.code}"
        end = argument.offset + part.size
    return layout


def _part(match: re.Match[str], desc: Desc) -> _Part | None:
    if (match["width"] or "").startswith("*"):
        return None
    # Zeros go in front of a sign or a prefix here, and behind what stands left.
    if match["zero"] and (match["minus"] or match["sharp"] or match["kind"] not in ("u", "x", "X")):
        return None
    width = f"{match['minus']}{match['zero']}{match['width'] or ''}"
    match desc, match["kind"]:
        case DString(size), "s":
            return None if match["plus"] else _Part(f"%{width}s", f"{size}s", size)
        case DInt(bits, signed, ""), "s":
            return _Part(f"%{match['plus']}{width}d", _CODES[bits, signed], bits // 8)
        case DInt(bits, signed, ""), "d" | "i":
            return _integer(f"%{match['plus']}{width}d", bits, signed, bits_of(match["length"]), True)
        case DInt(bits, signed, ""), "u" | "x" | "X" as kind if not match["sharp"]:
            return _integer(f"%{width}{'d' if kind == 'u' else kind}", bits, signed, bits_of(match["length"]), False)
        case DPointer(), "s":
            return _integer(f"%#{width}x", 64, False, 64, False)
    return None


def _integer(conversion: str, bits: int, signed: bool, wanted: int, wanted_signed: bool) -> _Part | None:
    """An integer of memory that is printed as one of `wanted` bits: its low bytes are what is printed."""
    if bits >= wanted:
        return _Part(conversion, _CODES[wanted, wanted_signed], wanted // 8)
    # A negative one would have to grow to more bits first.
    return None if signed and not wanted_signed else _Part(conversion, _CODES[bits, signed], bits // 8)
