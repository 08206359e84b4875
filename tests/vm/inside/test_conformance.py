"""The run-time cases whose probes need this kernel; known to fail are those that need modules or tools that it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from conformance import runtime
from conformance.cases import folder, load

LACKING = ("nf_tables", "lsmod")


def _cases() -> list[Any]:
    return [case for case in load("runtime") if case["tier"][0] in "EK"] if folder() else []


@pytest.mark.parametrize("case", _cases(), ids=runtime.name_of)
def test_case(case: Any) -> None:
    if any(word in case["program"] + case.get("after", "") for word in LACKING):
        pytest.skip("needs a module or a tool that this kernel does not have")
    verdict = runtime.judge(case | {"timeout": case["timeout"] + 10})
    assert not verdict.why, verdict.output
