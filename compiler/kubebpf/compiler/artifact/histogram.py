"""The buckets of hist and lhist: which numbers a slot counts, and how its bounds are spelled.

hist, k = 0, slot 6   counts [16, 32)
lhist(n, 0, 100, 10)  slot 0 counts (..., 0), slot 1 [0, 10), slot 11 [100, ...)
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_K = 5  # of hist: 2**k slots for each power of two
_BITS = 64
_SUFFIXES = ("", "K", "M", "G", "T", "P", "E")


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket: numbers from `low` to below `high`; None where it has no end. The labels spell the bounds."""

    low: int | None
    high: int | None
    count: int
    low_label: str = ""
    high_label: str = ""

    @property
    def label(self) -> str:
        """As text output heads its line."""
        if self.low is None:
            return f"(..., {self.high_label})"
        if self.high is None:
            return f"[{self.low_label}, ...)"
        # A suffix hides the unit, so only bare numbers can be single values.
        if self.high == self.low + 1 and self.low_label == str(self.low) and self.high_label == str(self.high):
            return f"[{self.low_label}]"
        return f"[{self.low_label}, {self.high_label})"


def slot_count(kind: str, params: tuple[int, ...]) -> int:
    """How many slots a histogram has; the last one, `slot_count - 1`, counts the greatest numbers.

    Args:
        kind: hist or lhist.
        params: of the kind: (k,), or (min, max, step).

    Raises:
        ValueError: the kind has other parameters, or these describe no histogram.
    """
    if kind == "hist":
        (k,) = params
        if not 0 <= k <= MAX_K:
            raise ValueError(f"hist with k = {k}")
        # A slot below 0, 2**k single values, and 2**k slots for each power of two from 2**k to 2**63.
        return 1 + (1 << k) + ((_BITS - k) << k)
    low, high, step = params
    if step <= 0 or high <= low:
        raise ValueError(f"lhist from {low} to {high} by {step}")
    return _steps(low, high, step) + 2


def _steps(low: int, high: int, step: int) -> int:
    # What whole steps leave of the range belongs to the last slot, so that "max and above" is "where they end and above".
    return (high - low) // step


def buckets(kind: str, params: tuple[int, ...], slots: tuple[tuple[int, int], ...]) -> list[Bucket]:
    """The buckets from the first to the last that is not empty, those between them included.

    Args:
        kind: hist or lhist.
        params: of the kind: (k,), or (min, max, step).
        slots: pairs of slot and count, ascending.
    """
    if not slots:
        return []
    counts = dict(slots)
    make = _hist if kind == "hist" else _lhist
    return [make(params, slot, counts.get(slot, 0)) for slot in range(slots[0][0], slots[-1][0] + 1)]


def _hist(params: tuple[int, ...], slot: int, count: int) -> Bucket:
    (k,) = params
    if slot == 0:
        return Bucket(None, 0, count, "", "0")
    low, low_label = _hist_start(k, slot)
    high, high_label = _hist_start(k, slot + 1)
    return Bucket(low, high, count, low_label, high_label)


def _hist_start(k: int, slot: int) -> tuple[int, str]:
    # The slots after the first 2**k single values come in groups of 2**k, each group with buckets twice as wide as the last.
    index = slot - 1
    if index < 1 << k:
        return index, str(index)
    shift = (index >> k) - 1
    mantissa = (1 << k) + (index & ((1 << k) - 1))
    # The unit follows the width of the bucket, not the number: `[896, 1024)` but `[3584, 4K)` (types_format.cpp, 356).
    return mantissa << shift, f"{mantissa << shift % 10}{_SUFFIXES[shift // 10]}"


def _lhist(params: tuple[int, ...], slot: int, count: int) -> Bucket:
    minimum, maximum, step = params
    steps = _steps(minimum, maximum, step)
    low, high = minimum + (slot - 1) * step, minimum + slot * step
    if slot == 0:
        return Bucket(None, minimum, count, "", _linear_label(minimum, step))
    if slot > steps:
        return Bucket(low, None, count, _linear_label(low, step), "")
    return Bucket(low, high, count, _linear_label(low, step), _linear_label(high, step))


def _linear_label(number: int, step: int) -> str:
    # K and M only when the buckets are whole units wide (types_format.cpp, 434).
    if step % 1024 or number % 1024 or not number:
        return str(number)
    return f"{number >> 20}M" if number % (1 << 20) == 0 else f"{number >> 10}K"
