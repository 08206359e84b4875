"""kopf's side: indexes that mirror the cluster, and events that only say which trace wants a look.

    kopf run -A -m kubebpf.operator.handlers         (settings from KUBEBPF_… variables)

Handlers are doors. There is no create, update or delete handler, no timer and no daemon: kopf therefore adds no finalizer and no
annotation, and a deletion never waits for the operator.

All of them are coroutines, so that they run in the loop's thread: plain functions kopf calls in threads of its own, and neither
the queue nor the store may be changed while a task goes through it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import tempfile
from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import kopf

from kubebpf.operator.app import Operator
from kubebpf.operator.config import Config
from kubebpf.operator.model import GROUP, VERSION, parse_bpf_node, parse_node, parse_report, parse_trace, report_part

logger = logging.getLogger(__name__)

TRACES = (GROUP, VERSION, "bpftraces")
CLUSTER_TRACES = (GROUP, VERSION, "clusterbpftraces")
REPORTS = (GROUP, VERSION, "bpftracereports")
NODES = ("", "v1", "nodes")
BPF_NODES = (GROUP, VERSION, "bpfnodes")


class Backoffs:
    """Pauses in seconds after a request of kopf's that failed: without end, as no outage may be too long; with jitter."""

    def __iter__(self) -> Iterator[float]:
        """From half a second to five."""
        pauses = chain((0.5, 1.0, 2.0, 3.0), repeat(5.0))
        return (pause * random.uniform(0.7, 1.3) for pause in pauses)


@kopf.on.startup()
async def start(memo: kopf.Memo, settings: kopf.OperatorSettings, **_: Any) -> None:
    """Quiet settings, and the operator's own tasks."""
    settings.posting.enabled = False
    settings.scanning.disabled = False
    settings.watching.server_timeout = 600
    settings.networking.error_backoffs = Backoffs()
    settings.queueing.exit_timeout = 1.0
    operator = Operator(memo.get("config") or Config.from_environment())
    memo.operator = operator
    if (webhook := operator.config.webhook) is not None:
        folder = tempfile.TemporaryDirectory(prefix="kubebpf-webhook-")
        memo.webhook_files = folder
        await operator.prepare_webhook(Path(folder.name))
        settings.admission.server = kopf.WebhookServer(
            addr="0.0.0.0",
            port=webhook.port,
            host=webhook.hosts[0],
            certfile=f"{folder.name}/tls.crt",
            pkeyfile=f"{folder.name}/tls.key",
            cafile=f"{folder.name}/ca.crt",
        )
        # The chart owns the configurations: kopf's own would stay behind after a crash.
        settings.admission.managed = None
    memo.task = asyncio.create_task(operator.run(), name="kubebpf operator")
    memo.task.add_done_callback(_end_with)


def _end_with(task: asyncio.Task[None]) -> None:
    """A mistake of ours ends the whole process, which is started again: half an operator looks healthy and does nothing."""
    if not task.cancelled() and (error := task.exception()):
        logger.critical("the operator has failed", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """End the operator's own tasks, the compiler's process with them."""
    if stop_flag := memo.get("stop_flag"):
        stop_flag.set()  # kopf's task that waits for it is not cancelled, and would be waited for for 5 s
    memo.task.cancel()
    await asyncio.gather(memo.task, return_exceptions=True)


@kopf.index(*TRACES, id="traces")
@kopf.index(*CLUSTER_TRACES, id="clustertraces")
async def index_trace(body: kopf.Body, **_: Any) -> dict[str, object]:
    """Traces by uid."""
    trace = parse_trace(body)
    return {trace.key.uid: trace}


@kopf.index(*REPORTS, id="reports")
async def index_report(body: kopf.Body, **_: Any) -> dict[str, object]:
    """Reports by the uid of their trace."""
    report = parse_report(body)
    return {report.trace_uid: report} if report else {}


@kopf.index(*NODES, id="nodes")
async def index_node(body: kopf.Body, **_: Any) -> dict[str, object]:
    """Nodes by name."""
    node = parse_node(body)
    return {node.name: node}


@kopf.index(*BPF_NODES, id="bpfnodes")
async def index_bpf_node(body: kopf.Body, **_: Any) -> dict[str, object]:
    """What is known of the nodes' kernels, by name."""
    node = parse_bpf_node(body)
    return {node.name: node}


@kopf.on.event(*TRACES, id="trace_changed")
@kopf.on.event(*CLUSTER_TRACES, id="cluster_trace_changed")
async def trace_changed(memo: kopf.Memo, body: kopf.Body, type: str | None, **indexes: Any) -> None:
    """A trace came, changed or went."""
    operator = _operator(memo, indexes, type)
    operator.trace_changed(parse_trace(body), gone=type == "DELETED")


@kopf.on.event(*REPORTS, id="report_changed")
async def report_changed(memo: kopf.Memo, body: kopf.Body, type: str | None, **indexes: Any) -> None:
    """A report came, changed or went."""
    operator = _operator(memo, indexes, type)
    if part := report_part(body):
        operator.report_changed(*part, gone=type == "DELETED")


@kopf.on.event(*NODES, id="node_changed")
async def node_changed(memo: kopf.Memo, body: kopf.Body, type: str | None, **indexes: Any) -> None:
    """A node came, changed or went."""
    operator = _operator(memo, indexes, type)
    operator.node_changed(parse_node(body), gone=type == "DELETED")


@kopf.on.event(*BPF_NODES, id="bpf_node_changed")
async def bpf_node_changed(memo: kopf.Memo, body: kopf.Body, type: str | None, **indexes: Any) -> None:
    """An agent has told of its node's kernel."""
    operator = _operator(memo, indexes, type)
    operator.bpf_node_changed(parse_bpf_node(body), gone=type == "DELETED")


def _operator(memo: kopf.Memo, indexes: Mapping[str, Any], type_: str | None) -> Operator:
    operator: Operator = memo.operator
    if type_ is None:
        operator.listed()
    operator.see(*(indexes[name] for name in ("traces", "clustertraces", "reports", "nodes", "bpfnodes")))
    return operator
