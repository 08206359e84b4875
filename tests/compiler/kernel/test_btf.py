"""BTF that the tests wrote, read back: each kind of type, names, split BTF, cycles."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.kernel.btf import CHAR, Btf, BtfError
from kubebpf.compiler.kernel.btf_raw import Kind
from kubebpf.compiler.types.model import BOOL, VOID, Array, EnumType, FunctionType, Int, Pointer, Space, Struct, sizeof
from support.btfwriter import BtfWriter


def opened(writer: BtfWriter) -> Btf:
    return Btf.parse(writer.build())


def test_integers_keep_their_sign_and_bool_and_char_are_known() -> None:
    w = BtfWriter()
    w.integer("int", 4, signed=True)
    w.integer("unsigned long", 8)
    w.integer("_Bool", 1, boolean=True)
    w.integer("char", 1)
    w.integer("unsigned char", 1)
    w.integer("__int128", 16, signed=True)
    btf = opened(w)
    assert btf.typedef("int") == Int(32, True)
    assert btf.typedef("unsigned long") == Int(64, False)
    assert btf.typedef("_Bool") == BOOL
    assert btf.typedef("__int128") == Array(Int(64, False), 2)
    char, byte = btf.typedef("char"), btf.typedef("unsigned char")
    assert isinstance(char, Int) and isinstance(byte, Int)
    assert char == byte == Int(8, False)
    assert (char.role, byte.role) == (CHAR, "")


def test_typedefs_and_qualifiers_are_taken_off() -> None:
    w = BtfWriter()
    number = w.integer("unsigned int", 4)
    w.typedef("u32", w.const(w.volatile(w.typedef("__u32", w.restrict(number)))))
    w.typedef("names", w.const(w.pointer(w.const(w.integer("char", 1, signed=True)))))
    btf = opened(w)
    assert btf.typedef("u32") == Int(32, False)
    assert btf.typedef("names") == Pointer(Int(8, True))
    assert btf.typedef("u64") is None


def test_pointers_point_into_the_kernel_unless_tagged_user() -> None:
    w = BtfWriter()
    char = w.integer("char", 1)
    w.typedef("plain", w.pointer(w.tag("rcu", char)))
    w.typedef("user", w.pointer(w.const(w.tag("user", char))))
    w.typedef("tag_inside", w.pointer(w.tag("rcu", w.const(w.tag("user", char)))))
    w.typedef("anything", w.pointer(0))
    w.typedef("callback", w.pointer(w.prototype(0, [("", char)])))
    btf = opened(w)
    spaces = {name: btf.typedef(name) for name in ("plain", "user", "tag_inside", "anything", "callback")}
    assert {n: p.space for n, p in spaces.items() if isinstance(p, Pointer)} == {
        "plain": Space.KERNEL, "user": Space.USER, "tag_inside": Space.USER, "anything": Space.KERNEL, "callback": Space.KERNEL,
    }  # fmt: skip
    assert spaces["anything"] == Pointer(VOID)
    assert spaces["callback"] == Pointer(FunctionType())


def test_tags_are_told_from_the_outside_in() -> None:
    w = BtfWriter()
    char = w.integer("char", 1)
    outer = w.tag("percpu", w.const(w.tag("rcu", char)))
    assert opened(w).tags(outer) == (("percpu", "rcu"), char)


def test_members_have_offsets_positions_and_bitfields() -> None:
    w = BtfWriter()
    number = w.integer("unsigned int", 4)
    w.struct("flags", 8, [("all", number, 0, 0), ("low", number, 32, 3), ("high", number, 35, 29)])
    struct = opened(w).struct("flags")
    assert struct and struct.size == 8
    assert [(f.name, f.offset, f.bit_offset, f.bit_size, f.index) for f in struct.fields] == [
        ("all", 0, 0, 0, 0), ("low", 4, 32, 3, 1), ("high", 4, 35, 29, 2),
    ]  # fmt: skip


def test_old_bitfields_have_their_width_in_the_integer() -> None:
    w = BtfWriter()
    narrow = w.typedef("narrow", w.integer("unsigned int", 4, bits=5, shift=2))
    w.struct("old", 4, [("a", narrow, 8)])
    struct = opened(w).struct("old")
    assert struct
    (field,) = struct.fields
    assert (field.bit_offset, field.bit_size, field.offset) == (10, 5, 1)


def test_anonymous_members_and_what_names_them() -> None:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    inner = w.struct("", 4, [("a", number, 0), ("b", number, 0)], union=True)
    counter = w.typedef("atomic_t", w.struct("", 4, [("counter", number, 0)]))
    w.struct("outer", 8, [("", inner, 0), ("count", counter, 32)])
    btf = opened(w)
    outer = btf.struct("outer")
    assert outer
    anonymous, count = (f.type for f in outer.fields)
    assert isinstance(anonymous, Struct) and isinstance(count, Struct)
    assert (anonymous.kind, anonymous.name, [f.name for f in anonymous.fields]) == ("union", "", ["a", "b"])
    assert (btf.alias(anonymous), btf.alias(count)) == ("", "atomic_t")
    assert anonymous != count


def test_arrays_of_arrays_and_flexible_ones() -> None:
    w = BtfWriter()
    char = w.integer("char", 1, signed=True)
    w.struct("arrays", 12, [("grid", w.array(w.array(char, 3), 4), 0), ("tail", w.array(char, 0), 96)])
    struct = opened(w).struct("arrays")
    assert struct
    grid, tail = (f.type for f in struct.fields)
    assert grid == Array(Array(Int(8, True), 3), 4)
    assert (sizeof(grid), tail) == (12, Array(Int(8, True), 0))


def test_enums_of_both_kinds() -> None:
    w = BtfWriter()
    w.enum("state", {"RUN": 0, "STOP": 4_000_000_000})
    w.enum("error", {"BAD": -5}, signed=True)
    w.enum("byte", {"B_ONE": 1}, size=1)
    w.enum64("wide", {"MASK": 1 << 63, "SMALL": 2})
    w.enum64("wide_signed", {"LEAST": -(1 << 63)}, signed=True)
    btf = opened(w)
    state = btf.enum("state")
    assert state == EnumType("state", Int(32, False), ())
    assert state and state.values == (("RUN", 0), ("STOP", 4_000_000_000))
    expected = {"STOP": 4_000_000_000, "BAD": -5, "B_ONE": 1, "MASK": 1 << 63, "SMALL": 2, "LEAST": -(1 << 63)}
    found = {name: btf.enum_constant(name) for name in expected}
    assert {name: pair[1] for name, pair in found.items() if pair} == expected
    byte = btf.enum("byte")
    assert byte and sizeof(byte) == 1
    assert btf.enum_constant("NOTHING") is None
    assert btf.enum_constant("state") is None


def test_forward_declarations_lead_to_the_definition() -> None:
    w = BtfWriter()
    w.typedef("known", w.pointer(w.forward("shape")))
    w.typedef("unknown", w.pointer(w.forward("secret", union=True)))
    w.struct("shape", 16)
    btf = opened(w)
    known, unknown = btf.typedef("known"), btf.typedef("unknown")
    assert isinstance(known, Pointer) and isinstance(known.target, Struct) and known.target.size == 16
    assert isinstance(unknown, Pointer) and isinstance(unknown.target, Struct)
    assert (unknown.target.kind, unknown.target.size, unknown.target.fields) == ("union", 0, ())
    assert btf.union("secret") == unknown.target
    assert btf.struct("secret") is None


def test_functions_have_named_parameters() -> None:
    w = BtfWriter()
    size = w.typedef("size_t", w.integer("unsigned long", 8))
    w.function("vfs_open", size, [("path", w.pointer(0)), ("n", size)])
    w.function("printk", 0, [("", size), ("", 0)])
    btf = opened(w)
    found = btf.function("vfs_open")
    assert found and found.params == (("path", Pointer(VOID)), ("n", Int(64, False)))
    assert (found.returns, found.variadic) == (Int(64, False), False)
    variadic = btf.function("printk")
    assert variadic and (variadic.params, variadic.variadic, variadic.returns) == ((("arg0", Int(64, False)),), True, VOID)
    assert list(btf.functions()) == ["vfs_open", "printk"]


def test_one_name_may_be_of_several_kinds() -> None:
    w = BtfWriter()
    number = w.integer("int", 4, signed=True)
    w.typedef("thing", w.struct("thing", 4, [("a", number, 0)]))
    w.struct("thing", 4, union=True)
    w.function("thing", 0)
    w.struct("thing", 400)
    btf = opened(w)
    struct, union = btf.struct("thing"), btf.union("thing")
    assert struct and union and btf.function("thing")
    assert (struct.size, union.kind, btf.typedef("thing")) == (4, "union", struct)


def test_a_name_may_be_the_tail_of_another_string() -> None:
    w = BtfWriter()
    w.string("long_point")
    w._offsets["point"] = w.string("long_point") + len("long_")
    w.struct("point", 8)
    struct = opened(w).struct("point")
    assert struct and struct.size == 8
    assert opened(w).struct("long_point") is None


def test_struct_equality_goes_by_name_and_place() -> None:
    w = BtfWriter()
    struct = w.struct("node", 8, [("next", w.next + 1, 0)])
    w.pointer(struct)
    btf = opened(w)
    node = btf.struct("node")
    assert node
    (field,) = node.fields
    assert field.type == Pointer(node)
    assert isinstance(field.type, Pointer) and isinstance(field.type.target, Struct)
    assert field.type.target.fields == node.fields


def module() -> tuple[Btf, Btf]:
    """vmlinux with a struct and a function, and a module that uses them."""
    base = BtfWriter()
    number = base.integer("int", 4, signed=True)
    shared = base.struct("shared", 4, [("value", number, 0)])
    base.enum("base_enum", {"BASE_ONE": 1})
    base.function("both", 0)
    top = BtfWriter(base)
    top.struct("own", 8, [("inner", shared, 0), ("value", number, 32)])
    top.enum("own_enum", {"OWN_TWO": 2})
    top.function("both", 0, [("x", number)])
    top.typedef("own_int", number)
    vmlinux = opened(base)
    return vmlinux, Btf.parse(top.build(), vmlinux)


def test_split_btf_goes_on_where_its_base_ends() -> None:
    vmlinux, own = module()
    struct = own.struct("own")
    assert struct
    assert [f.name for f in struct.fields] == ["inner", "value"]
    assert struct.fields[0].type == vmlinux.struct("shared")
    assert own.typedef("own_int") == Int(32, True)
    inner = struct.fields[0].type
    assert isinstance(inner, Struct) and [f.name for f in inner.fields] == ["value"]


def test_split_btf_is_searched_before_its_base() -> None:
    vmlinux, own = module()
    both = own.function("both")
    assert both and both.params == (("x", Int(32, True)),)
    assert list(own.functions()) == ["both"]
    assert own.struct("shared") == vmlinux.struct("shared")
    for btf, name, value in ((own, "BASE_ONE", 1), (own, "OWN_TWO", 2), (vmlinux, "BASE_ONE", 1)):
        found = btf.enum_constant(name)
        assert found and found[1] == value
    assert vmlinux.enum_constant("OWN_TWO") is None
    assert vmlinux.struct("own") is None


def test_names_by_their_start() -> None:
    base = BtfWriter()
    number = base.integer("int", 4, signed=True)
    for name in ("trace_a", "trace_b", "my_trace_c"):
        base.function(name, number)
    base.typedef("trace_t", number)
    top = BtfWriter(base)
    top.function("trace_own", number)
    top._offsets["trace_a"] = base.string("trace_a")  # as pahole writes a name that vmlinux has too
    top.function("trace_a", number)
    vmlinux = opened(base)
    own = Btf.parse(top.build(), vmlinux)
    for btf, expected in ((vmlinux, ["trace_a", "trace_b"]), (own, ["trace_a", "trace_own"])):
        found = list(btf.raw.starting("trace_", Kind.FUNC))
        assert [name for name, _ in found] == expected
        assert [btf.raw.name(number) for _, number in found] == expected
    assert all(number >= own.raw.first for _, number in own.raw.starting("trace_", Kind.FUNC))


def test_cycles_end_with_an_error() -> None:
    w = BtfWriter()
    loop = w.typedef("loop", w.next + 1)
    w.const(loop)
    w.pointer(w.next)  # a pointer to itself
    w.array(w.next, 2)
    selves = w.next - 2, w.next - 1
    w.tag("user", w.next)
    tag = w.next - 1
    w.typedef("bad", w.pointer(tag))
    btf = opened(w)
    for number in (loop, *selves, tag):
        with pytest.raises(BtfError, match=r"refers to itself|deeper"):
            btf.type(number)
    with pytest.raises(BtfError):
        btf.typedef("bad")
    with pytest.raises(BtfError):
        btf.plain(loop)


def test_a_struct_that_holds_itself_can_be_looked_at() -> None:
    w = BtfWriter()
    w.struct("russian", 8, [("doll", w.next, 0)])
    struct = opened(w).struct("russian")
    assert struct and struct.fields[0].type == struct


def test_what_is_no_value_is_refused_as_a_type() -> None:
    w = BtfWriter()
    number = w.integer("int", 4)
    variable = w.add(14, "jiffies", number, [0])
    with pytest.raises(BtfError, match="VAR"):
        opened(w).type(variable)


def test_numbers_and_names_of_a_kind() -> None:
    w = BtfWriter()
    number = w.integer("int", 4)
    structs = [w.struct(f"s{i}", 4, [("a", number, 0)]) for i in range(3)]
    w.struct("", 4)
    btf = opened(w)
    assert list(btf.raw.numbers(Kind.STRUCT)) == [*structs, structs[-1] + 1]
    assert list(btf.names(Kind.STRUCT)) == ["s0", "s1", "s2"]


def test_a_file_of_the_tests_own(tmp_path: Path) -> None:
    w = BtfWriter()
    w.struct("only", 12)
    path = tmp_path / "vmlinux.btf"
    path.write_bytes(w.build())
    struct = Btf.read(path).struct("only")
    assert struct and struct.size == 12


def test_an_empty_view_knows_nothing() -> None:
    btf = Btf.empty()
    assert (btf.struct("a"), btf.typedef("int"), btf.enum_constant("X"), btf.function("f")) == (None,) * 4
    assert list(btf.functions()) == []
