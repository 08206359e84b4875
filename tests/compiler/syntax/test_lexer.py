"""Tokens and literals, by table."""

from __future__ import annotations

import pytest

from kubebpf.compiler.syntax.lexer import Lexer
from kubebpf.compiler.syntax.literals import quoted
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tokens import Kind, Token


def tokens(text: str) -> list[Token]:
    lexer, at, found = Lexer(Source("stdin", text)), 0, []
    while (token := lexer.token(at)).kind is not Kind.END:
        found.append(token)
        at = token.span.end
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("42", 42),
        ("0x1F", 31),
        ("0X1f", 31),
        ("0x5e5", 0x5E5),
        ("0123", 0o123),
        ("1_000", 1000),
        ("1_0_0_0_00_0_000_0", 10**10),
        ("1e6", 1_000_000),
        ("5E9", 5_000_000_000),
        ("1e1_0", 10**10),
        ("7u", 7),
        ("7ul", 7),
        ("1_000ull", 1000),
        ("1ns", 1),
        ("1us", 1_000),
        ("10ms", 10_000_000),
        ("1s", 10**9),
        ("2m", 120 * 10**9),
        ("1h", 3600 * 10**9),
        ("1d", 86400 * 10**9),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_integers(text: str, value: int) -> None:
    (token,) = tokens(text)
    assert (token.kind, token.number, token.complaints) == (Kind.INTEGER, value, ())
    assert token.duration == (text[-1] in "smhdn")


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("18446744073709551616", "IntegerOverflow", (0, 20)),
        ("9" * 10_000, "IntegerOverflow", (0, 10_000)),
        ("10000000000m", "IntegerOverflow", (0, 12)),
        ("1e20", "IntegerOverflow", (0, 4)),
        ("1e999999999", "IntegerOverflow", (0, 11)),
        ("12e4", "InvalidCoefficient", (0, 4)),
        ("0e4", "InvalidCoefficient", (0, 3)),
        ("1_", "TrailingUnderscore", (1, 2)),
        ("1_1_e100", "TrailingUnderscore", (3, 4)),
        ("0x_", "TrailingUnderscore", (2, 3)),
        ("5e", "InvalidInteger", (0, 2)),
        ("0x", "InvalidInteger", (0, 2)),
        ("089", "InvalidInteger", (0, 3)),
        ("1lul", "InvalidIntegerSuffix", (1, 4)),
        ("1S", "InvalidIntegerSuffix", (1, 2)),
    ],
)
def test_wrong_integers(text: str, code: str, place: tuple[int, int]) -> None:
    (token,) = tokens(text)
    (complaint,) = token.complaints
    assert (complaint.code, (complaint.span.start, complaint.span.end)) == (code, place)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'""', ""),
        (r'"a b"', "a b"),
        (r'"\n\t\r\"\\"', '\n\t\r"\\'),
        (r'"\0"', "\0"),
        (r'"\101\60"', "A0"),
        (r'"\x41\X6a"', "Aj"),
        (r'"\x4"', "\x04"),
        (r'"\xc3\xa9"', "é"),
        (r'"\xff"', "\udcff"),
        ('"// no comment /* here"', "// no comment /* here"),
        ('"é→"', "é→"),
    ],
)
def test_strings(text: str, value: str) -> None:
    (token,) = tokens(text)
    assert (token.kind, token.string, token.complaints) == (Kind.STRING, value, ())
    assert tokens(quoted(value))[0].string == value


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (r'"\q"', "InvalidEscape", (1, 3)),
        (r'"a\x"', "InvalidEscape", (2, 4)),
        (r'"\777"', "OctalEscapeOutOfRange", (1, 5)),
        ('"abc', "UnterminatedString", (0, 4)),
        ('"abc\n', "UnterminatedString", (0, 4)),
        ('"', "UnterminatedString", (0, 1)),
        ('"\\', "UnterminatedString", (0, 1)),
        ('"a\\"', "UnterminatedString", (0, 4)),
        ("/* abc", "UnterminatedComment", (0, 2)),
        ("$", "NamelessVariable", (0, 1)),
        ("$0", "ParameterOutOfRange", (0, 2)),
        ("$9223372036854775808", "ParameterOutOfRange", (0, 20)),
        ("é", "UnexpectedCharacter", (0, 1)),
        ("#", "UnexpectedCharacter", (0, 1)),
    ],
)
def test_wrong_tokens(text: str, code: str, place: tuple[int, int]) -> None:
    complaint = tokens(text)[0].complaints[0]
    assert (complaint.code, (complaint.span.start, complaint.span.end)) == (code, place)


def test_the_kinds_of_tokens() -> None:
    text = 'x $x @x @ $1 $# 1 "s" <<= .. -> // c\n /* d */ /'
    assert [(t.kind.name, t.text) for t in tokens(text)] == [
        ("NAME", "x"),
        ("VARIABLE", "$x"),
        ("MAP", "@x"),
        ("MAP", "@"),
        ("PARAMETER", "$1"),
        ("COUNT", "$#"),
        ("INTEGER", "1"),
        ("STRING", '"s"'),
        ("OP", "<<="),
        ("OP", ".."),
        ("OP", "->"),
        ("OP", "/"),
    ]
