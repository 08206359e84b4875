"""The agent of one node, as `kubebpf agent` starts it.

run(node_name="node-a", namespace="kubebpf-system", kubeconfig=Path("kubeconfig"))     -> until SIGTERM or SIGINT

Standard output carries the programs' printed lines, one JSON object each; the agent's own log goes to standard error.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kubernetes.config import ConfigException

from kubebpf.agent.cluster.agent import Agent
from kubebpf.agent.cluster.api import Api
from kubebpf.agent.cluster.cost import NODE_MIB, TRACE_MIB
from kubebpf.agent.cluster.pinned import DEFAULT
from kubebpf.agent.cluster.report import Line
from kubebpf.agent.cluster.settings import Settings
from kubebpf.agent.cluster.trace import TraceName
from kubebpf.agent.libbpf.errors import LibbpfMissingError
from kubebpf.agent.libbpf.library import lib
from kubebpf.agent.output.files import Files
from kubebpf.agent.pods.cgroups import NoCgroupMountError, find_mount
from kubebpf.agent.pods.directory import PodDirectory
from kubebpf.agent.pods.watcher import CgroupWatcher

if TYPE_CHECKING:
    from kubebpf.agent.cluster.metrics import Metrics

log = logging.getLogger(__name__)

NAMESPACE = "kubebpf-system"
NODE_ROOT = Path("/proc/1/root")  # the agent shares the node's pid namespace
# What the client library lets through when a file is no kubeconfig: text of another encoding, no YAML, YAML of another form.
_MALFORMED = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the command line says.

    Args:
        node_name: the Node object's name.
        namespace: where the operator keeps compiled objects, and where reports of ClusterBpfTraces live.
        kubeconfig: None: as the ServiceAccount of this pod.
        cgroup_root: the cgroup v2 mount, or a directory in it; None: found in /proc/self/mountinfo.
        allow_unsafe: whether programs with unsafe helpers may run here.
        trusted_keys: a folder of public keys (*.pub) that are trusted instead of those that the operator publishes.
        show_file: patterns of the files of this node that cat() may read.
        packet_folder: where files of skboutput() are kept, in a folder for each trace; None: nowhere.
        packet_mib: how many MiB such a file has at most.
        pins: a folder in a bpffs where traces are pinned, so that the next agent takes them up; "": nowhere.
        trace_memory_mib, node_memory_mib: that the maps of one trace, and of all, may take; 0: no limit.
        daemonset: of this agent, in `namespace`; when it is deleted, the agent removes its pins. Empty: they always stay.
        btf: a file that stands for /sys/kernel/btf/vmlinux: relocations are made by it, and its digest is reported.
        metrics: HOST:PORT where Prometheus may ask; empty: nowhere.
        log_format: text or json.
    """

    node_name: str
    namespace: str = NAMESPACE
    kubeconfig: Path | None = None
    cgroup_root: Path | None = None
    allow_unsafe: bool = False
    trusted_keys: Path | None = None
    show_file: Sequence[str] = ()
    packet_folder: Path | None = None
    packet_mib: int = 64
    pins: str = str(DEFAULT)
    trace_memory_mib: int = TRACE_MIB
    node_memory_mib: int = NODE_MIB
    daemonset: str = ""
    btf: Path | None = None
    metrics: str = ""
    log_format: str = "text"
    log_level: str = "INFO"

    def settings(self) -> Settings:
        """Of the agent.

        Raises:
            MetricsError: metrics cannot be served there.
        """
        return Settings(
            self.node_name,
            self.namespace,
            self.allow_unsafe,
            self.trusted_keys,
            lambda name, line: print_line(name, self.node_name, line),
            Files(tuple(self.show_file), NODE_ROOT, self.packet_folder, self.packet_mib << 20),
            Path(self.pins) if self.pins else None,
            self.trace_memory_mib,
            self.node_memory_mib,
            self.daemonset,
            self.btf,
            _metrics(self.node_name, self.metrics) if self.metrics else None,
        )


def run(**options: Any) -> int:
    """Be the agent of a node until SIGTERM or SIGINT.

    Args:
        options: of Command.

    Returns:
        the process's exit status: 0, or 1 when this machine or its configuration cannot run an agent (told on standard error).
    """
    command = Command(**options)
    _configure_log(command.log_format, command.log_level)
    try:
        lib()
        directory = PodDirectory(find_mount(command.cgroup_root))
        api = _connect(command.kubeconfig)
        settings = command.settings()
    except (NoCgroupMountError, LibbpfMissingError, ConfigException, MetricsError) as error:
        log.error("%s", error)
        return 1
    _serve(Agent(settings, api, directory), directory)
    return 0


class MetricsError(Exception):
    """Metrics cannot be served where they should be."""


def _metrics(node: str, address: str) -> Metrics:
    from kubebpf.agent.cluster.metrics import Metrics

    host, _, port = address.rpartition(":")
    made = Metrics(node)
    try:
        log.info("metrics are served at port %d", made.serve(host.strip("[]"), int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise MetricsError(f"--metrics {address}: {error}") from error
    return made


def _connect(kubeconfig: Path | None) -> Api:
    try:
        return Api.connect(kubeconfig)
    except _MALFORMED as error:
        said = " ".join(str(error).split())
        raise ConfigException(f"{kubeconfig} is no kubeconfig file: {said}") from error


def _serve(agent: Agent, directory: PodDirectory) -> None:
    watcher = CgroupWatcher(directory, agent.wake)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: agent.stop())
    watcher.start()
    try:
        agent.run()
    finally:
        watcher.close()


def print_line(name: TraceName, node: str, line: Line) -> None:
    """A printed line as a JSON object on standard output, with trace, node and pod for whoever collects logs."""
    said: dict[str, Any] = {"trace": name.as_json(), "node": node} | line.as_json()
    # Flushed: a line that waits in a buffer is lost when the process is killed.
    print(json.dumps(said, ensure_ascii=False), flush=True)


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The object's text."""
        said = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def _configure_log(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
