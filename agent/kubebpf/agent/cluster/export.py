"""Which maps of a trace are shown as metrics, as `spec.metrics` says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Export:
    """One entry of `spec.metrics`.

    Args:
        map: as the program spells it.
        name: of the metric, without its prefix and, for counters, without `_total`.
        help: its text.
        labels: names for the parts of the key, in their order; those that are missing are named by position.
    """

    map: str
    name: str
    help: str = ""
    labels: tuple[str, ...] = ()

    @classmethod
    def from_spec(cls, said: object) -> tuple[Export, ...]:
        """The entries of a spec; what is none is left out."""
        rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
        made = [
            cls(str(row.get("map")), str(row.get("name")), str(row.get("help") or ""), tuple(map(str, row.get("labels") or ())))
            for row in rows
        ]
        return tuple(export for export in made if _NAME.fullmatch(export.name))
