"""Loops, jumps and functions of the text, by what they leave behind."""

from __future__ import annotations

import os

import pytest

from kubebpf.agent.session import facts
from kubebpf.compiler.artifact.cells import Average, Count, Last
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from support.programs import kernel, pair, result, run, running

pytestmark = pytest.mark.kernel

RANGES = """
begin {
  for ($i : 0..3) { print($i); }
  $from = 2; $to = 4;
  for ($i : $from..$to) { print($i); $to = 100; }
  for ($i : 5..5) { print("never"); }
  for ($i : -1..1) { print($i); }
  for $i : (uint8)7..(uint16)8 { $i += 1; print($i); }
}
"""


def test_for_range() -> None:
    assert run(RANGES).printed == [0, 1, 2, 2, 3, -1, 0, 8]


def test_for_map() -> None:
    ran = run("""
    begin {
      @n[1] = (int8)-3; @s["key", 2] = "value"; @c[7] = count(); @c[7] = count(); @a["x"] = avg(3); @a["x"] = avg(6);
      for ($kv : @n) { print($kv); }
      for ($kv : @s) { print($kv); print($kv.0.1); }
      for ($kv : @c) { print($kv.1); @twice = $kv.1 * 2; }
      for ($kv : @a) { print($kv); delete(@a, $kv.0); print($kv.0); }
    }""")
    assert ran.printed == [pair(1, -3), pair(pair("key", 2), "value"), 2, 2, pair("x", 4), "x"]
    assert (ran.cell("@twice"), ran.maps["@a"]) == (Last(4), {})


def test_variables_of_the_scopes_around_a_loop() -> None:
    ran = run("""
    begin {
      $n = 0; $s = "a"; $t = (1, "b"); let $late;
      for ($i : 0..4) {
        let $own = $i * 10; $n += $own; $s = "longer"; $t = ($t.0 + 1, "c"); $late = $i;
        for ($j : 0..$i) { $n += $j; $late = $own; }
      }
      print($n); print($s); print($t); print($late);
    }""")
    assert ran.printed == [60 + 0 + 0 + 1 + 3, "longer", pair(5, "c"), 30]


def test_break_continue_return() -> None:
    ran = run("""
    begin {
      for ($i : 0..10) { if ($i == 2) { continue; } if ($i == 4) { break; } print($i); }
      $i = 0;
      while (true) { $i++; if ($i < 3) { continue; } if ($i > 4) { break; } print($i * 10); }
      while ($i < 100) { unroll(3) { $i++; if ($i == 7) { break; } } if ($i >= 7) { break; } }
      print($i);
    }
    begin { for ($i : 0..3) { for ($j : 0..3) { if ($j == 1) { return; } print((int64)100 + $i); } } print("never"); }
    begin { @m[1] = 1; for ($kv : @m) { exit(); } print("never"); }
    """)
    assert ran.printed == [0, 1, 3, 30, 40, 7, 100]
    assert ran.exit_code == 0


def test_long_loops() -> None:
    ran = run("""
    begin {
      $x = 0; while ($x < 1000000) { $x++; @odd[$x % 2] = count(); } print($x);
      for ($i : 0..300) { for ($j : 0..300) { @n = count(); } }
      for ($i : 0..8388609) { @cut++; }
      while (1) { @endless++; }
    }""")
    assert ran.printed == [1000000]
    assert ran.maps["@odd"] == {0: Count(500000), 1: Count(500000)}
    assert (ran.cell("@n"), ran.cell("@cut"), ran.cell("@endless")) == (Count(90000), Last(1 << 23), Last(1 << 23))
    assert [(s.site.kind, s.count) for s in ran.counters.failures] == [("loop_limit", 1)] * 2


def test_without_bpf_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that kernels before 5.17 run, on this one."""
    monkeypatch.setitem(facts.FACTS, "has_helper", lambda constant, options: 0)
    ran = run("""
    begin {
      $n = 0;
      for ($i : 0..5) { if ($i == 3) { continue; } for ($j : 0..$i) { $n += $j; if ($j == 2) { break; } } }
      print($n); $x = 0;
      while ($x < 20) { $x += 2; } print($x);
      while (1) { @rounds++; }
      for ($i : 0..3) { if ($i) { return; } print($i); }
    }""")
    assert ran.printed == [0 + 1 + 3, 20, 0]
    assert (ran.cell("@rounds"), [s.site.kind for s in ran.counters.failures]) == (Last(32), ["loop_limit"])


FUNCTIONS = """
fn twice($x: int64): int64 { return $x * 2; }
fn tag($s: string[16], $n: int64): string[16] { if ($n > 1) { return "big"; } return $s; }
fn find($from: int64, $to: int64): int64 {
  for ($i : $from..$to) { for ($j : 0..2) { if ($i == 7) { return $i * 100 + $j; } } }
  return -1;
}
fn many($a: int8, $b: int64, $c: int64, $d: int64, $e: int64, $s: string[16]): (int64, string[16]) {
  return ($a + $b * 10 + $c * 100 + $d * 1000 + $e * 10000, $s);
}
fn feed($x: int64): void { @c[$x] = count(); }
fn stop($x: int64): void { if ($x == 2) { exit(); } print($x); }
begin {
  print(twice(twice(4)));
  print(tag("small", 1)); print(tag("small", 2)); print(tag(tag("x", 1), 1)); print((tag("y", 1), tag("z", 3)));
  print(find(0, 10)); print(find(8, 10));
  print(many(1, 2, 3, 4, 5, "six"));
  for ($i : 0..3) { feed($i); feed(twice(0)); }
  for ($i : 0..5) { stop($i); }
  print("never");
}
end { print(twice(50)); }
"""


def test_functions() -> None:
    ran = run(FUNCTIONS)
    strings = ["small", "big", "x", pair("y", "big")]
    assert ran.printed == [16, *strings, 700, -1, pair(54321, "six"), 0, 1, 100]
    assert ran.maps["@c"] == {0: Count(4), 1: Count(1), 2: Count(1)}


def test_context_and_large_values_in_loops() -> None:
    """args and strings in loops of a program that has to spare its stack."""
    many = " ".join(f"$s{i} = str(0, 64); $v{i} = nsecs;" for i in range(12))
    used = " ".join(f"@[$s{i}, {i} + $i] = avg((int64)($v{i} > 0));" for i in range(12))
    loops = f"for ($i : 0..2) {{ $j = 0; while ($j++ < 2) {{ {used} @p[$nr] = count(); }} }}"
    body = f"$nr = args.__syscall_nr; {loops} $k = 0; while ($k++ < 3) {{ @a[args.__syscall_nr] = count(); }}"
    with running(f"tracepoint:syscalls:sys_enter_getppid /pid == {os.getpid()}/ {{ {many} {body} }}") as session:
        os.getppid()
    ran = result(session)
    assert set(ran.maps["@"].values()) == {Average(2, 2), Average(4, 4)}  # the keys 0 and 12, and those between
    assert len(ran.maps["@"]) == 13
    assert (ran.maps["@p"].keys(), list(ran.maps["@p"].values())) == (ran.maps["@a"].keys(), [Count(4)])
    assert list(ran.maps["@a"].values()) == [Count(3)]


def nested(depth: int) -> str:
    """So many loops inside each other, of two rounds each."""
    return "".join(f"for ($i{n} : 0..2) {{ " for n in range(depth)) + "@n = count();" + " }" * depth


def test_seven_loops_inside_each_other_and_no_more() -> None:
    assert run("begin { " + nested(7) + " }").cell("@n") == Count(2**7)
    done = compile_script("begin { " + nested(8) + " }", kernel(), CompileOptions())
    (complaint,) = done.report
    assert complaint.message == "This program needs 8 loops and functions inside each other, and 7 is the most that it can have"
