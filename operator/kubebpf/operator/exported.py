"""`spec.metrics`: what is wrong with it, by itself and for a program.

spec_problems([{"map": "@x", "name": "agent_x"}])  -> ["spec.metrics[0].name: kubebpf_agent_… is kubebpf's own"]
program_problems((("@usec", "latency"),), elf)     -> ["spec.metrics[0].map: the program has no map @usec; it has @usecs"]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.manifest import MapSchema
from kubebpf.compiler.artifact.types import DAggregate, DBool, DEnum, DInt

OWN = ("agent_", "operator_", "trace_")  # how the names of the agents' and the operator's own metrics go on
COMMON = ("trace", "trace_namespace", "node", "le")  # labels that samples have anyhow
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Named = tuple[str, str]  # the map, and the metric's name


def read_metrics(raw: object) -> tuple[Named, ...]:
    """The entries of a spec without problems."""
    return tuple((row["map"], row["name"]) for row in raw) if isinstance(raw, list) else ()


def spec_problems(raw: object) -> list[str]:
    """What is wrong with the entries themselves."""
    if raw is None:
        return []
    if not isinstance(raw, list):
        return ["spec.metrics: not a list"]
    return [f"spec.metrics[{i}]{problem}" for i, row in enumerate(raw) for problem in _row_problems(row)]


def _row_problems(row: object) -> list[str]:
    if not isinstance(row, dict) or not isinstance(row.get("map"), str) or not _NAME.fullmatch(str(row.get("name", ""))):
        return [": a map and the name of a metric are needed"]
    name, labels = str(row["name"]), row.get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) and _NAME.fullmatch(label) for label in labels):
        return [".labels: not a list of names"]
    taken = [label for label in labels if label in COMMON or label.startswith("__")]
    checks = (
        (not name.startswith(OWN), f".name: kubebpf_{name.split('_')[0]}_… is kubebpf's own"),
        (not taken, f".labels: every sample has {', '.join(COMMON)} of its own; not {', '.join(taken)}"),
        (len(set(labels)) == len(labels), ".labels: one name twice"),
    )
    return [problem for good, problem in checks if not good]


def program_problems(metrics: Sequence[Named], elf: bytes) -> list[str]:
    """What is wrong with the entries for a compiled program.

    Args:
        elf: the object.
    """
    if not metrics:
        return []
    maps = {schema.name: schema for schema in Artifact.read(elf).manifest.maps}
    said = [(i, name, _problem(name, maps)) for i, (name, _) in enumerate(metrics)]
    return [f"spec.metrics[{i}].map: {problem}" for i, name, problem in said if problem]


def _problem(name: str, maps: dict[str, MapSchema]) -> str:
    if name not in maps:
        return f"the program has no map {name}; it has {', '.join(sorted(maps)) or 'none'}"
    value = maps[name].value
    if isinstance(value, DAggregate):
        return f"{name} is a time series; Prometheus makes its own" if value.kind == "tseries" else ""
    return "" if isinstance(value, DInt | DBool | DEnum) else f"the values of {name} are no numbers"
