"""Where an address lies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """An address in words.

    Args:
        name: of the function that holds it.
        offset: in bytes from the function's start.
        module: the file that it was loaded from, as the process saw it; a kernel module's name; empty for the kernel itself.
    """

    name: str
    offset: int
    module: str = ""
