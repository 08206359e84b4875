#!/usr/bin/env python3
"""Runs the program of each entry of the standard library in bpftrace and in kubebpf, on the same process, and shows what differs.

hack/side-by-side.py                     all of them, with the bpftrace of $BPFTRACE (a command line) or PATH
hack/side-by-side.py --filter str -v     entries with a text in their name, with what both said

Times, addresses and process ids are made alike first. What differs on purpose is explained beside the program
(`differs`, tests/support/entries) and counted apart. Ends with 1 if there are other differences.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from support.entries import titles  # noqa: E402
from support.entries.case import Case, Told, outcome, trimmed  # noqa: E402

_SECONDS = 30


def bpftrace() -> list[str]:
    """The command, or an end with a message."""
    words = shlex.split(os.environ.get("BPFTRACE", "")) or [found for found in [shutil.which("bpftrace")] if found]
    if not words:
        sys.exit("no bpftrace: set BPFTRACE, or put it on PATH")
    return words


def theirs(peer: list[str], case: Case) -> Told:
    """What bpftrace says of a case."""
    options = ["-q", "--unsafe", *(["-c", case.command] if case.command else [])]
    named = [f"--{name}" + (f"={value}" if value else "") for name, value in case.params]
    words = [*peer, *options, "-e", case.text(case.peer or case.program), *case.args, *(["--", *named] if named else [])]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        out, err = process.communicate(
            timeout=3 if not case.work and "exit()" not in case.program and not case.refused else _SECONDS
        )
    except subprocess.TimeoutExpired:
        process.terminate()  # a program without an end: what it said so far counts
        out, err = process.communicate(timeout=_SECONDS)
    return Told(trimmed(out), err.strip(), process.returncode)


def alike(text: str) -> str:
    """A text without what differs from run to run."""
    text = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b|\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME", text)
    text = re.sub(r"\b0x[0-9a-f]{5,}\b|\b[0-9a-f]{12,16}\b", "ADDRESS", text)
    text = re.sub(r"(?<![\w.])\d{4,}(?![\w.])", "NUMBER", text)
    return "\n".join(_unordered(text.split("\n")))


def _unordered(lines: list[str]) -> list[str]:
    """Keys of equal values come in any order there: entries of one line each stand sorted."""
    entries = iter(sorted(line for line in lines if line.startswith("@[") and line.count("]: ") == 1))
    return [next(entries) if line.startswith("@[") and line.count("]: ") == 1 else line for line in lines]


def main() -> int:
    """Run, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", dest="text", help="only entries with this text in their name")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what both said, also where it is the same")
    options = parser.parse_args()
    peer, same, explained, other = bpftrace(), 0, [], []
    for title, case in titles():
        if options.text not in title or case.kernel:
            continue
        them, us = theirs(peer, case), outcome(case)
        equal = bool(us.err) == bool(them.err) if case.refused else alike(us.out) == alike(them.out) and us.code == them.code
        same += equal
        if not equal:
            (explained if case.differs else other).append(title)
        if options.verbose or not (equal or case.differs):
            verdict = "same" if equal else f"DIFFERS ({case.differs or 'not explained'})"
            print(f"{title}: {verdict}\n  {case.text()}")
            print("  bpftrace: " + f"{them.out}\n{them.err}".strip().replace("\n", "\n            "))
            print("  kubebpf:  " + f"{us.out}\n{us.err}".strip().replace("\n", "\n            "), flush=True)
    print(f"{same} say the same")
    for what, names in (("differ on purpose", explained), ("differ, and nobody has said why", other)):
        print(f"{len(names)} {what}{': ' if names else ''}{', '.join(names)}")
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
