"""The names of probe providers: long ones, short ones, old ones, and wildcards over them.

>>> resolve("kfunc"), resolve("U"), resolve("u"), resolve("BEGIN"), resolve("*ware")
('fentry', 'usdt', 'uprobe', 'begin', '*ware')
"""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase

PROVIDERS = (
    "begin",
    "end",
    "self",
    "test",
    "bench",
    "interval",
    "profile",
    "software",
    "hardware",
    "tracepoint",
    "rawtracepoint",
    "fentry",
    "fexit",
    "kprobe",
    "kretprobe",
    "uprobe",
    "uretprobe",
    "usdt",
    "watchpoint",
    "asyncwatchpoint",
    "iter",
)
"""Every provider by its long name."""

_SHORT = {
    "i": "interval",
    "p": "profile",
    "s": "software",
    "h": "hardware",
    "t": "tracepoint",
    "rt": "rawtracepoint",
    "f": "fentry",
    "kfunc": "fentry",
    "fr": "fexit",
    "kretfunc": "fexit",
    "k": "kprobe",
    "kr": "kretprobe",
    "u": "uprobe",
    "ur": "uretprobe",
    "w": "watchpoint",
    "aw": "asyncwatchpoint",
    "it": "iter",
}

_WITH_PATHS = frozenset({"uprobe", "uretprobe", "usdt", "iter", "watchpoint", "asyncwatchpoint"})


def resolve(name: str) -> str | None:
    """The long name of a provider; a wildcard stays one if any provider matches it; None for an unknown name."""
    if name == "U":  # The only name whose case matters: u is uprobe.
        return "usdt"
    lower = name.lower()
    lower = _SHORT.get(lower, lower)
    if lower in PROVIDERS:
        return lower
    if "*" in lower and any(fnmatchcase(provider, lower) for provider in PROVIDERS):
        return lower
    return None


def may_hold_path(name: str) -> bool:
    """Whether `/` can be a part of the attach point: it starts a predicate for the others."""
    provider = resolve(name)
    return provider is None or "*" in provider or provider in _WITH_PATHS


def similar(name: str) -> str | None:
    """The provider that somebody who wrote `name` may have meant."""
    matches = get_close_matches(name.lower(), PROVIDERS, n=1)
    return matches[0] if matches else None
