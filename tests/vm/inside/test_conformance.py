"""The run-time cases whose probes need this kernel, two at a time; those that name a module that is not loaded are skipped."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conformance import runtime
from conformance.cases import Verdict, folder, load

MODULES = ("nf_tables",)
SLOW = 10  # seconds more, where every instruction is emulated


def _cases() -> list[Any]:
    return [case for case in load("runtime") if case["tier"][0] in "EK"] if folder() else []


def _lacks(case: Any) -> str:
    loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    return next((m for m in MODULES if m in case["program"].replace("nf_table*", m) and m not in loaded), "")


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Future[Verdict]]:
    """All of them, on their way."""
    with ThreadPoolExecutor(2) as pool:
        wanted = [case | {"timeout": case["timeout"] + SLOW} for case in _cases() if not _lacks(case)]
        return {runtime.name_of(case): pool.submit(runtime.judge, case, forked=True) for case in wanted}


@pytest.mark.parametrize("case", _cases(), ids=runtime.name_of)
def test_case(case: Any, verdicts: dict[str, Future[Verdict]]) -> None:
    if module := _lacks(case):
        pytest.skip(f"the kernel module {module} is not loaded here")
    verdict = verdicts[runtime.name_of(case)].result()
    assert not verdict.why, verdict.output
