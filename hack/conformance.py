#!/usr/bin/env python3
"""Runs conformance cases and shows what fails.

hack/conformance.py                          everything that this machine can run
hack/conformance.py --tier A --filter hist   run-time cases of a tier (its first letter) whose name or program has a text
hack/conformance.py --tier frontend -v       with the output of what failed
hack/conformance.py --raise-floor            write better figures into tests/conformance/floor.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

# This file has the name of the package that it uses: its own folder must not be searched.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from conformance import frontend, runtime, selftests  # noqa: E402
from conformance.cases import Case, Verdict, figures, floor, folder, judged, load, raise_floor  # noqa: E402


def chosen(tier: str, text: str) -> Iterator[tuple[Case, Verdict]]:
    """The cases of a tier that have a text in their name or program, judged."""
    if tier in ("", "frontend"):
        yield from ((case, frontend.judge(case)) for case in load("frontend") if text in frontend.name_of(case))
    if tier in ("", "selftests"):
        wanted = [case for case in load("selftests") if text in selftests.name_of(case) or text in case["body"]]
        yield from zip(
            [case | {"program": selftests.program_of(case)} for case in wanted], judged(wanted, selftests.judge), strict=True
        )
    if tier not in ("frontend", "selftests"):
        wanted = [case for case in load("runtime") if case["tier"][0] in (tier or "ABC")]
        wanted = [case for case in wanted if text in runtime.name_of(case) or text in case["program"]]
        yield from zip(wanted, judged(wanted, runtime.judge), strict=True)


def main() -> int:
    """Run, and print one line a failure and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", default="", help="frontend, selftests, or a run-time tier: A, B, C, E, H, K, X")
    parser.add_argument("--filter", default="", dest="text", help="only cases with this text")
    parser.add_argument("-v", "--verbose", action="store_true", help="show programs and output of failures")
    parser.add_argument("--raise-floor", action="store_true")
    options = parser.parse_args()
    if folder() is None:
        print("no conformance cases: set KUBEBPF_CONFORMANCE to their folder", file=sys.stderr)
        return 2
    verdicts = []
    for case, verdict in chosen(options.tier, options.text):
        verdicts.append(verdict)
        if verdict.why:
            print(f"FAIL {verdict.name}: {verdict.why}", flush=True)
        if verdict.why and options.verbose:
            print("  | " + "\n  | ".join([case["program"], *verdict.output.splitlines()]), flush=True)
    for tier, (passed, total) in figures(verdicts).items():
        print(f"{tier}: {passed} of {total} (floor {floor().get(tier, 0)})")
    if options.raise_floor:
        raise_floor(verdicts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
