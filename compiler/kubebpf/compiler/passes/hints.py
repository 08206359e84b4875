"""Hints for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable

from kubebpf.compiler.kernel.view import closest


def did_you_mean(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """One line naming the likeliest candidates, or nothing."""
    near = closest(name, candidates)
    return (f"Did you mean {' or '.join(repr(n) for n in near)}?",) if near else ()
