"""--test, --bench and self probes: what the tracer runs itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

KUBEBPF = str(Path(sys.executable).with_name("kubebpf"))
PROGRAM = """
begin { @began = 1; }
test:good { if (@began == 1) { return 0; } return 2; }
test:bad { print("said"); for ($i : 0..3) { if ($i == 2) { return $i; } } }
test:silent { print("not shown"); }
bench:hundred { for ($i : 0..100) { @ = count(); } }
bench:nothing { }
interval:ms:1 { print("never in a test"); }
end { print("ended"); }
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KUBEBPF, "run", *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.entry("probe:test")
def test_test_probes() -> None:
    done = run("--test", "-e", PROGRAM)
    assert done.returncode == 1
    assert re.sub(r"\(\d+ (ns|μs)\)", "(time)", done.stdout) == (
        "[==========] Running 3 tests.\n"
        "[ RUN      ] good\n[       OK ] good (time)\n"
        "[ RUN      ] bad\nsaid\n[  FAILED  ] bad (time)\n"
        "[ RUN      ] silent\n[       OK ] silent (time)\n"
        "[==========] 3 tests ran.\n[  PASSED  ] 2 tests.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] bad\n"
        "ended\n\n\n@began: 1\n"
    )


def test_test_probes_as_json() -> None:
    lines = [json.loads(line) for line in run("--test", "-f", "json", "-e", PROGRAM).stdout.splitlines()]
    results = [line["data"] for line in lines if line["type"] == "test_result"]
    assert [(name, r["passed"], r["output"]) for data in results for name, r in data.items()] == [
        ("good", True, ""),
        ("bad", False, "said\n"),
        ("silent", True, "not shown\n"),
    ]
    assert all(r["duration"] > 0 for data in results for r in data.values())


@pytest.mark.entry("probe:bench")
def test_bench_probes() -> None:
    done = run("--bench", "-e", PROGRAM)
    head, _, hundred, nothing, *rest = done.stdout.splitlines()
    assert (head.split(), done.returncode) == (["Benchmark", "Time(ns)", "Iterations"], 0)
    rounds = int(hundred.split()[2]) + 20
    assert int(hundred.split()[1]) > int(nothing.split()[1])
    assert rest == ["ended", "", "", f"@: {100 * rounds}", "@began: 1"]


def test_probes_of_another_purpose() -> None:
    refused = run("-e", "test:alone { return 0; }")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("ERROR: No probes attached; use --test to run test probes")
    assert run("--bench", "-e", "test:alone { }").stderr == "ERROR: No bench probes in the program.\n"
    assert run("-e", 'test:alone { } begin { print("only this"); }').stdout == "only this\n\n\n"


@pytest.mark.entry("probe:self")
def test_self_signal() -> None:
    text = 'self:signal:SIGUSR1 { printf("first "); } self:signal:SIGUSR1 { @n++; printf("%d\\n", @n); if (@n == 2) { exit(); } }'
    process = subprocess.Popen([KUBEBPF, "run", "-e", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "Attached 2 probes\n"
    for _ in range(2):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.3)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("first 1\nfirst 2\n\n\n@n: 2\n", 0)
