"""Fixtures of the syntax tests: parsing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tree import Program


@pytest.fixture
def parsed() -> Callable[[str], Program]:
    """Parse a program that has to be right."""

    def parsed(text: str) -> Program:
        report = Report([Source("stdin", text)])
        program = parse(report.sources[0], report)
        assert not report.complaints, render_all(report)
        return program

    return parsed


@pytest.fixture
def complaints() -> Callable[[str], str]:
    """What is said about a program."""

    def complaints(text: str) -> str:
        report = Report([Source("stdin", text)])
        parse(report.sources[0], report)
        return render_all(report)

    return complaints
