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


def test_unrolls_in_unrolls() -> None:
    assert codes("begin { unroll(100) { unroll(100) { unroll(100) { print(1) } } } }") == ["TooManyCopies"]
