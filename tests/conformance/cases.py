"""The conformance cases: programs with known results, one JSON object a line, kept outside this repository.

$KUBEBPF_CONFORMANCE names their folder; else ../shared/conformance beside the repository is tried.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
FLOOR = Path(__file__).with_name("floor.json")

Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went: `why` is empty when it passed."""

    name: str
    tier: str
    why: str = ""
    output: str = ""


def folder() -> Path | None:
    """Where the cases are; None when they are not on this machine."""
    choices = [Path(os.environ["KUBEBPF_CONFORMANCE"])] if os.environ.get("KUBEBPF_CONFORMANCE") else []
    choices.append(ROOT.parent / "shared" / "conformance")
    return next((choice for choice in choices if (choice / "runtime.jsonl").exists()), None)


def load(name: str) -> list[Case]:
    """The cases of a file: frontend, runtime or selftests."""
    where = folder()
    assert where is not None
    return [json.loads(line) for line in (where / f"{name}.jsonl").read_text().splitlines() if line]


def figures(verdicts: Iterable[Verdict]) -> dict[str, tuple[int, int]]:
    """Passed and all, by tier."""
    counted: dict[str, tuple[int, int]] = {}
    for verdict in verdicts:
        passed, total = counted.get(verdict.tier, (0, 0))
        counted[verdict.tier] = (passed + (not verdict.why), total + 1)
    return dict(sorted(counted.items()))


def floor() -> dict[str, int]:
    """How many must pass, by tier: it is raised when more do, never lowered."""
    found: dict[str, int] = json.loads(FLOOR.read_text())
    return found


def differences(kind: str) -> list[dict[str, str]]:
    """What differs from upstream on purpose, in docs/compatibility: case, reason, and for frontend what is said here."""
    found: list[dict[str, str]] = tomllib.loads((ROOT / "docs" / "compatibility" / f"{kind}.toml").read_text())["difference"]
    return found


def judged(cases: Iterable[Case], judge: Callable[[Case], Verdict]) -> Iterator[Verdict]:
    """The verdicts in the order of the cases, a few at a time: a case that runs waits for clocks most of its time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(judge, cases)


def raise_floor(verdicts: Iterable[Verdict]) -> None:
    """Write down the figures where they are better than before."""
    known = floor()
    better = {tier: max(passed, known.get(tier, 0)) for tier, (passed, _) in figures(verdicts).items()}
    FLOOR.write_text(json.dumps(known | better, indent=2, sort_keys=True) + "\n")
