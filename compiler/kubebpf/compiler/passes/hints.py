"""Hints for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable

from kubebpf.compiler.kernel.view import closest

SHOWN = 12  # names that a hint lists


def fields_hint(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """As did_you_mean; where nothing is near, all names when these are few."""
    known = list(names)
    all_ = (f"There is {', '.join(known)}.",) if 0 < len(known) <= SHOWN else ()
    return did_you_mean(name, known) or all_


def did_you_mean(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """One line naming the likeliest candidates, or nothing."""
    near = closest(name, candidates)
    return (f"Did you mean {' or '.join(repr(n) for n in near)}?",) if near else ()
