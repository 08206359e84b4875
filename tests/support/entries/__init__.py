"""Programs for each entry of the standard library: `CASES`, and what entries there are: `NAMES`."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.entries import kernel, output, probes, stacks, tasks, text, types
from support.entries.case import Case

CASES: tuple[Case, ...] = (*text.CASES, *types.CASES, *tasks.CASES, *stacks.CASES, *output.CASES, *kernel.CASES, *probes.CASES)
DATA = tomllib.loads((Path(__file__).parents[3] / "docs/compatibility/library.toml").read_text())
NAMES: tuple[str, ...] = (*(e["name"] for e in DATA["entry"]), *(f"probe:{p['name']}" for p in DATA["provider"]))


def titles() -> Iterator[tuple[str, Case]]:
    """Each program with its name in the results: `strlen`, `strlen-2`, …"""
    seen: Counter[str] = Counter()
    for case in CASES:
        seen[case.entry] += 1
        yield case.entry if seen[case.entry] == 1 else f"{case.entry}-{seen[case.entry]}", case


def listed(reference: str) -> set[str]:
    """The names of the entries that a text of the library's reference has, each a heading of the third level."""
    return set(re.findall(r"^### (\w+)$", reference, re.MULTILINE))
