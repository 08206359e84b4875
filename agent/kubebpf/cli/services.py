"""`kubebpf operator` and `kubebpf agent`: the two long-running parts of a cluster."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_NAMESPACE = click.option("--namespace", default="kubebpf-system", show_default=True, help="Of the system: objects and leases.")


def _existing(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    # $KUBECONFIG may be a list of files.
    if path and os.pathsep not in str(path) and not path.is_file():
        raise click.BadParameter(f"there is no file {path}", ctx, param)
    return path


_KUBECONFIG = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    callback=_existing,
    envvar="KUBECONFIG",
    help="How to reach the API server. [default: the pod's service account]",
)


def _run(module: str, **options: Any) -> int:
    start = import_module(module).run
    gc.freeze()
    result = start(**options)
    return result if isinstance(result, int) else 0


@click.command(short_help="Run the operator of a cluster.")
@_NAMESPACE
@_KUBECONFIG
@click.option("--btf", type=_FILE, help="Compile for the kernel of this BTF file. [default: this machine's]")
@click.option(
    "--status-interval",
    type=click.FloatRange(0, min_open=True),
    default=15.0,
    show_default=True,
    help="Seconds between two writes of a trace's results.",
)
@click.option("--liveness", metavar="URL", help="Where to answer health probes: http://0.0.0.0:8080/healthz.")
@click.option("--metrics", default="", metavar="HOST:PORT", help="Where Prometheus may ask. [default: nowhere]")
@click.option(
    "--unsafe",
    type=click.Choice(["Never", "Reviewed", "Always"]),
    default="Reviewed",
    show_default=True,
    help="Who may use unsafe helpers: nobody, whoever has the verb useunsafe, everybody who may trace.",
)
@click.option("--webhook-port", type=click.IntRange(1, 65535), help="Serve the admission webhook here. [default: nowhere]")
@click.option("--webhook-host", "webhook_hosts", multiple=True, help="A name or address that API servers call it by.")
@click.option(
    "--webhook-configuration",
    "webhook_configurations",
    multiple=True,
    metavar="KIND/NAME",
    help="validating/NAME or mutating/NAME: a configuration whose caBundle is kept right.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every event and request.")
def operator(**options: Any) -> int:
    """Compile traces and merge the reports of the nodes. Runs until SIGTERM."""
    if options["webhook_port"] is not None and not options["webhook_hosts"]:
        raise click.UsageError("--webhook-port needs a --webhook-host")
    return _run("kubebpf.operator.main", **options)


@click.command(short_help="Run the agent of a node.")
@click.option("--node-name", envvar="NODE_NAME", default=lambda: os.uname().nodename, help="Of this node. [default: host name]")
@_NAMESPACE
@_KUBECONFIG
@click.option(
    "--cgroup-root", type=click.Path(path_type=Path), help="The cgroup v2 mount, or a directory in it. [default: found]"
)
@click.option("--allow-unsafe", is_flag=True, help="Run programs with unsafe helpers here.")
@click.option(
    "--trusted-keys",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of public keys (*.pub) that may sign objects. [default: those that the operator publishes]",
)
@click.option(
    "--show-file",
    multiple=True,
    metavar="PATTERN",
    help="A file of this node that cat() may read, such as /proc/loadavg or /proc/*/cmdline; may be repeated. [default: none]",
)
@click.option(
    "--packet-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files of skboutput() are kept, in a folder for each trace. [default: nowhere]",
)
@click.option("--packet-mib", type=click.IntRange(1), default=64, show_default=True, help="The most that such a file may have.")
@click.option(
    "--pins",
    default="/sys/fs/bpf/kubebpf",
    show_default=True,
    metavar="FOLDER",
    help="In a bpffs: traces outlive the agent here, and the next one takes them up. An empty one: nowhere.",
)
@click.option(
    "--daemonset",
    default="",
    metavar="NAME",
    help="To which this agent belongs: when it is deleted, pins go. [default: they stay]",
)
@click.option(
    "--trace-memory-mib", type=click.IntRange(0), default=64, show_default=True, help="For the maps of a trace; 0: no limit."
)
@click.option(
    "--node-memory-mib", type=click.IntRange(0), default=512, show_default=True, help="For the maps of all traces; 0: no limit."
)
@click.option("--btf", type=_FILE, help="The kernel's type information. [default: /sys/kernel/btf/vmlinux]")
@click.option("--metrics", default="", metavar="HOST:PORT", help="Where Prometheus may ask. [default: nowhere]")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--log-level", default="INFO", show_default=True)
def agent(**options: Any) -> int:
    """Load the traces of a cluster into this node's kernel and report what they count. Runs until SIGTERM."""
    return _run("kubebpf.agent.main", **options)
