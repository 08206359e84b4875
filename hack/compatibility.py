#!/usr/bin/env python3
"""Makes docs/compatibility.md from what tests found and what is explained.

hack/compatibility.py                the page, from docs/compatibility/*.toml and results.json
hack/compatibility.py --measure      run the tests of all entries and probe providers first, here and in the virtual machine
hack/compatibility.py --conformance  run the conformance cases first, and keep their figures and failures
hack/compatibility.py --check        say whether the page is current

The explanations are data that people write: library.toml (entries, providers, output), frontend.toml (programs that are judged
otherwise). results.json is written by this command only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT / "tests")  # not this folder, where files have the names of packages
DATA, PAGE = ROOT / "docs/compatibility", ROOT / "docs/compatibility.md"
RESULTS = DATA / "results.json"
HERE = ("tests/kernel", "tests/cli/test_trials.py")
IN_VM = ("tests/vm/inside/test_entries.py", "tests/vm/inside/test_packets.py")
_FIGURE = re.compile(r"^(.+): (\d+) of (\d+) \(floor")

Json = dict[str, Any]


class Collector:
    """A plugin of pytest: outcomes by the name of the entry, from the marks."""

    def __init__(self) -> None:
        self._entries: dict[str, list[str]] = {}
        self.outcomes: dict[str, dict[str, int]] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Note what each test is about."""
        self._entries = {item.nodeid: [mark.args[0] for mark in item.iter_markers("entry")] for item in items}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count an outcome."""
        if report.when != "call" and report.outcome == "passed":
            return
        for name in self._entries[report.nodeid]:
            counted = self.outcomes.setdefault(name, {})
            counted[report.outcome] = counted.get(report.outcome, 0) + 1


def collect(paths: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Run the tests that are marked as an entry's."""
    import pytest

    found = Collector()
    pytest.main(["-q", "-m", "entry", "-p", "no:cacheprovider", *paths], plugins=[found])
    return found.outcomes


def measured() -> Json:
    """Outcomes of all entries, here and in the virtual machine, if there is one."""
    os.chdir(ROOT)
    here = collect(HERE)
    passed = {"KUBEBPF_IN_VM": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        ["hack/vm.sh", "run", sys.executable, "hack/compatibility.py", "--collect"],
        env=os.environ | passed | {"VM_PASS": " ".join(passed), "VM_TIMEOUT": "500"},
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("OUTCOMES ")]
    if not lines:
        sys.exit(f"the virtual machine gave no outcomes:\n{done.stdout[-3000:]}")
    kernel, machine = platform.release().split("-")[0], json.loads(lines[-1].removeprefix("OUTCOMES "))
    return {"kernels": [kernel, machine["kernel"]], "here": here, "machine": machine["outcomes"]}


def conformance() -> Json:
    """Figures and failures of the conformance cases that this machine can run."""
    done = subprocess.run([sys.executable, "hack/conformance.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    figures = {found[1]: [int(found[2]), int(found[3])] for line in lines if (found := _FIGURE.match(line))}
    failures = [line.removeprefix("FAIL ") for line in lines if line.startswith("FAIL ")]
    return {"figures": figures, "failures": failures}


# --- the page ---------------------------------------------------------------------------------------------------------


def page() -> str:
    """The whole text."""
    library, results = tomllib.loads((DATA / "library.toml").read_text()), json.loads(RESULTS.read_text())
    frontend = tomllib.loads((DATA / "frontend.toml").read_text())
    entries = library["entry"]
    status = Status(results)
    parts = (
        _HEAD.format(*results["kernels"]),
        _section("Entries of the standard library", _table([e for e in entries if not e.get("newer")], status)),
        _section("Newer entries", _table([e for e in entries if e.get("newer")], status)),
        _section("Probes", _table(library["provider"], lambda name: status(f"probe:{name}"))),
        _section("Output and actions", _differences(library["difference"])),
        _section("Programs that are judged otherwise", _judged(frontend["difference"])),
        _section("Conformance", _conformance(results.get("conformance", {}), library.get("failure", []))),
    )
    return "\n".join(parts)


_HEAD = """# How kubebpf compares with bpftrace

Programs of bpftrace run as they are. This page says, entry by entry, what was tested, what differs from bpftrace 0.27.1 and why,
and what an entry becomes in a cluster. `make compatibility` writes it: the first columns from tests on Linux {} and, for what
needs kprobes, on Linux {} in a virtual machine; the others from [docs/compatibility](compatibility/library.toml).
`hack/side-by-side.py` runs the same programs in bpftrace and compares the text.

**works**: its tests pass. **differs**: they pass, and the result is not that of bpftrace, for the reason given. **not here**:
neither kernel that was tested on can do it; what is then said was tested. **fails**: a test fails.
"""
_NOT_HERE = {
    "override": "Debian's kernels have no function error injection: the program is made, and the kernel's refusal is explained",
    "probe:hardware": "virtual machines have no counters: the attach error is explained",
}


class Status:
    """What tests say of an entry: `status("strlen")` is ("works", "")."""

    def __init__(self, results: Json) -> None:
        self._runs = (results["here"], results["machine"])

    def __call__(self, name: str) -> tuple[str, str]:
        """A word, and the reason where the word needs one."""
        runs = [run[name] for run in self._runs if name in run]
        if not any(run.get("passed") for run in runs):
            return ("fails" if any(run.get("failed") for run in runs) else "untested"), ""
        if any(run.get("failed") for run in runs):
            return "fails", ""
        return ("not here", _NOT_HERE[name]) if name in _NOT_HERE else ("works", "")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n"


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _table(rows: list[Json], status: Callable[[str], tuple[str, str]]) -> str:
    return _rows(("name", "", "what differs", "in a cluster"), [_row(row, *status(row["name"])) for row in rows])


def _row(row: Json, word: str, reason: str) -> tuple[str, ...]:
    differs = row.get("differs", "")
    if differs and word == "works":
        word = "differs"
    return f"`{row['name']}`", word, "; ".join(text for text in (differs, reason) if text), row.get("cluster") or "the same"


def _differences(rows: list[Json]) -> str:
    return _rows(
        ("what", "bpftrace", "kubebpf", "why"), [tuple(row[key] for key in ("what", "theirs", "ours", "why")) for row in rows]
    )


def _judged(rows: list[Json]) -> str:
    text = (
        "Of the programs that bpftrace's own tests of its front end judge, `kubebpf check --offline` judges these otherwise.\n\n"
    )
    ordered = [(f"`{row['case'].split(': ', 1)[1]}`", row["here"], row["reason"]) for row in rows]
    return text + _rows(("program", "here", "why"), ordered)


def _conformance(found: Json, explained: list[Json]) -> str:
    if not found:
        return "Not measured: `hack/compatibility.py --conformance` runs the cases, where they are at hand."
    figures = [(tier, str(passed), str(total)) for tier, (passed, total) in found["figures"].items()]
    why = {row["case"]: row["reason"] for row in explained}
    failures = [f for f in found["failures"] if "/" in f.split(":")[0]]
    lines = [(f"`{name}`", why.get(name, told)) for name, told in _failed(failures)]
    more = "\n\nRun-time cases that fail:\n\n" + _rows(("case", "why"), lines) if lines else "\n\nNo run-time case fails."
    return _rows(("cases", "pass", "of"), figures) + more


def _failed(failures: list[str]) -> Iterator[tuple[str, str]]:
    for failure in failures:
        name, _, told = failure.partition(": ")
        yield name, told


def main() -> int:
    """Measure what is asked for, then write or compare the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--conformance", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)  # in the virtual machine
    options = parser.parse_args()
    if options.collect:
        print("OUTCOMES " + json.dumps({"kernel": platform.release().split("-")[0].split("+")[0], "outcomes": collect(IN_VM)}))
        return 0
    results: Json = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.measure:
        results |= measured()
    if options.conformance:
        results["conformance"] = conformance()
    if options.measure or options.conformance:
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    if options.check:
        if PAGE.read_text() != page():
            print("docs/compatibility.md is not what docs/compatibility makes: run hack/compatibility.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
