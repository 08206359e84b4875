"""Damaged BTF is told by a BtfError: no other exception, no endless loop, whatever the bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.kernel import spelling
from kubebpf.compiler.kernel.btf import Btf, BtfError
from kubebpf.compiler.types.model import Struct
from support.btfwriter import BtfWriter


def sample() -> bytes:
    """One type of nearly every kind."""
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    inner = w.struct("", 4, [("a", number, 0, 3)], union=True)
    w.struct("outer", 12, [("", inner, 0), ("list", w.array(number, 2), 32)])
    w.enum("e", {"ONE": 1})
    w.enum64("e64", {"TWO": 2})
    w.typedef("t", w.const(w.pointer(w.tag("user", w.forward("later")))))
    w.function("f", number, [("x", number)])
    return w.build()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too few"),
        (b"\x9f\xeb" + bytes(10), "too few"),
        (bytes(24), "not BTF"),
        (b"\xeb\x9f" + bytes(30), "big-endian"),
        (b"\x9f\xeb\x02" + bytes(30), "version 2"),
        (b"\x7fELF" + bytes(60), "ELF"),
        (b"\x7fELF\x02\x01" + bytes(60), "ELF"),
    ],
)
def test_what_is_no_btf_is_named(data: bytes, message: str) -> None:
    with pytest.raises(BtfError, match=message):
        Btf.parse(data)


def test_a_kind_of_the_future_is_named() -> None:
    w = BtfWriter()
    w.integer("int", 4)
    w.add(25, "news", 0)
    with pytest.raises(BtfError, match="type 2 is of kind 25"):
        Btf.parse(w.build())


def test_a_member_list_that_leaves_the_section_is_named() -> None:
    w = BtfWriter()
    w.add(4, "cut", 8, vlen=3)
    with pytest.raises(BtfError, match="type 1 does not fit"):
        Btf.parse(w.build())


def test_the_header_must_stay_inside() -> None:
    data = bytearray(sample())
    struct.pack_into("<I", data, 12, 1 << 20)
    with pytest.raises(BtfError, match="outside"):
        Btf.parse(bytes(data))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BtfError, match=r"cannot read .*nothing"):
        Btf.read(tmp_path / "nothing")


def test_references_beyond_the_end_are_named() -> None:
    w = BtfWriter()
    w.typedef("far", 99)
    w.struct("s", 4, [("a", 99, 0)])
    w.add(4, "", 4)
    btf = Btf.parse(w.build())
    with pytest.raises(BtfError, match="type 99 does not exist"):
        btf.typedef("far")
    found = btf.struct("s")
    assert found
    with pytest.raises(BtfError, match="type 99"):
        _ = found.fields
    with pytest.raises(BtfError, match="string offset"):
        btf.raw.string(1 << 20)


def everything(data: bytes) -> None:
    """Ask for all that a compiler could ask for."""
    btf = Btf.parse(data)
    for number in range(btf.raw.end + 1):
        for ask in (btf.type, btf.raw.name, lambda n: spelling.declare(btf.raw, n, "x")):
            try:
                found = ask(number)
                if isinstance(found, Struct):
                    _ = found.fields, list(spelling.members(found)), btf.alias(found)
            except BtfError:
                continue
    for lookup in (btf.struct, btf.typedef, btf.function, btf.enum_constant):
        for name in ("outer", "t", "f", "ONE", "TWO"):
            try:
                lookup(name)
            except BtfError:
                continue


@given(st.integers(0, len(sample())))
def test_cut_short(length: int) -> None:
    try:
        everything(sample()[:length])
    except BtfError:
        return
    assert length == len(sample())


@given(st.lists(st.tuples(st.integers(0, len(sample()) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(sample())
    for at, value in changes:
        data[at] = value
    try:
        everything(bytes(data))
    except BtfError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header(body: bytes) -> None:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body) // 8 * 4, len(body) // 8 * 4, len(body) - len(body) // 8 * 4)
    try:
        everything(header + body)
    except BtfError:
        return
