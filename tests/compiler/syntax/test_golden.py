"""Whole diagnostics: each golden/NAME.bt is a program with mistakes, NAME.err what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source

FOLDER = Path(__file__).parent / "golden"
PROGRAMS = sorted(FOLDER.glob("*.bt"))


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_diagnostics(path: Path, golden: Callable[[Path, str], None]) -> None:
    report = Report([Source(path.name, path.read_text())])
    parse(report.sources[0], report)
    assert report.errors
    golden(path.with_suffix(".err"), render_all(report) + "\n")


def test_there_are_programs() -> None:
    assert PROGRAMS
