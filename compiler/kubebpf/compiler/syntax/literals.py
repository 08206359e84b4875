r"""The values of literals: `0x1f`, `1_000`, `10ms`, `"a\n"`.

>>> integer("10ms", Span(0, 4)).value
10000000
>>> string(r'"a\tb"', Span(0, 6)).value
'a\tb'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubebpf.compiler.complaints.base import Complaint
from kubebpf.compiler.complaints.syntax import (
    IntegerOverflow,
    InvalidCoefficient,
    InvalidEscape,
    InvalidInteger,
    InvalidIntegerSuffix,
    OctalEscapeOutOfRange,
    TrailingUnderscore,
    UnterminatedString,
)
from kubebpf.compiler.syntax.span import Span

UINT64_MAX = 2**64 - 1

DURATIONS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
}
"""Units of time and what they multiply by: durations are nanoseconds."""

_C_SUFFIXES = frozenset({"u", "l", "ll", "ul", "ull"})
_INTEGER = re.compile(r"(?P<digits>0[xX][0-9a-fA-F_]*|[0-9][0-9_]*)(?P<exponent>[eE][0-9_]*)?(?P<suffix>\w*)", re.A)
_MAX_EXPONENT = 20  # 1e20 is past uint64 already; a larger power would only cost time.

_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*("?)')
_ESCAPE = re.compile(r"\\(?:[0-7]{1,3}|[xX][0-9a-fA-F]{0,2}|.)")
_SIMPLE_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", '"': b'"', "\\": b"\\"}


@dataclass(frozen=True, slots=True)
class IntegerLiteral:
    """A number, whether it is a duration, and what is wrong with it."""

    value: int
    duration: bool = False
    complaint: Complaint | None = None


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string with its escapes resolved, and what is wrong with it."""

    value: str
    complaints: tuple[Complaint, ...] = ()


def integer_end(text: str, at: int) -> int:
    """The offset behind the integer literal that starts at `at`, its suffix included."""
    match = _INTEGER.match(text, at)
    assert match, "the caller has seen a digit"
    return match.end()


def integer(text: str, span: Span) -> IntegerLiteral:
    """The value of an integer literal."""
    match = _INTEGER.fullmatch(text)
    assert match, "the lexer cuts literals with the same pattern"
    digits, exponent, suffix = match["digits"], match["exponent"] or "", match["suffix"]
    for part, start in ((digits, 0), (exponent, len(digits))):
        if part.endswith("_"):
            end = span.start + start + len(part)
            return IntegerLiteral(0, complaint=TrailingUnderscore(span=Span(end - 1, end, span.file)))
    hexadecimal = digits[:2] in ("0x", "0X")
    if suffix and (hexadecimal or (suffix not in _C_SUFFIXES and suffix not in DURATIONS)):
        at = Span(span.end - len(suffix), span.end, span.file)
        return IntegerLiteral(0, complaint=InvalidIntegerSuffix(span=at, suffix=suffix))
    return _value(text, span, digits.replace("_", ""), exponent[1:].replace("_", ""), suffix, bool(exponent))


def _value(text: str, span: Span, digits: str, exponent: str, suffix: str, scientific: bool) -> IntegerLiteral:
    number = _in_base(digits)
    if number is None or (scientific and not exponent):
        return IntegerLiteral(0, complaint=InvalidInteger(span=span, text=text))
    if scientific and digits not in tuple("123456789"):
        return IntegerLiteral(0, complaint=InvalidCoefficient(span=span, text=text))
    if scientific:
        number *= 10 ** (_MAX_EXPONENT if len(exponent) > 2 else min(int(exponent), _MAX_EXPONENT))
    number *= DURATIONS.get(suffix, 1)
    if number > UINT64_MAX:
        return IntegerLiteral(0, complaint=IntegerOverflow(span=span, text=text))
    return IntegerLiteral(number, duration=suffix in DURATIONS)


def _in_base(digits: str) -> int | None:
    """C's rule: 0x is hexadecimal, a leading 0 octal."""
    if len(digits) > 40:  # Far past uint64 in every base; Python refuses to convert thousands of digits.
        return UINT64_MAX + 1
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    try:
        return int(digits, base)
    except ValueError:
        return None


def string_end(text: str, at: int) -> int:
    """The offset behind the string literal that starts at `at`: behind its quote, or the end of its line."""
    match = _STRING.match(text, at)
    assert match, "the caller has seen a quote"
    return match.end()


def string(text: str, span: Span) -> StringLiteral:
    """The value of a string literal, quotes included in `text`."""
    match = _STRING.fullmatch(text)
    if not (match and match[1]):
        return StringLiteral("", (UnterminatedString(span=span, help=('a string ends with " on the line where it begins',)),))
    value, complaints, done = bytearray(), [], 1
    for escape in _ESCAPE.finditer(text, 1, len(text) - 1):
        value += _encode(text[done : escape.start()])
        at = Span(span.start + escape.start(), span.start + escape.end(), span.file)
        match _escaped(escape[0], at):
            case bytes() as byte:
                value += byte
            case complaint:
                complaints.append(complaint)
        done = escape.end()
    value += _encode(text[done:-1])
    return StringLiteral(value.decode("utf-8", "surrogateescape"), tuple(complaints))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _escaped(escape: str, at: Span) -> bytes | Complaint:
    """What one escape stands for."""
    kind = escape[1]
    if kind in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[kind]
    if kind in "xX":
        return bytes((int(escape[2:], 16),)) if escape[2:] else InvalidEscape(span=at, escape=escape)
    if kind not in "01234567":
        return InvalidEscape(span=at, escape=escape)
    value = int(escape[1:], 8)
    return bytes((value,)) if value < 256 else OctalEscapeOutOfRange(span=at, escape=escape)


def quoted(value: str) -> str:
    r"""A string as a literal that reads back as the same value: `a"b` -> `"a\"b"`."""
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r", '"': r"\"", "\\": r"\\"}
    return '"' + "".join(named.get(c) or (c if c.isprintable() else _as_bytes(c)) for c in value) + '"'


def _as_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in _encode(character))
