"""What mutation starts from: the saved corpus, the examples, the goldens of diagnostics, the conformance programs if any.

seeds()   -> ['begin { print(1) }', …], the same list on every machine that has the same files
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from conformance import cases

TESTS = Path(__file__).resolve().parents[1]
CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = TESTS.parent / "examples"


def corpus() -> list[Path]:
    """Inputs that were a problem once, and some that hold much of the language."""
    return sorted(CORPUS.glob("*.bt"))


@cache
def seeds() -> tuple[str, ...]:
    """All programs, each once."""
    return tuple(dict.fromkeys(text for text in _all() if text.strip()))


def _all() -> Iterator[str]:
    for path in [*corpus(), *sorted(EXAMPLES.glob("*.bt")), *sorted(TESTS.glob("compiler/*/golden/*.bt"))]:
        yield read(path)
    for path in sorted(EXAMPLES.glob("*.yaml")):
        yield from _of_objects(path)
    if cases.folder() is not None:
        for name in ("frontend", "runtime"):
            yield from (case["program"] for case in cases.load(name))


def read(path: Path) -> str:
    """A file of the corpus: whatever its bytes are."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _of_objects(path: Path) -> Iterator[str]:
    for document in yaml.safe_load_all(path.read_text()):
        program = (document or {}).get("spec", {}).get("program")
        if isinstance(program, str):
            yield program
