"""Structs and constants of a kernel's types, as libbpf reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.layouts import Place, composites, constants, enumeration
from kubebpf.agent.libbpf.types import KernelTypes
from support.btfwriter import BtfWriter


@pytest.fixture
def types(tmp_path: Path) -> Iterator[KernelTypes]:
    btf = BtfWriter()
    number = btf.integer("int", 4, signed=True)
    char = btf.integer("char", 1, signed=True)
    inner = btf.struct("", 8, [("first", number, 0), ("second", number, 32)])
    choice = btf.struct("", 8, [("word", number, 0), ("", inner, 0)], union=True)
    alias = btf.typedef("count_t", btf.struct("", 4, [("counter", number, 0)]))
    btf.struct(
        "outer",
        64,
        [
            ("name", btf.array(char, 16, number), 0),
            ("", choice, 128),
            ("pair", btf.const(inner), 192),
            ("held", alias, 256),
            ("table", btf.array(btf.array(number, 3, number), 2, number), 288),
        ],
    )
    btf.struct("bits", 8, [("low", number, 0, 3), ("high", number, 3, 5), ("plain", number, 32, 0)])
    btf.struct("twice", 4, [("old", number, 0)])
    btf.struct("twice", 8, [("old", number, 0), ("new", number, 32)])
    btf.enum("color", {"RED": 0, "BLUE": -7}, signed=True)
    btf.enum("", {"LIMIT": 16, "ALL": 0xFFFFFFFF})
    btf.enum64("", {"WIDE": 1 << 40, "LESS": -2}, signed=True)
    path = tmp_path / "types.btf"
    path.write_bytes(btf.build())
    with KernelTypes(path) as opened:
        yield opened


def test_members(types: KernelTypes) -> None:
    (outer,) = composites(types, "struct", "outer")
    assert outer.size == 64
    found = {
        name: outer.part(name) for name in ("name", "word", "second", "pair", "pair.second", "held", "held.counter", "table")
    }
    assert found == {
        "name": Place(0, 128),
        "word": Place(128, 32),
        "second": Place(160, 32),
        "pair": Place(192, 64),
        "pair.second": Place(224, 32),
        "held": Place(256, 32),
        "held.counter": Place(256, 32),
        "table": Place(288, 192),
    }
    assert [outer.part(name) for name in ("table[1]", "name[15]")] == [Place(288 + 96, 96), Place(120, 8)]
    for absent in ("first.x", "other", "name[16]", "word[0]", "pair.third", "name.first"):
        assert outer.part(absent) is None, absent


def test_bitfields(types: KernelTypes) -> None:
    (bits,) = composites(types, "struct", "bits")
    assert [bits.part(name) for name in ("low", "high", "plain")] == [Place(0, 3), Place(3, 5), Place(32, 32)]


def test_names(types: KernelTypes) -> None:
    assert [found.size for found in composites(types, "typedef", "count_t")] == [4]
    assert [found.size for found in composites(types, "struct", "twice")] == [4, 8]
    assert not list(composites(types, "union", "twice")) and not list(composites(types, "struct", "nothing"))


def test_constants(types: KernelTypes) -> None:
    assert enumeration(types, "color") == {"RED": 0, "BLUE": -7} and enumeration(types, "shade") == {}
    wanted = ("RED", "LIMIT", "ALL", "WIDE", "LESS", "NONE")
    for enum in ("", "color", "shade"):  # whatever the enum is called now
        assert constants(types, enum, wanted) == {"RED": 0, "LIMIT": 16, "ALL": 0xFFFFFFFF, "WIDE": 1 << 40, "LESS": -2}
