"""Bytes of every descriptor. The expectations of bitfields come from gcc's layout on x86-64."""

import struct

import pytest

from kubebpf.compiler.artifact.decode import PlainResolver, decode, stack_lines, zero
from kubebpf.compiler.artifact.types import (
    DArray,
    DBool,
    DBuffer,
    DEnum,
    Desc,
    DField,
    DInt,
    DPointer,
    DRecord,
    DResolved,
    DString,
    DTuple,
)
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Text, Tuple, Value

U32 = DInt(32, False)
E = DEnum("E", 32, False, (("ONE", 1), ("TWO", 2)))

CASES: list[tuple[Desc, bytes, Value]] = [
    (DInt(8, True), b"\xff", -1),
    (DInt(16, False), b"\xff\xff", 65535),
    (DInt(64, False), b"\xff" * 8, 2**64 - 1),
    (DInt(64, True), b"\xff" * 8, -1),
    (DInt(64, False, "cgroup"), struct.pack("<Q", 4242), Cgroup(4242)),
    (DBool(), b"\x01", True),
    (DString(8), b"bash\0xyz", "bash"),
    (DString(4), b"bash", "bash.."),
    (DString(4), b"\xff\0\0\0", "\udcff"),
    (DBuffer(8), struct.pack("<I", 3) + b"ok\0garb\0", Bytes(b"ok\0")),
    (DBuffer(2), struct.pack("<I", 900) + b"ok", Bytes(b"ok")),
    (DPointer(), struct.pack("<Q", 255), Pointer(255)),
    (E, struct.pack("<I", 2), Enum("TWO", 2)),
    (E, struct.pack("<I", 77), Enum("", 77)),
    (DArray(DInt(16, False), 3, 2), struct.pack("<3H", 1, 2, 3), Array((1, 2, 3))),
    (DArray(DArray(DInt(8, True), 2, 1), 2, 4), b"\1\2xx\3\4xx", Array((Array((1, 2)), Array((3, 4))))),
    (DTuple(((0, U32), (4, DString(4)), (8, DTuple(((0, DInt(8, True)),), 8))), 16), b"\7\0\0\0ls\0\0\xfe" + b"\0" * 7,
     Tuple((7, "ls", Tuple((-2,))))),
    (DRecord((DField("m", 4, U32),), 8), b"xxxx\2\0\0\0", Record((("m", 2),))),
    # struct { unsigned a:3, b:7, c:22; } = {5, 100, 3000000}: b crosses a byte
    (DRecord((DField("a", 0, U32, 0, 3), DField("b", 0, U32, 3, 7), DField("c", 1, U32, 2, 22)), 4),
     struct.pack("<I", 5 | 100 << 3 | 3000000 << 10), Record((("a", 5), ("b", 100), ("c", 3000000)))),
    # struct { int s:3; bool f:1; enum E e:2; } = {-2, 1, TWO}
    (DRecord((DField("s", 0, DInt(32, True), 0, 3), DField("f", 0, DBool(), 3, 1), DField("e", 0, E, 4, 2)), 4),
     struct.pack("<I", 6 | 1 << 3 | 2 << 4), Record((("s", -2), ("f", True), ("e", Enum("TWO", 2))))),
    (DResolved("ksym", 8), struct.pack("<Q", 0xFFFF), Text("0xffff", "ksym")),
    (DResolved("usym", 16), struct.pack("<QII", 0, 1, 2), Text("0", "usym")),
    (DResolved("inet", 24), struct.pack("<Q", 2) + bytes([127, 0, 0, 1]) + bytes(12), Text("127.0.0.1", "inet")),
    (DResolved("inet", 24), struct.pack("<Q", 10) + bytes(15) + b"\1", Text("::1", "inet")),
    (DResolved("macaddr", 6), bytes([0x18, 0xC0, 0x4D, 8, 0xFF, 1]), Text("18:C0:4D:08:FF:01", "macaddr")),
    (DResolved("username", 8), struct.pack("<Q", 12), Text("12", "username")),
    (DResolved("cgroup_path", 16), struct.pack("<QQ", 7, 0), Cgroup(7, as_path=True)),
    (DResolved("kstack", 40, ("bpftrace", 3)), struct.pack("<IIQ3Q", 0, 0, 2, 16, 17, 0),
     Text("\n        0x10\n        0x11\n", "kstack")),
    (DResolved("ustack", 24, ("raw", 1)), struct.pack("<IIQQ", 1, 0, 9, 0xFFFFFFFFB4019501),
     Text("\nffffffffb4019501\n", "ustack")),
]  # fmt: skip


@pytest.mark.parametrize(("desc", "data", "value"), CASES, ids=[f"{type(d).__name__}-{i}" for i, (d, _, _) in enumerate(CASES)])
def test_bytes_become_values(desc: Desc, data: bytes, value: Value) -> None:
    assert decode(desc, data, PlainResolver()) == value
    assert decode(desc, memoryview(data + b"more"), PlainResolver()) == value


def test_timestamps_use_the_format_of_the_manifest() -> None:
    resolver = PlainResolver(("", "%Y %f"), boot_ns=500 * 86_400_000_000_000)
    data = struct.pack("<QQ", 1_500_000_000, 1)
    assert decode(DResolved("strftime", 16, ("boot",)), data, resolver) == Text("1971 500000", "strftime")


def test_too_few_bytes_are_an_error() -> None:
    with pytest.raises(struct.error):
        decode(DInt(64, False), b"\0", PlainResolver())


def test_the_zero_of_a_record_shows_its_shape() -> None:
    desc = DRecord((DField("a", 0, U32), DField("b", 8, DTuple(((0, U32), (4, DString(4))), 8))), 16)
    assert zero(desc, PlainResolver()) == Record((("a", 0), ("b", Tuple((0, "")))))


def test_stacks_in_perf_mode_have_addresses() -> None:
    expected = "\n\t7ffa1351ae89 syscall+25 (/usr/lib/libc.so.6)\n"
    assert stack_lines("perf", [0x7FFA1351AE89], ["syscall+25 (/usr/lib/libc.so.6)"]) == expected
