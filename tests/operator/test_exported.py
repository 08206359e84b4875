"""What the operator says of spec.metrics."""

from __future__ import annotations

from typing import Any

import pytest

from kubebpf.operator.exported import program_problems, read_metrics
from kubebpf.operator.model import parse_spec
from support.programs import compiled


def problems(*rows: Any) -> tuple[str, ...]:
    return parse_spec({"program": "begin { }", "metrics": list(rows)})[1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"map": "@x", "name": "latency_us", "labels": ["comm"]}, ()),
        ({"map": "@x"}, ("spec.metrics[0]: a map and the name of a metric are needed",)),
        ("@x", ("spec.metrics[0]: a map and the name of a metric are needed",)),
        ({"map": "@x", "name": "agent_x"}, ("spec.metrics[0].name: kubebpf_agent_… is kubebpf's own",)),
        ({"map": "@x", "name": "x", "labels": ["a-b"]}, ("spec.metrics[0].labels: not a list of names",)),
        ({"map": "@x", "name": "x", "labels": ["a", "a"]}, ("spec.metrics[0].labels: one name twice",)),
        (
            {"map": "@x", "name": "x", "labels": ["node"]},
            ("spec.metrics[0].labels: every sample has trace, trace_namespace, node, le of its own; not node",),
        ),
    ],
)
def test_entries(row: Any, said: tuple[str, ...]) -> None:
    assert problems(row) == said


@pytest.mark.btf
def test_entries_name_maps_of_the_program() -> None:
    elf = compiled('begin { @usecs = hist(1); @s = "a"; @t = tseries(1, 1s, 5); @n = 5; }').elf
    rows = [{"map": f"@{name}", "name": "x"} for name in ("usecs", "n", "usec", "s", "t")]
    assert program_problems(read_metrics(rows), elf) == [
        "spec.metrics[2].map: the program has no map @usec; it has @n, @s, @t, @usecs",
        "spec.metrics[3].map: the values of @s are no numbers",
        "spec.metrics[4].map: @t is a time series; Prometheus makes its own",
    ]
