"""Every entry of the standard library runs: its programs, on this kernel, say what they should.

The programs are in tests/support/entries; those that need more of the kernel than this machine may have run in the virtual
machine (tests/vm). A test that is about an entry, and no program of the table, has the mark `entry`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from support.entries import CASES, NAMES, listed, titles
from support.entries.case import Case, outcome, wrong

ROOT = Path(__file__).parents[2]


@pytest.mark.kernel
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=title, marks=pytest.mark.entry(case.entry)) for title, case in titles() if not case.kernel]
)
def test_entry(case: Case) -> None:
    ran = outcome(case)
    assert not (problem := wrong(case, ran)), problem


def test_every_entry_has_a_program() -> None:
    marks = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r'mark\.entry\("([\w:]+)"', path.read_text())
    }
    assert set(NAMES) - {case.entry for case in CASES} - marks == set()
    assert marks <= set(NAMES)


def test_the_names_are_those_of_the_reference() -> None:
    """Where the library's reference is at hand, beside this repository or where KUBEBPF_SPEC says, nothing of it is missing."""
    places = (Path(os.environ.get("KUBEBPF_SPEC") or ROOT.parent / "shared/spec"), ROOT.parent / "shared/spec")
    path = next((place / "stdlib.md" for place in places if (place / "stdlib.md").exists()), None)
    if path is None:
        assert len(NAMES) == len(set(NAMES))
        return
    assert listed(path.read_text()) - set(NAMES) == set()
