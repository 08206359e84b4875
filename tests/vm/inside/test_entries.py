"""The entries of the standard library that need a kernel with kprobes, or with the symbols of its variables."""

from __future__ import annotations

import pytest

from support.entries import titles
from support.entries.case import Case, outcome, wrong


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=title, marks=pytest.mark.entry(case.entry)) for title, case in titles() if case.kernel]
)
def test_entry(case: Case) -> None:
    ran = outcome(case)
    assert not (problem := wrong(case, ran)), problem
