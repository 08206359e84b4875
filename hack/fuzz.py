#!/usr/bin/env python3
"""Throws programs at the compiler that nobody would write, and saves those that it takes badly.

hack/fuzz.py --inputs 100000 --seed 1            mutants of the corpus: check must never raise, hang or die
hack/fuzz.py --inputs 2000 --stage compile       the same with the code generation behind it
hack/fuzz.py --kind programs --inputs 2000       well-typed programs: they must compile
hack/fuzz.py --minutes 5                         as many as there is time for
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from fuzz.crew import Judge, crew  # noqa: E402
from fuzz.judge import judge, view  # noqa: E402
from fuzz.mutation import mutant  # noqa: E402
from fuzz.programs import must_compile, program  # noqa: E402
from fuzz.seeds import CORPUS, seeds  # noqa: E402

ENDLESS = 1 << 40


def main() -> int:
    """Run, print each kind of finding once, save its input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--kind", choices=("mutants", "programs"), default="mutants")
    parser.add_argument("--stage", choices=("check", "compile"), default="check")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", type=Path, default=CORPUS)
    options = parser.parse_args()

    def text(number: int) -> str:
        chance = random.Random(f"{options.seed}-{number}")
        return program(chance) if options.kind == "programs" else mutant(chance, seeds())

    judged: Judge = (
        (lambda number: must_compile(text(number)))
        if options.kind == "programs"
        else lambda number: judge(text(number), options.stage)
    )
    print(f"{len(seeds())} seeds, kernel view {view().digest[:12]}")  # both are made before the workers are forked
    inputs = options.inputs or (ENDLESS if options.minutes else 10_000)
    until = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    found: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    for number, finding in crew(range(inputs), judged, options.workers, until):
        key = finding.kind, finding.detail
        found[key] += 1
        if found[key] > (3 if finding.kind in ("slow", "killed", "format") else 1):
            continue
        data = text(number).encode("utf-8", "surrogateescape")
        path = options.save / f"{finding.kind}-{hashlib.sha256(data).hexdigest()[:8]}.bt"
        path.write_bytes(data)
        print(f"{finding.kind}: {finding.detail}\n    {path.name} ({number}): {data[:300]!r}", flush=True)
    for (kind, detail), count in found.most_common():
        print(f"{count:6} {kind}: {detail}")
    print(f"{time.monotonic() - began:.0f} s, {sum(found.values())} findings of {len(found)} kinds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
