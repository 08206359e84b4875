"""The benchmarks run to their end; what they measure is not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.kernel
def test_a_quick_run_prints_all_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFTRACE", "/nonexistent/bpftrace")
    done = subprocess.run(
        [sys.executable, ROOT / "bench/run.py", "--quick", "--markdown"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "our figures alone" in done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    figures = {
        row[0].strip(): [float(cell) for cell in row[1:] if cell.strip()]
        for row in rows
        if "---" not in row[0] and row[0].strip()
    }
    assert {"wall time, ms", "`@[comm] = count()`", "compile in a warm process", "kubebpf --help"} <= figures.keys()
    assert all(number > 0 for numbers in figures.values() for number in numbers)
