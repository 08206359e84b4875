"""What it costs to start: one printf and out, interleaved, so that what else the machine does meets both alike."""

from __future__ import annotations

from collections.abc import Sequence

from tools import Cost, Tool, costs

PROGRAM = 'begin { printf("hi\\n"); exit(); }'


def hello(tools: Sequence[Tool], rounds: int) -> dict[str, Cost]:
    """Start every tool so many times.

    Returns:
        the medians, by the tool's name.
    """
    found = costs([tool.command("-e", PROGRAM) for tool in tools], rounds)
    return {tool.name: cost for tool, cost in zip(tools, found, strict=True)}
