"""The options of the two services are those that their `run` functions take."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from kubebpf.agent.main import Command as AgentCommand
from kubebpf.cli.services import agent, operator
from kubebpf.operator.main import run as run_operator

KUBEBPF = str(Path(sys.executable).with_name("kubebpf"))
NO_SUCH_FILES = b"""\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", certificate-authority: /no/such}}]
users: [{name: u, user: {client-certificate: /no/such, client-key: /no/such}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.mark.parametrize(("command", "run"), [(agent, AgentCommand), (operator, run_operator)])
def test_options_and_parameters_agree(command: click.Command, run: Callable[..., Any]) -> None:
    assert {parameter.name for parameter in command.params} == set(inspect.signature(run).parameters)


@pytest.mark.parametrize("service", ["operator", "agent"])
@pytest.mark.parametrize(
    "content",
    [
        b"a: [\n",
        b"a: b\n",
        b"",
        b"only words\n",
        b"- a\n",
        b"\xe0\xff",
        b"current-context: x\ncontexts: 5\n",
        NO_SUCH_FILES,
    ],
)
def test_what_is_no_kubeconfig_is_told_in_one_line(service: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    done = subprocess.run(
        [KUBEBPF, service, "--kubeconfig", str(file)], capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert " ERROR " in done.stderr and ("kube" in done.stderr or "/no/such" in done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--btf", "/no/such"), "File '/no/such' does not exist"), (("--status-interval", "0"), "0.0 is not in the range x>0")],
)
def test_options_that_cannot_be_meant(words: tuple[str, ...], message: str) -> None:
    done = subprocess.run([KUBEBPF, "operator", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
