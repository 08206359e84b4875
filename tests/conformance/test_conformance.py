"""The conformance figures, and that they do not fall. `hack/conformance.py` shows the failures and raises the floor."""

from __future__ import annotations

import pytest

from conformance import frontend, loads, runtime, selftests
from conformance.cases import Verdict, differences, figures, floor, folder, judged, load

RUNTIME_TIERS = ("A-begin/end", "B-timer/software", "C-tracepoint")

pytestmark = pytest.mark.skipif(folder() is None, reason="no conformance cases: set KUBEBPF_CONFORMANCE to their folder")


def assert_floor(verdicts: list[Verdict]) -> None:
    known = floor()
    for tier, (passed, total) in figures(verdicts).items():
        print(f"{tier}: {passed} of {total}, floor {known.get(tier, 0)}")
        fallen = [f"  {verdict.name}: {verdict.why}" for verdict in verdicts if verdict.tier == tier and verdict.why]
        assert passed >= known.get(tier, 0), "\n".join(
            [f"{tier}: {passed} of {total} pass, fewer than before; failing:", *fallen]
        )


@pytest.mark.timeout(900)
def test_frontend() -> None:
    """Verdicts differ where docs/compatibility/frontend.toml says so and why, and nowhere else."""
    verdicts = [frontend.judge(case) for case in load("frontend")]
    assert_floor(verdicts)
    assert {v.name: _here(v) for v in verdicts if v.why} == {d["case"]: d["here"] for d in differences("frontend")}


def _here(verdict: Verdict) -> str:
    return verdict.why.partition(",")[0].partition(":")[0]


@pytest.mark.kernel
@pytest.mark.timeout(300)
def test_selftests() -> None:
    assert_floor(list(judged(load("selftests"), selftests.judge)))


@pytest.mark.kernel
@pytest.mark.timeout(120)
def test_loads() -> None:
    """What compiles also loads: every tenth program."""
    found = [loads.judge(p, artifact) for p, unsafe in loads.sample(10) if (artifact := loads.compiled(p, unsafe))]
    assert [load for load in found if load.outcome in (loads.REFUSED, loads.RAISED)] == []
    assert sum(load.outcome == loads.LOADED for load in found) > len(found) // 2


@pytest.mark.kernel
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tier", RUNTIME_TIERS)
def test_runtime(tier: str) -> None:
    verdicts = list(judged([case for case in load("runtime") if case["tier"] == tier], runtime.judge))
    assert_floor(verdicts)
    passed = {verdict.name for verdict in verdicts if not verdict.why}
    assert [d["case"] for d in differences("runtime") if d["case"] in passed] == []
