"""The addresses of user processes that a session has put into words: an ended process has no mappings for the next agent.

places = KnownPlaces()
places.note(4711, 0x5588de0a1190, place)   -> the place; or what an earlier process knew, when nothing says it any more
places.rows()                              -> for `recall` of a later process
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kubebpf.agent.symbols.place import Place

MOST = 8192  # more than the frames of the stacks in a report

Key = tuple[int, int]  # process, address


class KnownPlaces:
    """See the module. `version` changes with what is known."""

    def __init__(self) -> None:
        self.version = 0
        self._known: dict[Key, Place] = {}
        self._recalled: dict[Key, Place] = {}

    def note(self, pid: int, address: int, place: Place | None) -> Place | None:
        """Remember an answer; without one, what was recalled of this address."""
        key = pid, address
        if place is None:
            return self._recalled.get(key)
        if self._known.get(key) != place:
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[key] = place
            self.version += 1
        return place

    def rows(self) -> list[tuple[int, int, str, int, str]]:
        """What is known: process, address, function, offset, module."""
        return [(pid, address, at.name, at.offset, at.module) for (pid, address), at in self._known.items()]

    def recall(self, rows: Iterable[Sequence[Any]]) -> None:
        """What an earlier process knew.

        Raises:
            ValueError, TypeError: these are no rows.
        """
        for pid, address, name, offset, module in rows:
            self._recalled[int(pid), int(address)] = Place(str(name), int(offset), str(module))
        self._known = dict(self._recalled)
