#!/usr/bin/env python3
"""Compiles the programs of the conformance cases and loads them into this kernel, and shows what it refuses.

hack/loads.py                     all programs
hack/loads.py --filter usdt       those with a text
hack/loads.py --save DIR          also keep the objects, for another kernel
hack/loads.py --objects DIR       load kept objects, and compile nothing
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from conformance import loads  # noqa: E402
from kubebpf.compiler.artifact.artifact import Artifact  # noqa: E402


def kept(folder: Path) -> Iterator[tuple[str, Artifact]]:
    """The objects of a folder with their programs."""
    for path in sorted(folder.glob("*.o")):
        yield path.with_suffix(".bt").read_text(), Artifact.read(path.read_bytes())


def made(text: str, keep: Path | None) -> Iterator[tuple[str, Artifact]]:
    """The programs with a text that compile."""
    refused = crashed = 0
    for number, (program, unsafe) in enumerate(loads.programs().items()):
        if text not in program:
            continue
        try:
            artifact = loads.compiled(program, unsafe)
        except Exception as error:
            crashed += 1
            print(f"CRASH {program!r}: {type(error).__name__}: {error}"[:300], flush=True)
            continue
        if artifact is None:
            refused += 1
            continue
        if keep:
            (keep / f"{number:04}.o").write_bytes(artifact.elf)
            (keep / f"{number:04}.bt").write_text(program)
        yield program, artifact
    print(f"not compiled: {refused}, crashed: {crashed}")


def main() -> int:
    """Load, and print one line a failure and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", dest="text", help="only programs with this text")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--objects", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="also what is not on this kernel")
    options = parser.parse_args()
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for program, artifact in kept(options.objects) if options.objects else made(options.text, options.save):
        found = loads.judge(program, artifact)
        outcomes[found.outcome] += 1
        if found.outcome in (loads.REFUSED, loads.RAISED) or (options.verbose and found.why):
            print(f"{found.outcome.upper()} {found.program!r}\n    {found.why}", flush=True)
        if found.outcome == loads.IMPOSSIBLE:
            reasons[artifact.manifest.attaches[0].provider] += 1
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome}: {count}")
    for provider, count in sorted(reasons.items()):
        print(f"  {provider}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
