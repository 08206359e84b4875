"""The programs of the conformance set: what upstream accepts parses and prints back, what its parser refuses is refused.

The set lies beside the repository, or where KUBEBPF_CONFORMANCE says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.syntax.formatter import format_program
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.printer import print_program
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tree import Program

FOLDER = Path(os.environ.get("KUBEBPF_CONFORMANCE", Path(__file__).parents[4] / "shared" / "conformance"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no conformance set: KUBEBPF_CONFORMANCE names its folder")


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def said(text: str) -> tuple[Program, str]:
    report = Report([Source("stdin", text)])
    return parse(report.sources[0], report), render_all(report)


def tree_of(text: str) -> Program:
    return said(text)[0]


def programs() -> list[str]:
    """Every program that has to parse."""
    accepted = [case["program"] for case in cases("frontend.jsonl") if case["expect"] == "ok"]
    accepted += [case["program"] for case in cases("runtime.jsonl") if "ERROR: syntax" not in json.dumps(case["expects"])]
    return accepted + [f"{case['preamble']}\ntest:{case['name']} {case['body']}" for case in cases("selftests.jsonl")]


def test_accepted_programs_parse() -> None:
    texts = programs()
    refused = {text: complaints for text in texts if (complaints := said(text)[1])}
    print(f"{len(texts) - len(refused)} of {len(texts)} programs parse")
    assert not refused


def refused_by_the_parser(case: dict[str, Any]) -> bool:
    return case["expect"] == "error" and any(
        words in (case.get("error") or "") for words in ("ERROR: syntax:", "ERROR: Invalid probe type", "ERROR: No attach points")
    )


def test_syntax_errors_are_refused() -> None:
    broken = [case for case in cases("frontend.jsonl") if refused_by_the_parser(case)]
    accepted = [case["program"] for case in broken if not said(case["program"])[1]]
    same = sum(said(case["program"])[1].split("\n")[:3] == case["error"].split("\n")[:3] for case in broken)
    print(f"{len(broken) - len(accepted)} of {len(broken)} syntax errors are refused, {same} in the same words at the same place")
    assert not accepted


def test_accepted_programs_print_back() -> None:
    for text in programs():
        tree, _ = said(text)
        printed = print_program(tree)
        again, complaints = said(printed)
        assert not complaints, printed
        assert again == tree, printed
        assert print_program(again) == printed
        formatted = format_program(text, tree)
        assert said(formatted)[0] == tree, formatted
        assert format_program(formatted, tree_of(formatted)) == formatted
