"""`kubebpf operator` and `kubebpf agent`: the two long-running parts of a cluster."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from kubebpf.cli.problems import error_line

_KUBECONFIG = click.option(
    "--kubeconfig", metavar="FILE", default=None, envvar="KUBECONFIG", help="Else the service account of the pod."
)
_NAMESPACE = click.option("--namespace", default="kubebpf-system", show_default=True, help="Of the system: objects and leases.")


def _run(module: str, extra: str, **options: Any) -> int:
    try:
        start = import_module(module).run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kubebpf"):
            raise error_line(f"this installation has no {module}") from error
        raise error_line(f"{error.name} is not installed: pip install 'kubebpf[{extra}]'") from error
    result = start(**options)
    return result if isinstance(result, int) else 0


@click.command(short_help="Run the operator of a cluster.")
@_NAMESPACE
@_KUBECONFIG
def operator(namespace: str, kubeconfig: str | None) -> int:
    """Compile traces and merge the reports of the nodes. Runs until it gets SIGTERM."""
    return _run("kubebpf.operator.main", "operator", namespace=namespace, kubeconfig=kubeconfig)


@click.command(short_help="Run the agent of a node.")
@click.option("--node-name", envvar="NODE_NAME", default=lambda: os.uname().nodename, help="Of this node. [default: host name]")
@_NAMESPACE
@_KUBECONFIG
def agent(node_name: str, namespace: str, kubeconfig: str | None) -> int:
    """Load the traces of a cluster into this node's kernel and report what they count. Runs until it gets SIGTERM."""
    return _run("kubebpf.agent.main", "agent", node_name=node_name, namespace=namespace, kubeconfig=kubeconfig)
