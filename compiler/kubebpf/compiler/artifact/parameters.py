"""Texts that a person gave for `$1` and getopt(), read as the program wants them.

integer("10ms", "--threshold")  -> 10000000
boolean("False", "--cc")        -> False

The compiler reads those that stand where a program needs a literal, the node all others.
"""

from __future__ import annotations

import re
from typing import Literal

_DURATIONS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_INTEGER = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F_]+)|(?P<digits>[0-9][0-9_]*)(?:[eE](?P<power>\d{1,2}))?(?P<unit>ns|us|ms|[smhd])?)"
)


class ParameterTextError(ValueError):
    """A text that is not what the program takes it for."""


def shape(text: str) -> Literal["number", "large", "text", ""]:
    """What a compiled program depends on when nothing was folded: a number that is an int64, a larger one, or no number; "" for
    nothing, which counts as 0 and is warned of.

    >>> shape("5"), shape("0xffffffffffffffff"), shape("nginx"), shape("")
    ('number', 'large', 'text', '')
    """
    if not text:
        return ""
    try:
        return "number" if integer(text, "") < 1 << 63 else "large"
    except ParameterTextError:
        return "text"


def integer(text: str, what: str) -> int:
    """A number as the language writes it: decimal, octal (0…), hexadecimal, 1e6, with a duration's suffix in nanoseconds.

    Args:
        text: as given.
        what: `$1` or `--name`, for the message.

    Raises:
        ParameterTextError: no number, or one that 64 bits cannot hold.
    """
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise ParameterTextError(f'{what} is used as a number, but "{text}" is none')
    number = _magnitude(found, text, what) * (-1 if found["sign"] == "-" else 1)
    if not -(2**63) <= number < 2**64:
        raise ParameterTextError(f"{what}: {text} does not fit into 64 bits")
    return number


def _magnitude(found: re.Match[str], text: str, what: str) -> int:
    if found["hex"]:
        return int(found["hex"].replace("_", "") or "0", 16)
    digits: str = found["digits"].replace("_", "")
    octal = len(digits) > 1 and digits[0] == "0" and not found["power"] and not found["unit"]
    try:
        number = int(digits, 8 if octal else 10)
    except ValueError as error:
        raise ParameterTextError(f'{what} is used as a number, but "{text}" is none: 8 and 9 are no octal digits') from error
    scale: int = 10 ** int(found["power"] or 0)
    return number * scale * _DURATIONS[found["unit"] or "ns"]


def boolean(text: str, what: str) -> bool:
    """true, 1, or nothing at all (`--verbose`), and false, 0; in any case.

    Raises:
        ParameterTextError: anything else.
    """
    match text.lower():
        case "" | "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ParameterTextError(f'{what} takes true, 1, false or 0, not "{text}"')


def string(text: str, capacity: int, what: str) -> bytes:
    """The text's bytes, filled up with NULs, at least one.

    Args:
        text: as given.
        capacity: in bytes, the NUL counted.
        what: for the message.

    Raises:
        ParameterTextError: it is too long; a cut parameter would compare unequal without a word.
    """
    data = text.encode("utf-8", "surrogateescape")
    if len(data) >= capacity:
        raise ParameterTextError(f"{what} has {len(data)} bytes, and the program has room for {capacity - 1}")
    return data.ljust(capacity, b"\0")
