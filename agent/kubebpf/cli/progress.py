"""A sign of life on standard error while something takes its time; nothing when that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def progress(words: str, quiet: bool = False) -> Iterator[None]:
    """Show a spinner with words until the block ends.

    Args:
        words: what is being done.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield
