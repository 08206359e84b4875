"""Moments as text: strftime(3) and the three letters that strftime() of the language adds.

format_time(1_500_000_000, "%H:%M:%S.%f", utc=True)   -> "00:00:01.500000"
"""

from __future__ import annotations

import re
import time

_FRACTION = re.compile(r"%(.)", re.DOTALL)
_DIGITS = {"f": (1_000, 6), "k": (1, 9), "l": (1_000_000, 3)}


def format_time(ns: int, format: str, *, utc: bool = False) -> str:
    """The moment in the words of `format`.

    Args:
        ns: nanoseconds since 1970.
        format: of strftime(3); beside it `%f` is microseconds in six digits, `%k` nanoseconds in nine, `%l` milliseconds in
            three, as in bpftrace (its src/bpftrace.cpp, resolve_timestamp).
        utc: not the local time zone.

    Returns:
        The text; `(?)` when the moment has no calendar date.
    """
    seconds, rest = divmod(ns, 1_000_000_000)

    def fraction(match: re.Match[str]) -> str:
        if match[1] not in _DIGITS:
            return match[0]
        divisor, digits = _DIGITS[match[1]]
        return f"{rest // divisor:0{digits}}"

    return format_clock(seconds, _FRACTION.sub(fraction, format), utc=utc)


def format_clock(seconds: int, format: str, *, utc: bool = False) -> str:
    """The same with strftime(3) alone, as time() prints: `%k` and `%l` are the hour there, and `%f` is nothing."""
    try:
        broken = time.gmtime(seconds) if utc else time.localtime(seconds)
        return time.strftime(format.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), broken)
    except (OverflowError, ValueError, OSError):
        return "(?)"
