"""Maps and map functions: every number exactly, bucket by bucket."""

from __future__ import annotations

import struct

import pytest

from kubebpf.agent.session.options import Options
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Last, Sum
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.values import Record
from support.programs import compiled, pair, result, run, running
from support.workload import Workload, noise

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"
BIG = (1 << 64) - 16  # beyond 2**63


def fed(function: str, *values: int | str, unsigned: bool = False) -> Cell:
    """The scalar map that was fed these values, one after the other."""
    cast = "(uint64)" if unsigned else "(int64)"
    calls = " ".join(f"$v = {cast}{value}; @ = {function.replace('(x', '($v')};" for value in values)
    return run("begin { " + calls + " }").cell("@")


def test_count() -> None:
    assert run("begin { unroll(7) { @ = count(); } @k[1] = count(); }").maps == {"@": {None: Count(7)}, "@k": {1: Count(1)}}


@pytest.mark.parametrize(
    ("function", "values", "unsigned", "cell"),
    [
        ("sum(x)", (-5, 3, -10), False, Sum(-12)),
        ("sum(x)", (BIG, 5), True, Sum(BIG + 5)),
        ("min(x)", (4, -9, 7), False, Extreme("min", -9)),
        ("min(x)", (5,), False, Extreme("min", 5)),
        ("min(x)", (BIG, BIG + 2), True, Extreme("min", BIG)),
        ("max(x)", (-4, -9, -7), False, Extreme("max", -4)),
        ("max(x)", (1, BIG, 2), True, Extreme("max", BIG)),
        ("avg(x)", (-3, -4), False, Average(-7, 2)),
        ("avg(x)", (1 << 63, 10), True, Average((1 << 63) + 10, 2)),
        ("stats(x)", (-10, 5, 0), False, Average(-5, 3)),
    ],
)
def test_numbers(function: str, values: tuple[int, ...], unsigned: bool, cell: Cell) -> None:
    assert fed(function, *values, unsigned=unsigned) == cell


def hist_slot(n: int, k: int) -> int:
    """DAggregate's rule, written once more from its text."""
    if n < 0:
        return 0
    if n < 1 << k:
        return 1 + n
    power = n.bit_length() - 1
    return 1 + ((power - k + 1) << k) + ((n >> (power - k)) & ((1 << k) - 1))


def counted(slots: list[int]) -> Histogram:
    return Histogram(tuple((slot, slots.count(slot)) for slot in sorted(set(slots))))


NUMBERS = (-5, -1, 0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 1023, 1024, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1)


@pytest.mark.parametrize("k", range(6))
def test_hist(k: int) -> None:
    assert fed(f"hist(x, {k})", *NUMBERS) == counted([hist_slot(n, k) for n in NUMBERS])


def test_hist_of_unsigned_numbers_has_no_negative_bucket() -> None:
    values = (0, 1, 1 << 63, (1 << 64) - 1)
    assert fed("hist(x)", *values, unsigned=True) == counted([hist_slot(n, 0) for n in values])


@pytest.mark.parametrize(("low", "high", "step"), [(0, 100, 10), (0, 10, 3), (5, 6, 1), (0, 1000, 1), (100, 200, 100)])
def test_lhist(low: int, high: int, step: int) -> None:
    values = [-7, -1, 0, 4, 5, 6, 9, 10, 11, 99, 100, 101, 150, 199, 200, 999, 1000, 1 << 40]
    steps = (high - low) // step
    slots = [0 if n < low else min((n - low) // step, steps) + 1 for n in values]
    assert fed(f"lhist(x, {low}, {high}, {step})", *values) == counted(slots)


def test_counting_system_calls_exactly() -> None:
    work = Workload.start("--getppid", 1234)
    text = f"""{GETPPID} /pid == {work.pid}/ {{
        @n = count(); @by[pid, comm] = count(); @h = hist(42); @s[tid] = sum(2); @plain++; @keyed["k"]++; @last[0] = pid;
    }}"""
    with noise(), running(text) as session:
        assert work.go() == 1234
    ran = result(session)
    comm = next(iter(ran.maps["@by"])).items[1]  # type: ignore[union-attr]
    assert str(comm).startswith("kubebpf-workloa")
    assert ran.maps == {
        "@n": {None: Count(1234)},
        "@by": {pair(work.pid, comm): Count(1234)},
        "@h": {None: Histogram(((7, 1234),))},
        "@s": {work.pid: Sum(2468)},
        "@plain": {None: Last(1234)},
        "@keyed": {"k": Last(1234)},
        "@last": {0: Last(work.pid)},
    }


def test_aggregates_are_read_over_all_cpus() -> None:
    works = [Workload.start("--getppid", 100), Workload.start("--getppid", 150)]
    pids = " || ".join(f"pid == {w.pid}" for w in works)
    text = f"""{GETPPID} /{pids}/ {{ @c = count(); @s = sum(-2); @low = min(cpu + 5); @high = max(cpu + 5); @a = avg(7);
        @k[1] = count(); }}
        end {{ print((uint64)@c); print((int64)@s); print((int64)@low); print((int64)@high); print((int64)@a); print(@k[1]);
        print(@c > 249); print((int64)@s * 2); print(@k[2]) }}"""
    with running(text) as session:
        for work in works:
            work.go()
    printed = result(session).printed
    assert printed[:2] == [250, -500]
    assert 5 <= printed[2] <= printed[3]  # type: ignore[operator]
    assert printed[4:] == [7, 250, True, -1000, 0]


def test_an_average_rounds_towards_zero() -> None:
    assert run("begin { @a = avg(-3); @a = avg(-4); print((int64)@a); @b = avg(3); @b = avg(4); print((int64)@b) }").printed == [
        -3,
        3,
    ]


def test_keys_of_all_kinds() -> None:
    ran = run("""begin {
        @i[-1] = 1; @i[300] = 2;
        @u[(uint64)18446744073709551615] = 1;
        @small[(uint8)7] = 1;
        @s["a"] = 1; @s["a longer one"] = 2; @s["a"] = 3;
        @t[(uint8)1, (uint64)2] = 1; @t[(uint8)1, (uint64)2] = 2;
        @mixed[1, "x", (2, "y")] = 1; @mixed[1, "x", (2, "y")] = 5;
        @r[(a = 1, b = "x")] = 1; @r[(b = "x", a = 1)] = 2;
        @b[true] = 1; @b[1 > 2] = 2;
    }""")
    assert ran.maps == {
        "@i": {-1: Last(1), 300: Last(2)},
        "@u": {(1 << 64) - 1: Last(1)},
        "@small": {7: Last(1)},
        "@s": {"a": Last(3), "a longer one": Last(2)},
        "@t": {pair(1, 2): Last(2)},
        "@mixed": {pair(1, "x", pair(2, "y")): Last(5)},
        "@r": {Record((("a", 1), ("b", "x"))): Last(2)},
        "@b": {True: Last(1), False: Last(2)},
    }


def test_padding_of_keys_is_zero() -> None:
    artifact = compiled('begin { $s = "x"; @[(uint8)1, (uint64)2, $s] = 1; $t = ((uint8)3, (uint64)4, "yyyy"); @[$t] = 2; }')
    from kubebpf.agent.session.session import Session

    with Session(artifact) as session:
        session.start()
        session.finish()
        keys = {key for key, _ in session.read("@", PlainResolver()).rows}
    assert keys == {struct.pack("<QQ8s", 1, 2, b"x"), struct.pack("<QQ8s", 3, 4, b"yyyy")}


def test_values_of_all_kinds() -> None:
    ran = run("""begin {
        @s = "text"; @t = (1, "x", (2, true)); @b = true; @u = (uint64)18446744073709551615; @n = (int8)-5; @p = (int8 *)16;
        @copy = @s; @k["a"] = "one"; @k["b"] = "another";
        $s = @s; print($s); print(@t.2.0); print(@k["b"]); print(@k["none"]); print((int64)@none); print(@s == "text");
    } end { @none = 1; }""")
    assert ran.printed == ["text", 2, "another", "", 0, True]
    assert (ran.cell("@s"), ran.cell("@copy")) == (Last("text"), Last("text"))
    assert ran.cell("@t") == Last(pair(1, "x", pair(2, True)))
    assert (ran.cell("@u"), ran.cell("@n")) == (Last((1 << 64) - 1), Last(-5))
    assert ran.maps["@k"] == {"a": Last("one"), "b": Last("another")}


def test_delete_has_key_and_len() -> None:
    ran = run("""begin {
        print(has_key(@m, 1)); @m[1] = 5; @m[2] = 6; print(has_key(@m, 1)); print(len(@m));
        print(delete(@m, 1)); print(delete(@m, 1)); print(len(@m)); print(@m[1]);
        @c["a", 1] = count(); print(has_key(@c, ("a", 1))); delete(@c, ("a", 1)); print(len(@c)); delete(@c["none", 2]);
        @scalar = 3; print(delete(@scalar)); print((int64)@scalar); print(delete(@scalar));
    }""")
    assert ran.printed == [False, True, 2, True, False, 1, 0, True, 0, True, 0, False]
    assert ran.maps == {"@m": {2: Last(6)}, "@c": {}, "@scalar": {}}


def test_a_scalar_map_is_there_once_it_is_assigned() -> None:
    assert run("begin { if (rand < 0) { @never = 1; @count = count(); @step++; } @zero = 0; }").maps == {
        "@never": {}, "@count": {}, "@step": {}, "@zero": {None: Last(0)},
    }  # fmt: skip


def test_a_full_map_counts_what_it_refused_at_its_place() -> None:
    ran = run(
        "config = { max_map_keys = 3 }\nbegin { unroll(5) { @i++; @full[@i] = 1; }\n unroll(4) { @j++; @c[@j] = count(); } }"
    )
    assert (len(ran.maps["@full"]), len(ran.maps["@c"])) == (3, 3)
    assert [(f.site.kind, f.count, f.last, f.site.place and f.site.place.line) for f in ran.counters.failures] == [
        ("map_full", 2, -7, 2),
        ("map_full", 1, -7, 3),
    ]


def test_declared_kinds_and_sizes() -> None:
    ran = run("let @lru = lruhash(100); let @few = hash(2); begin { unroll(4) { @i++; @few[@i] = 1; @lru[@i] = 1; } }")
    assert len(ran.maps["@few"]) == 2
    assert len(ran.maps["@lru"]) == 4
    assert ran.counters.map_full == 2


def test_events_for_whole_maps() -> None:
    ran = run("begin { @m[1] = 1; print(@m); print(@m, 5); print(@m, 5, 2); clear(@m); zero(@m); }")
    assert [(r.event.kind, r.event.map, r.event.top, r.event.div) for r in ran.records] == [
        ("print_map", "@m", 0, 0),
        ("print_map", "@m", 5, 0),
        ("print_map", "@m", 5, 2),
        ("clear", "@m", 0, 0),
        ("zero", "@m", 0, 0),
    ]


def test_clear_and_zero_by_the_session() -> None:
    with running("begin { @c[1] = 5; @z[1] = 5; @s = count(); @t = 3; }") as session:
        for name in ("@c", "@t"):
            session.clear(name)
        for name in ("@z", "@s"):
            session.zero(name)
    assert result(session).maps == {"@c": {}, "@z": {1: Last(0)}, "@s": {None: Count(0)}, "@t": {}}


def test_lost_events_are_counted() -> None:
    work = Workload.start("--getppid", 2000)
    text = f'{GETPPID} /pid == {work.pid}/ {{ @ = count(); printf("%d %s\\n", pid, comm); }}'
    with running(text, options=Options(ring_bytes=4096)) as session:
        work.go()
    ran = result(session)
    assert ran.cell("@") == Count(2000)
    assert len(ran.lines) + ran.counters.lost == 2000
    assert ran.counters.lost > 1000
