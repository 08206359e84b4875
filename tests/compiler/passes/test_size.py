"""Programs that are too large are refused before anything expensive is done with them."""

from __future__ import annotations

import pytest

from kubebpf.compiler.passes import size
from support.programs import codes


def test_ten_thousand_probes() -> None:
    assert codes("interval:s:1 { @ = count() }\n" * 10_000) == ["TooManyProbes"]
    assert codes(",".join(["interval:s:1"] * 1025) + " { @ = count() }") == ["TooManyProbes"]


def test_statements_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "MAX_NODES", 500)
    assert codes("begin { " + "print(1);" * 100 + " }") == []
    assert codes("begin { " + "print(1);" * 200 + " }") == ["ProgramTooBig"]


def chain(count: int, before: str, behind: str) -> str:
    macros = "".join(f"macro m{i}(x) {{ {before}m{i + 1}(x){behind} }}\n" for i in range(count))
    return f"{macros}macro m{count}(x) {{ x }}\nbegin {{ print(m0(1)); }}"


def test_macros_that_grow_deep() -> None:
    assert codes(chain(40, "1 + ", "")) == []
    assert codes(chain(100, "", "")) == ["ExpansionTooLarge"]
    assert codes(chain(60, "(1, " * 60, ")" * 60)) == ["ExpansionTooLarge"]
    assert codes("macro inc(x) { x + 1 } begin { print(" + "inc(" * 50 + "1" + ")" * 50 + "); }") == []
    nested = "begin { print(" + "m(" * 80 + "1" + ")" * 80 + "); }"
    assert codes("macro m(x) { ((((x + 1) + 1) + 1) + 1) } " + nested) == ["NestedTooDeeply"]


def test_macros_that_work_for_nothing() -> None:
    macros = "".join(f"macro w{i + 1}(x) {{ drop(w{i}(x)) + drop(w{i}(x)) }}\n" for i in range(40))
    text = f"macro drop(x) {{ 1 }}\nmacro w0(x) {{ x }}\n{macros}begin {{ print(w40(1)); }}"
    assert codes(text) == ["ExpansionTooLarge"]


def test_unrolls_in_unrolls() -> None:
    assert codes("begin { unroll(100) { unroll(100) { unroll(100) { print(1) } } } }") == ["TooManyCopies"]
