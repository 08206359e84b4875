"""User programs as the compiler sees them, where it can see them: in the local mode. An argument, like the kernel.

    [found] = programs.functions("/opt/app", "request", "")
    found.debug      the ELF file with its DWARF, or None

On a cluster the binary is on the nodes, and the compiler is not: there are no `Programs` then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class NoProgramError(Exception):
    """There is no such file, or it is no program."""


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A function of a binary.

    Args:
        name: its symbol.
        address: virtual.
        path: of the binary.
        debug: what has its DWARF: an `ELFFile` of pyelftools, or None.
    """

    name: str
    address: int
    path: str
    debug: Any


class Programs(Protocol):
    """Whoever finds binaries by the parts of attach points."""

    def functions(self, path: str, function: str, language: str) -> list[FoundFunction]:
        """The functions that an attach point means.

        Raises:
            NoProgramError: there is no such file.
        """
        ...

    def symbol_size(self, path: str, symbol: str) -> int | None:
        """The size of a function or variable in bytes; None for one that is not there."""
        ...
