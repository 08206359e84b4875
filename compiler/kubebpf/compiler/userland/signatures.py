"""The signatures of functions, each binary's debug information read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubebpf.compiler.userland.programs import FoundFunction

if TYPE_CHECKING:
    from kubebpf.compiler.userland.dwarf import Dwarf, Signature


class Signatures:
    """What was read so far."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[Any, Dwarf]] = {}
        self._known: dict[tuple[int, int], Signature | None] = {}

    def of(self, function: FoundFunction) -> Signature | None:
        """The signature of a function; None where no debug information has it."""
        if function.debug is None:
            return None
        key = (id(function.debug), function.address)
        if key not in self._known:
            self._known[key] = self._dwarf(function.debug).function(function.address)
        return self._known[key]

    def _dwarf(self, debug: Any) -> Dwarf:
        # Few programs ask for parameters, and the readers of DWARF take time to import.
        from kubebpf.compiler.userland.dwarf import Dwarf

        if id(debug) not in self._read:
            self._read[id(debug)] = (debug, Dwarf(debug, len(self._read) + 1))
        return self._read[id(debug)][1]
