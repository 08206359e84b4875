"""Selftests: `kubebpf run --test` of a test probe, which passes when it returns 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conformance.cases import Case, Verdict

SECONDS = 60


def name_of(case: Case) -> str:
    """File and name."""
    return f"{case['file']}/{case['name']}"


def program_of(case: Case) -> str:
    """The whole program."""
    return f"{case['preamble']}\ntest:{case['name']} {case['body']}\n"


def judge(case: Case) -> Verdict:
    """Run the test."""
    command = [str(Path(sys.executable).with_name("kubebpf")), "run", "--test", "--no-warnings", "-e", program_of(case)]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS)
    passed = ran.returncode == 0 and f"       OK ] {case['name']} " in ran.stdout
    lines = (ran.stderr or ran.stdout).strip().splitlines() or ["no output"]
    why = "" if passed else next((line for line in lines if "ERROR" in line or "FAILED" in line), lines[-1])
    return Verdict(name_of(case), "selftests", why, ran.stdout + ran.stderr)
