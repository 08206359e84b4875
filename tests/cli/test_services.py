"""The options of the two services are those that their `run` functions take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

from kubebpf.agent.main import run as run_agent
from kubebpf.cli.services import agent, operator
from kubebpf.operator.main import run as run_operator


@pytest.mark.parametrize(("command", "run"), [(agent, run_agent), (operator, run_operator)])
def test_options_and_parameters_agree(command: click.Command, run: Callable[..., Any]) -> None:
    assert {parameter.name for parameter in command.params} == set(inspect.signature(run).parameters)
