"""C definitions, casts, records, arrays, enums and addresses: what the kernel reads is what C laid out."""

from __future__ import annotations

import ctypes
import time

import pytest

from kubebpf.compiler.artifact.cells import Last
from support.programs import compiled, kernel, result, run, running

pytestmark = pytest.mark.kernel

DEFINITIONS = """
#include <stdint.h>
#include <linux/no_such_header_in_user_space.h>
#define LENGTH 3
#define TWICE (LENGTH * 2)
#define GREETING "hello" " there"
enum level { LOW = 1, HIGH = 7 };
enum { UNNAMED = 40 };
typedef struct { int8_t first; uint64_t second; } pair_t;
union either { uint32_t number; uint8_t bytes[4]; };
struct event {
    uint8_t kind;
    int low : 3; unsigned high : 7;
    union either either;
    struct { int deep; };
    short grid[2][3];
    char name[8];
    enum level level;
    pair_t pair;
    struct event *next;
    int (*callback)(struct event *);
    struct { uint8_t a; uint32_t b; } __attribute__((packed)) packed;
    struct list_head list;
    u16 aligned __attribute__((aligned(8)));
    char rest[];
};
"""


class Packed(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("a", ctypes.c_uint8), ("b", ctypes.c_uint32))


class Pair(ctypes.Structure):
    _fields_ = (("first", ctypes.c_int8), ("second", ctypes.c_uint64))


class Event(ctypes.Structure):
    pass


Event._fields_ = [
    ("kind", ctypes.c_uint8), ("bits", ctypes.c_uint8 * 3), ("either", ctypes.c_uint32), ("deep", ctypes.c_int),
    ("grid", ctypes.c_short * 6), ("name", ctypes.c_char * 8), ("level", ctypes.c_uint), ("pair", Pair),
    ("next", ctypes.POINTER(Event)), ("callback", ctypes.c_void_p), ("packed", Packed), ("list", ctypes.c_void_p * 2),
    ("aligned", ctypes.c_uint64),
]  # fmt: skip


def lines(body: str, definitions: str = "") -> list[str]:
    """What the statements print, each value by %s."""
    return run(f"{definitions}\nbegin {{ {body} }}").lines


def test_a_struct_of_the_program_is_read_as_c_lays_it_out() -> None:
    second = Event(kind=2, deep=22, name=b"second")
    first = Event(
        kind=1, either=0x01020304, deep=-5, grid=(1, 2, 3, 4, 5, -6), name=b"first", level=7, pair=Pair(-1, 1 << 40),
        next=ctypes.pointer(second), callback=0x1234, packed=Packed(9, 70000), aligned=513 | ord("t") << 16,
    )  # fmt: skip
    # In C the bitfields share the int that `kind` lies in: low has bits 8 to 10, high 11 to 17.
    whole = 0b110 << 8 | 100 << 11
    first.bits = (ctypes.c_uint8 * 3)(*((whole >> shift) & 255 for shift in (8, 16, 24)))
    format_ = " ".join(["%s"] * 19)
    fields = (
        "$e.kind, $e.low, $e.high, $e.either.number, $e.either.bytes[0], $e.deep, $e.grid[1][2], $e.name, $e.level, "
        "$e.pair.first, $e.pair.second, $e.next.name, $e->next->deep, $e.packed.b, $e.aligned, $e.rest[0], "
        "$copy.deep, $copy.name, @kept.grid[1][2]"
    )
    body = (
        f"$e = (struct event *)uptr({ctypes.addressof(first)}); $copy = *$e; @kept = *$e; "
        f'printf("{format_}", {fields}); clear(@kept);'
    )
    (line,) = lines(body, DEFINITIONS)
    expected = "1 -2 100 16909060 4 -5 -6 first HIGH -1 1099511627776 second 22 70000 513 116 -5 first -6"
    assert line == expected


def test_constants_and_sizes() -> None:
    body = """
        printf("%d %d %s %d %s", LENGTH, TWICE, GREETING, UNNAMED, HIGH);
        printf("%d %d", sizeof(struct event), offsetof(struct event, packed.b));
        printf("%d %d", sizeof(pair_t), sizeof(struct list_head));
    """
    sizes = f"{ctypes.sizeof(Event)} {Event.packed.offset + 1}"
    assert lines(body, DEFINITIONS) == ["3 6 hello there 40 HIGH", sizes, "16 16"]


def test_the_same_text_gives_the_same_bytes() -> None:
    text = DEFINITIONS + "begin { print(((struct event *)0).list.next); }"
    assert compiled(text, kernel()).elf == compiled(text, kernel()).elf


def test_casts() -> None:
    body = """
        $n = (uint32)0x01020304; $i = 1; $far = 9;
        $bytes = (uint8[4])$n;
        printf("%s %s %s %s", $bytes, $bytes[$i], $bytes[$far], (uint32)$bytes);
        printf("%s %s", (int8[4])"abc", (bool)$n);
        $e = (enum pid_type)$i;
        printf("%s %d", $e, $e);
        printf("%s", (uint16[])(uint64)65537);
        printf("%s", ((struct task_struct *)(uint64)curtask).pid == curtask.pid);
    """
    assert lines(body) == ["[4,3,2,1] 3 0 16909060", "[97,98,99,0] true", "PIDTYPE_TGID 1", "[1,1,0,0]", "true"]


def test_records_and_tuples() -> None:
    body = """
        $r = (a = 1, b = "x"); $r = (b = "longer", a = 70000);
        @m[(k = 1, l = (2, "y"))] = $r;
        printf("%s %d %s", $r, $r.a, $r.b);
        printf("%s %s", @m[(l = (2, "y"), k = 1)].b, ((1, (z = 5)), 2).0.1.z);
        clear(@m);
    """
    assert lines(body) == ["{ .a = 70000, .b = longer } 70000 longer", "longer 5"]


def test_addresses() -> None:
    body = """
        $a = 5; $p = &$a; $a = 6; $s = "text"; $t = (1, "two"); @m = 70; @k[1] = 1;
        printf("%d %s %s %d %d", *$p, *&$s, *&$t, *&@m, &@k != 0);
        clear(@m); clear(@k);
    """
    assert lines(body) == ["6 text (1, two) 70 1"]


def test_arrays_are_copied() -> None:
    body = """
        let $a: uint8[4]; $a = (uint8[4])(uint32)0x01020304; $b = $a; @m[$a] = $b;
        printf("%s %d %d", @m[$b], $a == $b, @m[$a][1]);
        clear(@m);
    """
    assert lines(body) == ["[4,3,2,1] 1 3"]


def test_kinds_of_maps() -> None:
    ran = run(
        "let @l = lruhash(2); let @p = percpuhash(8); let @q = percpulruhash(8); let @h = hash(1);"
        "begin { @l[1] = 1; @p[1] = count(); @q[1] = sum(5); @h[1] = 1; @h[2] = 2; }"
    )
    assert {schema: len(rows) for schema, rows in ran.maps.items()} == {"@l": 1, "@p": 1, "@q": 1, "@h": 1}
    assert ran.counters.map_full  # the second key of @h was refused, and that was counted


def test_bitfields_of_packed_structs() -> None:
    """The last field starts in bit 5 and ends in bit 66 of the struct: it lies in nine bytes."""
    value = -(1 << 60) + 5
    memory = (((value & ((1 << 62) - 1)) << 5) | 0b10110).to_bytes(9, "little")
    buffer = ctypes.create_string_buffer(memory, 9)
    definitions = "struct bits { int a : 5; long b : 62; } __attribute__((packed));"
    body = f'$p = (struct bits *)uptr({ctypes.addressof(buffer)}); printf("%d %ld", $p.a, $p.b);'
    assert lines(body, definitions) == [f"-10 {value}"]


def test_copies_of_kernel_structs() -> None:
    body = """
        $t = *curtask; @kept = *curtask; $pair = (1, curtask.cpus_mask);
        printf("%d %d %d", $t.pid == tid, @kept.se.vruntime > 0, $pair.1.bits[0] == curtask.cpus_mask.bits[0]);
        $links = curtask.pid_links; $i = (uint8)2;
        printf("%d", $links[$i].next == curtask.pid_links[2].next);
        clear(@kept);
    """
    assert lines(body) == ["1 1 1", "1"]


@pytest.mark.parametrize("probe", ["tracepoint:sched:sched_switch", "rawtracepoint:sched_switch"])
def test_args_as_a_whole(probe: str) -> None:
    field = "prev_prio" if probe.startswith("tracepoint") else "prev_state"
    text = f"{probe} {{ $a = args; @whole = args; @same = $a.{field} == args.{field}; @in[(1, args)] = 1; }}"
    with running(text) as session:
        time.sleep(0.3)
    ran = result(session)
    assert ran.cell("@same") == Last(True)
    assert field in str(ran.cell("@whole"))
