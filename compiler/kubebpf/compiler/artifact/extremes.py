"""How min and max keep their value: as an unsigned number of which the greater one always wins, so that nothing is a 0.

    max of unsigned numbers    the number
    max of signed numbers      the number with its sign bit turned over: -2**63 is 0
    min                        the same, all bits turned over

A cell of zeros then takes any value as its first, and a compare-exchange of one word loses no update. Each form is one
exclusive-or, which is its own inverse.
"""

from __future__ import annotations

_ALL = 2**64 - 1


def mask(kind: str, signed: bool) -> int:
    """The 64-bit number whose exclusive-or turns a value into its kept form and back.

    Args:
        kind: min or max.
        signed: whether the values are.
    """
    return (1 << 63 if signed else 0) ^ (_ALL if kind == "min" else 0)
