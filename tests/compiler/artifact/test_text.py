"""Text against what bpftrace 0.27.1 printed for the program named beside each expectation (Linux 6.18)."""

import pytest

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Last, Sum
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.state import Entry, Key, MapState, of_schema, with_default
from kubebpf.compiler.artifact.text import map_text, maps_text, value_text
from kubebpf.compiler.artifact.types import DAggregate, DField, DInt, DRecord, DString, DTuple
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pod, Pointer, Record, Text, Tuple, Value

VALUES: list[tuple[Value, str]] = [
    (-5, "-5"),
    (2**64 - 1, "18446744073709551615"),
    (True, "true"),
    (Enum("ONE", 1), "ONE"),
    (Enum("", 77), "77"),
    (Pointer(255), "0xff"),
    (Pointer(0), "0x0"),
    ('q"\\\t', 'q"\\\t'),
    (Tuple((1, "abc", Tuple((4, 5)))), "(1, abc, (4, 5))"),
    (Tuple((1,)), "(1)"),
    (Tuple(()), "()"),
    (Array((1, 2, 3, 4)), "[1,2,3,4]"),
    (Array((Array((5, 6)), Array((7, 8)))), "[[5,6],[7,8]]"),
    (Array((True, False)), "[true,false]"),
    (Record((("a", 1), ("b", Tuple((2, "x"))), ("c", Record((("d", True),))))), "{ .a = 1, .b = (2, x), .c = { .d = true } }"),
    (Record(()), "{}"),
    (Bytes(b'ok\xff\n"\\'), 'ok\\xff\\x0a"\\'),
    (Bytes(b"a\x00\xff\n\t"), "a\\x00\\xff\\x0a\\x09"),
    (Text("127.0.0.1", "inet"), "127.0.0.1"),
    (Tuple((Text("\n        f+1\n", "kstack"), 1)), "(\n        f+1\n, 1)"),
    (Cgroup(4242), "4242"),
    (Cgroup(1, path="/", as_path=True), "unified:/"),
    (Cgroup(1, as_path=True), ""),
    (Cgroup(4242, "a", pod=Pod("shop", "api-0", "u", "api")), "4242 (shop/api-0/api)"),
    (Cgroup(4242, "a"), "4242 (node a)"),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=[text[:30] for _, text in VALUES])
def test_values(value: Value, text: str) -> None:
    assert value_text(value) == text


def keyed(kind: str, *rows: tuple[Key, Cell], params: tuple[int, ...] = ()) -> MapState:
    return MapState("@x", kind, params=params, entries=tuple(Entry(key, cell) for key, cell in rows))


def scalar(kind: str, cell: Cell, params: tuple[int, ...] = ()) -> MapState:
    return MapState("@x", kind, params=params, scalar=True, entries=(Entry((), cell),))


NUMBERS = keyed("last", ((1,), Last(5)), ((2,), Last(3)), ((3,), Last(4)))


@pytest.mark.parametrize(
    ("top", "div", "text"),
    [
        (0, 0, "@x[2]: 3\n@x[3]: 4\n@x[1]: 5\n"),
        (2, 0, "@x[3]: 4\n@x[1]: 5\n"),
        (2, 2, "@x[3]: 2\n@x[1]: 2\n"),
        (0, 2, "@x[2]: 1\n@x[3]: 2\n@x[1]: 2\n"),
    ],
)
def test_top_and_div(top: int, div: int, text: str) -> None:
    # @x[1]=5; @x[2]=3; @x[3]=4; print(@x, top, div)
    assert map_text(NUMBERS, top, div) == text


MAPS: list[tuple[MapState, str]] = [
    (scalar("last", Last(7)), "@x: 7\n"),
    (scalar("count", Count(3)), "@x: 3\n"),
    (scalar("sum", Sum(-3)), "@x: -3\n"),
    (scalar("max", Extreme("max", -7)), "@x: -7\n"),
    (scalar("avg", Average(-7, 2)), "@x: -3\n"),
    (scalar("avg", Average(0, 0)), "@x: 0\n"),
    (scalar("stats", Average(14, 7)), "@x: { .count = 7, .average = 2, .total = 14 }\n"),
    (keyed("last", ((1, 2), Last(3))), "@x[1, 2]: 3\n"),
    (keyed("last", ((1, Tuple((2, 3))), Last(4))), "@x[1, (2, 3)]: 4\n"),
    (keyed("last", ((Bytes(b"ok_key\0"), 1), Last(1))), "@x[ok_key\\x00, 1]: 1\n"),
    (
        keyed("count", ((Text("\n        a+1\n        b+2\n", "kstack"),), Count(20))),
        "@x[\n        a+1\n        b+2\n]: 20\n",
    ),
    (
        keyed("count", ((Text("\n\t7ffa a+1 (/l)\n", "ustack"), 5), Count(1))),
        "@x[\n\t7ffa a+1 (/l)\n, 5]: 1\n",
    ),
    # by value: the sum of a count, signed sums and averages, booleans by key
    (keyed("sum", ((1,), Sum(5)), ((2,), Sum(-5))), "@x[2]: -5\n@x[1]: 5\n"),
    (keyed("max", ((3,), Extreme("max", -4)), ((1,), Extreme("max", 9))), "@x[3]: -4\n@x[1]: 9\n"),
    (keyed("last", ((1,), Last(2**64 - 1)), ((2,), Last(1))), "@x[2]: 1\n@x[1]: 18446744073709551615\n"),
    (keyed("last", ((3,), Last(Enum("TWO", 2))), ((4,), Last(Enum("ONE", 1)))), "@x[4]: ONE\n@x[3]: TWO\n"),
    (keyed("last", ((1,), Last(True)), ((2,), Last(False))), "@x[1]: true\n@x[2]: false\n"),
    (keyed("last", ((2,), Last("a")), ((-2,), Last("b"))), "@x[-2]: b\n@x[2]: a\n"),
    (keyed("last", ((1,), Last(Pointer(9))), ((2,), Last(Pointer(7)))), "@x[1]: 0x9\n@x[2]: 0x7\n"),
    (keyed("last", ((1,), Last(Tuple((1, 2)))), ((0,), Last(Tuple((3, 1))))), "@x[0]: (3, 1)\n@x[1]: (1, 2)\n"),
    # stats go by average: 1, 9, 10, though the totals are 3, 18, 10
    (
        keyed("stats", ((1,), Average(10, 1)), ((2,), Average(18, 2)), ((3,), Average(3, 3))),
        "@x[3]: { .count = 3, .average = 1, .total = 3 }\n"
        "@x[2]: { .count = 2, .average = 9, .total = 18 }\n"
        "@x[1]: { .count = 1, .average = 10, .total = 10 }\n",
    ),
    # equal values: upstream leaves the order of its hash table, here it is by key
    (
        keyed("last", ((2, "b"), Last(1)), ((2, "a"), Last(1)), ((1, "z"), Last(1))),
        "@x[1, z]: 1\n@x[2, a]: 1\n@x[2, b]: 1\n",
    ),
    (keyed("count"), ""),
]


@pytest.mark.parametrize(("shown", "text"), MAPS)
def test_maps(shown: MapState, text: str) -> None:
    assert map_text(shown) == text


def test_div_of_stats_divides_only_the_average() -> None:
    # @s=stats(3); print(@s, 1, 2)
    assert map_text(scalar("stats", Average(3, 1)), 1, 2) == "@x: { .count = 1, .average = 1, .total = 3 }\n"


def test_div_reaches_into_tuples_and_truncates() -> None:
    assert map_text(keyed("last", ((1,), Last(Tuple((1, 2))))), 1, 2) == "@x[1]: (0, 1)\n"
    assert map_text(scalar("last", Last(-7)), 0, 2) == "@x: -3\n"
    assert map_text(keyed("last", ((1,), Last(Pointer(8)))), 1, 2) == "@x[1]: 0x8\n"


def test_rows_of_several_nodes_name_them() -> None:
    rows = keyed("last", ((1,), Last(5, "b")), ((1,), Last(5, "a")))
    assert map_text(rows) == "@x[1]: 5 (node a)\n@x[1]: 5 (node b)\n"


def test_maps_come_by_name() -> None:
    maps = [MapState(name, "count", scalar=True, entries=(Entry((), Count(1)),)) for name in ("@b", "@", "@B", "@a")]
    assert maps_text(maps) == "@: 1\n@B: 1\n@a: 1\n@b: 1\n"


def test_histograms_of_a_keyed_map_end_with_a_blank_line() -> None:
    # @h[1]=hist(5); @h[1]=hist(500); @h[2]=hist(7): by total
    one, two = Histogram(((4, 1), (10, 1))), Histogram(((4, 1),))
    text = map_text(keyed("hist", ((1,), one), ((2,), two), params=(0,)))
    full = "@" * 52
    assert text == (
        f"@x[2]:\n[4, 8)                 1 |{full}|\n\n"
        f"@x[1]:\n[4, 8)                 1 |{full}|\n"
        + "".join(f"{label:<16}       0 |{'':52}|\n" for label in ("[8, 16)", "[16, 32)", "[32, 64)", "[64, 128)", "[128, 256)"))
        + f"[256, 512)             1 |{full}|\n\n"
    )
    assert map_text(keyed("hist", ((1,), one), ((2,), two), params=(0,)), 1).startswith("@x[1]:\n[4, 8)")


def test_an_emptied_histogram_is_only_its_name() -> None:
    # @z=hist(4); zero(@z)
    assert map_text(scalar("hist", Histogram(()), (0,))) == "@x:\n\n"


def test_a_scalar_map_that_was_never_set_prints_as_zero() -> None:
    # print(@) before @ = (a=1, b=(2, "hi")), stats(1), hist(1)
    record = DRecord((DField("a", 0, DInt(64, True)), DField("b", 8, DTuple(((0, DInt(64, True)), (8, DString(3))), 16))), 24)
    for value, text in (
        (record, "@: { .a = 0, .b = (0, ) }\n"),
        (DAggregate("stats", True, 16), "@: { .count = 0, .average = 0, .total = 0 }\n"),
        (DAggregate("max", True, 16), "@: 0\n"),
        (DAggregate("hist", False, 65 * 8, (0,), "", 65), ""),
    ):
        schema = MapSchema("@", "AT_", "array", None, value, 4, 24, 0, 1)
        assert map_text(of_schema(schema)) == ""
        assert map_text(with_default(of_schema(schema), schema, PlainResolver())) == text
