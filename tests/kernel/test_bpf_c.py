"""import of BPF C: its functions are called, by every kind of parameter and result; what clang refuses is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.cells import Last
from kubebpf.compiler.cdefs import bpf_c
from kubebpf.compiler.complaints.render import render_all
from support.programs import checked, pair, run

pytestmark = pytest.mark.kernel

CODE = """
struct pair { int a; long b; };
static __attribute__((noinline)) long helper(long x) { return x * 3; }
int sum(int a, int b) { return a + b; }
unsigned char narrow(unsigned char c, signed char d) { return c + d; }
short low(short s) { return s; }
long triple(long x) { return helper(x); }
_Bool both(_Bool a, _Bool b) { return a && b; }
void *next(void *p) { return p + 1; }
void nothing(void) {}
unsigned long long ktime(void) { static unsigned long long (*get)(void) = (void *)5; return get(); }
int not_for_us(struct pair p) { return p.a; }
"""
PROGRAM = """import "sum.bpf.c";
begin {
  print((sum(1, -3), narrow(250, 10), low(-2), triple(14), both(true, 1 == 2), next((void *)7) == (void *)8, ktime() > 0));
  nothing();
  @[sum(2, 3)] = triple(sum(1, 1));
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("clang") is None:
        pytest.skip("needs clang")
    (tmp_path / "sum.bpf.c").write_text(CODE)
    return tmp_path


def test_functions_are_called(folder: Path) -> None:
    ran = run(PROGRAM, base=str(folder))
    assert ran.printed == [pair(-2, 4, -2, 42, False, True, True)]
    assert ran.maps["@"] == {5: Last(6)}


def test_calls_are_checked(folder: Path) -> None:
    said = said_of('import "sum.bpf.c"; begin { print(sum(1)); print(not_for_us(1)); print(sum("a", 1)); }', folder)
    assert "exactly 2 arguments" in said
    assert "not_for_us" in said and "string" in said


def test_what_clang_refuses_is_told(folder: Path) -> None:
    (folder / "broken.bpf.c").write_text("int f(void) { return nonsense; }\n")
    said = said_of('import "broken.bpf.c"; begin { f(); }', folder)
    assert "broken.bpf.c:1" in said and "nonsense" in said


def test_without_clang_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sum.bpf.c").write_text(CODE)
    monkeypatch.setattr(bpf_c, "CLANG", "clang-that-is-not-there")
    assert "there is no clang on this machine" in said_of('import "sum.bpf.c"; begin { exit(); }', tmp_path)


def said_of(text: str, folder: Path) -> str:
    done = checked(text, base=str(folder))
    return render_all(done.report)
