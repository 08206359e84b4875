r"""printf() and its kin: a format string of the language, applied to values.

    printf("%-5s|%d\n", ["ab", 7])  -> "ab   |7\n"

The conversions are those of bpftrace 0.27 (its src/format_string.cpp; everything below was compared with it):

- the flags `-`, `+`, space, `#`, `0`, in this order and each once; a width; a precision and `*` are read and change nothing;
- d i: 32 bits, signed; u x X o: 32 bits, unsigned; with hh 8 bits, with h 16, with l, ll, j, z or t 64;
- c: one byte; p: 0x and hexadecimal; s: any value as print() shows it;
- r: a buffer; rx: all of it as `\xNN`; rh: as `NN NN`; gr: allocation flags by name;
- the width fills from the left, with 0 also in front of a sign (`%05d` of -5 is `000-5`), as C++ streams do;
- `%%` is `%`; a `%` that starts none of these stays as it is. A value that its conversion cannot print is shown as `!{...}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from kubebpf.compiler.artifact.gfp import gfp_text
from kubebpf.compiler.artifact.text import value_text
from kubebpf.compiler.artifact.values import Bytes, Cgroup, Enum, Pointer, Value

SPEC = re.compile(
    r"%(?:%|(?P<minus>-?)(?P<plus>\+?) ?(?P<sharp>#?)(?P<zero>0?)(?P<width>\d+|\*)?(?:\.(?:\d+|\*))?"
    r"(?P<length>[hlLjzt]*)(?P<kind>rx|rh|gr|[diouxXcspr]))"
)


def printf(format: str, values: Sequence[Value]) -> str:
    """The text of a format string.

    Args:
        format: with as many conversions as there are values; the compiler saw to it.
        values: in their order. For a missing one `!{missing}` is printed, further ones are left out.
    """
    rest = iter(values)
    return SPEC.sub(lambda match: "%" if match[0] == "%%" else _one(match, rest), format)


def conversions(format: str) -> list[str]:
    """The conversions of a format string that take a value, as written: `["%-5s", "%d"]`."""
    return [match[0] for match in SPEC.finditer(format) if match[0] != "%%"]


def _one(match: re.Match[str], values: Iterator[Value]) -> str:
    value = next(values, None)
    if value is None:
        return "!{missing}"
    try:
        text = _CONVERSIONS[match["kind"]](match, value)
    except TypeError as error:
        return f"!{{{error}}}"
    return _padded(match, text)


def _padded(match: re.Match[str], text: str) -> str:
    width = int(match["width"]) if (match["width"] or "*") != "*" else 0
    fill = "0" if match["zero"] else " "
    return text.ljust(width, fill) if match["minus"] else text.rjust(width, fill)


def number_of(value: Value) -> int:
    """The number that an integer conversion prints.

    Raises:
        TypeError: the value is none.
    """
    match value:
        case int():
            return int(value)
        case Enum(_, number) | Pointer(number) | Cgroup(number):
            return number
        case _:
            raise TypeError(f"{type(value).__name__.lower()} is no integer")


def bits_of(length: str) -> int:
    """How many bits of a number a length modifier takes."""
    return {"hh": 8, "h": 16, "l": 64, "ll": 64, "j": 64, "z": 64, "t": 64}.get(length, 32)


def _unsigned(match: re.Match[str], value: Value) -> int:
    return number_of(value) & ((1 << bits_of(match["length"])) - 1)


def _signed(match: re.Match[str], value: Value) -> str:
    number, bits = _unsigned(match, value), bits_of(match["length"])
    if number >> (bits - 1):
        number -= 1 << bits
    return f"{number:+}" if match["plus"] else str(number)


def _based(code: str, prefix: str) -> Callable[[re.Match[str], Value], str]:
    def convert(match: re.Match[str], value: Value) -> str:
        number = _unsigned(match, value)
        return (prefix if match["sharp"] and number else "") + format(number, code)

    return convert


def _character(match: re.Match[str], value: Value) -> str:
    return bytes([number_of(value) & 0xFF]).decode("utf-8", "surrogateescape")


def _pointer(match: re.Match[str], value: Value) -> str:
    number = number_of(value) & (2**64 - 1)
    return hex(number) if number else "0"  # as C's `%#lx`


def _any(match: re.Match[str], value: Value) -> str:
    if match["plus"] and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:+}"
    return value_text(value)


def _data(value: Value) -> bytes:
    if isinstance(value, Bytes):
        return value.data
    raise TypeError(f"{type(value).__name__.lower()} is no buffer")


_CONVERSIONS: dict[str, Callable[[re.Match[str], Value], str]] = {
    "d": _signed,
    "i": _signed,
    "u": _based("d", ""),
    "x": _based("x", "0x"),
    "X": _based("X", "0X"),
    "o": _based("o", "0"),
    "c": _character,
    "p": _pointer,
    "s": _any,
    "r": lambda match, value: value_text(Bytes(_data(value))),
    "rx": lambda match, value: "".join(f"\\x{byte:02x}" for byte in _data(value)),
    "rh": lambda match, value: _data(value).hex(" "),
    "gr": lambda match, value: gfp_text(number_of(value) & (2**64 - 1)),
}
