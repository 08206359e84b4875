"""C declarations, as the kernel's formats print them."""

from __future__ import annotations

import pytest

from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.ctype import Resolver, parse
from kubebpf.compiler.types.model import BOOL, VOID, Array, EnumType, Int, Pointer, Space, Struct
from support.btfwriter import BtfWriter

NOTHING = Resolver(Btf.empty())


@pytest.mark.parametrize(
    ("text", "type_", "name", "dims", "location"),
    [
        ("int fd", "int", "fd", (), ""),
        ("const char * filename", "const char *", "filename", (), ""),
        ("char comm[16]", "char", "comm", ("16",), ""),
        ("unsigned long args[2][3]", "unsigned long", "args", ("2", "3"), ""),
        ("__data_loc char[] name", "char", "name", (), "__data_loc"),
        ("__rel_loc u8[] buf", "u8", "buf", (), "__rel_loc"),
        ("__data_loc cpumask_t mask", "cpumask_t", "mask", (), "__data_loc"),
        ("const void *const p", "const void *const", "p", (), ""),
        ("u8 x[TASK_COMM_LEN]", "u8", "x", ("TASK_COMM_LEN",), ""),
    ],
)
def test_declarations_are_taken_apart(text: str, type_: str, name: str, dims: tuple[str, ...], location: str) -> None:
    found = parse(text)
    assert (found.type, found.name, found.dims, found.location, found.text) == (type_, name, dims, location, text)


@pytest.mark.parametrize("text", ["", "int", "[3]", "*"])
def test_what_declares_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="declaration"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("int x", Int(32, True)), ("unsigned x", Int(32, False)), ("unsigned int x", Int(32, False)),
        ("signed int x", Int(32, True)), ("long x", Int(64, True)), ("unsigned long long x", Int(64, False)),
        ("long long x", Int(64, True)), ("long unsigned int x", Int(64, False)), ("short x", Int(16, True)),
        ("unsigned short x", Int(16, False)), ("short unsigned int x", Int(16, False)), ("unsigned char x", Int(8, False)),
        ("signed char x", Int(8, True)), ("bool x", BOOL), ("const int x", Int(32, True)), ("void * x", Pointer(VOID)),
        ("void __seg_gs * x", Pointer(VOID)), ("struct gone * x", Pointer(VOID)), ("gone_t * * x", Pointer(Pointer(VOID))),
        ("const char *const * x", Pointer(Pointer(Int(8, True)))), ("char __attribute__((noderef)) * x", Pointer(Int(8, True))),
        ("gone_t x", None), ("struct gone x", None), ("unsigned gone x", None),
    ],
)  # fmt: skip
def test_c_types_are_known_without_btf(text: str, type_: object) -> None:
    assert NOTHING.type(parse(text)) == type_


def test_names_are_looked_up_in_btf() -> None:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    w.typedef("clockid_t", number)
    w.typedef("header_t", w.pointer(w.struct("header", 8)))
    w.enum("mode", {"ON": 1})
    w.struct("both", 4, union=True)
    resolver = Resolver(Btf.parse(w.build()), Space.USER)
    assert resolver.type(parse("const clockid_t which")) == Int(32, True)
    assert resolver.type(parse("enum mode m")) == EnumType("mode", Int(32, False), ())
    union = resolver.type(parse("union both * u"))
    assert isinstance(union, Pointer) and isinstance(union.target, Struct) and union.target.kind == "union"
    header = resolver.type(parse("header_t * h"))
    assert isinstance(header, Pointer) and isinstance(header.target, Pointer)
    assert (header.space, header.target.space) == (Space.USER, Space.USER)


@pytest.mark.parametrize(
    ("text", "size", "type_"),
    [
        ("char comm[16]", 16, Array(Int(8, True), 16)),
        ("int grid[2][3]", 24, Array(Array(Int(32, True), 3), 2)),
        ("int some[MANY]", 40, Array(Int(32, True), 10)),
        ("int x", 8, Int(64, False)),
        ("gone_t x", 2, Int(16, False)),
        ("gone_t x[4]", 5, Array(Int(8, False), 5)),
        ("u32 tail[]", 0, Array(Int(8, False), 0)),
    ],
)
def test_the_size_has_the_last_word(text: str, size: int, type_: object) -> None:
    assert NOTHING.sized(parse(text), size, False) == type_
