"""The compiled declarations are those of the header."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_bindings_follow_the_header() -> None:
    check = subprocess.run(
        [sys.executable, ROOT / "hack/gen-bindings.py", "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
