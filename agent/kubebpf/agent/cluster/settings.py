"""How an agent is set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kubebpf.agent.cluster.cost import NODE_MIB, TRACE_MIB
from kubebpf.agent.cluster.report import Line
from kubebpf.agent.cluster.trace import TraceName
from kubebpf.agent.output.files import NONE, Files

if TYPE_CHECKING:
    from kubebpf.agent.cluster.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Settings:
    """How an agent is set up.

    Args:
        node: the node's name.
        namespace: where the operator keeps objects, and where reports of ClusterBpfTraces live.
        allow_unsafe: whether programs with unsafe helpers may run on this node.
        trusted_keys: a folder of public keys that are trusted instead of those that the operator publishes.
        on_line: gets every printed line.
        files: that cat() may read.
        pins: a folder in a bpffs where sessions are pinned, so that the next agent takes them up; None: nowhere.
        trace_mib, node_mib: MiB that the maps of one trace, and of all, may take; 0: no limit.
        daemonset: to which the agent belongs; when it is deleted, the agent takes its pins along. Empty: pins always stay.
        metrics: what Prometheus sees; None: nothing.
        btf: the kernel's type information, where that is not what the kernel itself shows.
    """

    node: str
    namespace: str
    allow_unsafe: bool = False
    trusted_keys: Path | None = None
    on_line: Callable[[TraceName, Line], None] = lambda name, line: None
    files: Files = NONE
    pins: Path | None = None
    trace_mib: int = TRACE_MIB
    node_mib: int = NODE_MIB
    daemonset: str = ""
    btf: Path | None = None
    metrics: Metrics | None = None
