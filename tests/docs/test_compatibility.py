"""docs/compatibility.md is what its data make, and leaves no entry and no probe provider out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from kubebpf.compiler.probes.registry import PROVIDERS
from support.entries import DATA, NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text()


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "hack/compatibility.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_entry_and_provider_has_a_row() -> None:
    assert {provider["name"] for provider in DATA["provider"]} == set(PROVIDERS)
    rows = re.findall(r"^\| `(\w+)` \| (works|differs|not here|fails|untested) \|", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(name.removeprefix("probe:") for name in NAMES)
    assert [row for row in rows if row[1] in ("fails", "untested")] == []
