"""A short run of what hack/fuzz.py does for long, and the inputs that were a problem once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.loads import LOADED
from conformance.loads import judge as load
from fuzz.crew import crew
from fuzz.judge import Finding, judge
from fuzz.mutation import mutant
from fuzz.programs import must_compile, program
from fuzz.seeds import corpus, read, seeds
from kubebpf.cli.building import build, kernel_view

SECONDS = 12.0


@pytest.mark.parametrize("path", corpus(), ids=[path.stem for path in corpus()])
def test_corpus(path: Path) -> None:
    assert judge(read(path), "compile") is None


def test_mutants() -> None:
    """As many as there is time for, others each day."""
    day, programs = int(time.time()) // 86400, seeds()
    until = time.monotonic() + SECONDS
    found = list(crew(range(1 << 30), lambda n: judge(mutant(random.Random(f"{day}-{n}"), programs)), until=until))
    assert not found, [(finding, mutant(random.Random(f"{day}-{number}"), programs)) for number, finding in found[:3]]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.randoms(use_true_random=False))
def test_well_typed_programs_compile(chance: random.Random) -> None:
    text = program(chance)
    assert must_compile(text) is None, text


@pytest.mark.kernel
def test_well_typed_programs_load() -> None:
    """What compiles, the verifier takes."""
    view = kernel_view()
    for seed in range(12):
        text = program(random.Random(seed))
        artifact = build(text, "stdin", view).artifact
        if artifact is not None:
            found = load(text, artifact)
            assert found.outcome == LOADED, f"{found.why}\n{text}"


def test_a_crew_survives_what_it_finds() -> None:
    def judged(number: int) -> Finding | None:
        if number == 3:
            os._exit(7)
        return Finding("raised", "odd") if number == 5 else None

    found = sorted((number, finding.kind) for number, finding in crew(range(8), judged))
    assert found == [(3, "killed"), (5, "raised")]


def test_a_judge_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("fuzz.judge.check_script", bad)
    finding = judge("begin { }")
    assert finding is not None and finding.kind == "raised" and "KeyError" in finding.detail
    monkeypatch.setattr("fuzz.judge.check_script", lambda *_: sum(1 for _ in iter(int, 1)))
    assert judge("begin { }") == Finding("slow", "more than 1 s of processor time")
