"""What bpftrace would have printed of a trace's maps at its end: `status.results.text`."""

from __future__ import annotations

from collections.abc import Iterable

from kubebpf.compiler.artifact.state import from_json
from kubebpf.compiler.artifact.text import maps_text
from kubebpf.operator.values import Json


def picture(maps: Iterable[Json]) -> str:
    """The text of maps in their JSON form, as `merge.Map.write` gives it."""
    return maps_text(from_json(item) for item in maps)
