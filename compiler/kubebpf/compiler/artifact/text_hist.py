"""Histograms as text: one line a bucket, a bar of at most 52 `@`.

[16, 32)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
[32, 64)               2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
"""

from __future__ import annotations

import struct

from kubebpf.compiler.artifact.cells import Histogram
from kubebpf.compiler.artifact.histogram import buckets
from kubebpf.compiler.artifact.order import divide

WIDTH = 52


def histogram_text(kind: str, params: tuple[int, ...], cell: Histogram, div: int = 0) -> str:
    """The lines of a histogram, each with its newline; none when nothing was counted.

    Args:
        kind: hist or lhist.
        params: of the kind.
        cell: the counts.
        div: every count is divided by it; 0 for not at all. Which lines there are is decided before the division.
    """
    rows = [(bucket.label, divide(bucket.count, div)) for bucket in buckets(kind, params, cell.slots)]
    greatest = max((count for _, count in rows), default=0)
    return "".join(f"{label:<16}{count:>8} |{'@' * bar(count, greatest):<{WIDTH}}|\n" for label, count in rows)


def bar(count: int, greatest: int) -> int:
    """The length of a bar. In 32-bit floats, because bpftrace's is (text.cpp, 209), and 1/3 or 7/10 must round as there."""
    if not greatest:
        return 0
    return int(single(single(single(count) / single(greatest)) * WIDTH))


def single(number: float) -> float:
    """The number as a C float holds it."""
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    return float(rounded)
