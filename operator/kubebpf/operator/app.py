"""The operator without its framework: what the events mark, and the tasks that work the marks off."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubebpf.operator.api import PLURALS, Api, ApiError, GoneError
from kubebpf.operator.certificates import Certificates
from kubebpf.operator.compiling import Answer, Compiler
from kubebpf.operator.config import Config
from kubebpf.operator.leader import Elector
from kubebpf.operator.model import GROUP, BpfNode, Node, Report, Trace, TraceSpec, Uid, parse_trace
from kubebpf.operator.reconcile import Reconciler, is_settled, request_of
from kubebpf.operator.remembered import named_objects
from kubebpf.operator.review import VERB, is_reviewed, review
from kubebpf.operator.store import Index, Store
from kubebpf.operator.telemetry import LEADS
from kubebpf.operator.uploads import Uploads
from kubebpf.operator.views import Views
from kubebpf.operator.work import Queue

logger = logging.getLogger(__name__)

# What happens on all nodes is reported by them at about the same time, and a status is not written again for a while.
GROUP_SECONDS = 0.5
COMPARE_EVERY = 300.0  # seconds between two comparisons of what is seen with what is there, when no watch says it broke


class Operator:
    """One operator. Events mark, the queue looks, the caretaker cleans."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._api = Api.connect()
        self._store = Store()
        self._queue = Queue(self._look)
        views = Views(config.views)
        self._compiler = Compiler(config, self._queue.mark, views)
        self._uploads = Uploads(self._api, config.namespace, self._store, views, self._queue.mark)
        self._reconciler = Reconciler(config, self._api, self._store, self._compiler, self._uploads, views)
        self._elector = _elector(self._api, config)
        self._compiling: asyncio.Task[None] | None = None
        self._seen = asyncio.Event()
        self._caretaking = asyncio.Event()
        self._listed, self._compared = True, float("-inf")
        self._parts: dict[Uid, dict[str, object]] = {}
        self._nodes: dict[str, Node] = {}
        self._kernels: dict[str, str] = {}

    @property
    def config(self) -> Config:
        """What it was told."""
        return self._config

    def see(self, traces: Index, clustertraces: Index, reports: Index, nodes: Index, bpfnodes: Index) -> None:
        """The indexes, complete from the first event on."""
        self._store.bpfnodes = bpfnodes
        self._store.traces, self._store.clustertraces = traces, clustertraces
        self._store.reports, self._store.nodes = reports, nodes
        self._seen.set()

    # -- what the admission webhook asks, of any replica

    async def compile(self, spec: TraceSpec, scoped: bool, seconds: float) -> Answer | None:
        """What will come of a spec; None when that takes longer than `seconds`."""
        self._start_compiler()
        return await self._compiler.wait(request_of(spec, scoped), seconds)

    @property
    def unsafe_policy(self) -> str:
        """Who may use unsafe helpers, see Config."""
        return self._config.unsafe

    def other_kernels(self) -> int:
        """How many kernels the cluster's nodes have beside that of the default view."""
        kernels = {node.btf for node in self._store.all_bpf_nodes().values() if node.btf}
        return len(kernels - {self._reconciler.own})

    async def may_use_unsafe(self, user: Mapping[str, Any], namespace: str) -> bool:
        """Whether the API server allows this user the verb `useunsafe`.

        Args:
            user: the userInfo of an admission review.
            namespace: "" for cluster-wide traces.
        """
        resource = {"group": GROUP, "resource": "bpftraces" if namespace else "clusterbpftraces", "verb": VERB}
        who = {"user": user.get("username"), "uid": user.get("uid"), "groups": user.get("groups") or []}
        said = {"extra": dict(user.get("extra") or {}), **who}
        named = resource | ({"namespace": namespace} if namespace else {})
        asked = {name: value for name, value in said.items() if value}
        return await self._api.review_access(asked | {"resourceAttributes": named})

    async def is_reviewed(self, body: Mapping[str, Any]) -> bool:
        """Whether the object carries a review of its spec already."""
        signer = self._reconciler.signer
        if not signer.key:
            await signer.refresh()
        return is_reviewed(parse_trace(body), signer)

    async def review(self, body: Mapping[str, Any], namespace: str, user: str) -> str:
        """The annotation that remembers that `user` was allowed unsafe helpers with this spec."""
        signer = self._reconciler.signer
        if not signer.key:
            await signer.refresh()
        return review(signer, str(body.get("kind")), namespace, body.get("spec") or {}, user)

    async def prepare_webhook(self, folder: Path) -> None:
        """Have the webhook's certificate in a folder."""
        await Certificates(self._api, self._config).prepare(folder)

    # -- what events mark

    def listed(self) -> None:
        """A watch began, or began again, with a list: what went before it is to be found out."""
        self._listed = True
        self._caretaking.set()

    def trace_changed(self, trace: Trace, gone: bool) -> None:
        """Have a look at the trace; when it is gone, at what it leaves behind too."""
        self._queue.mark(trace.key.uid)
        if trace.owner:
            self._queue.mark(trace.owner)  # a turn of a schedule
        if gone:
            self._caretaking.set()

    def report_changed(self, uid: Uid, node: str, part: tuple[object, ...], gone: bool) -> None:
        """Have a look at once when a node's part began, failed or ended; else when results may be written again.

        Args:
            uid: of the trace.
            part: the head of the report's status.
        """
        parts = self._parts.setdefault(uid, {})
        before = parts.pop(node, None)
        if not gone:
            parts[node] = part
        self._queue.mark(uid, 0.0 if gone or part != before else max(self._reconciler.results_due(uid), GROUP_SECONDS))
        if not gone and self._store.trace(uid) is None:
            self._caretaking.set()

    def node_changed(self, node: Node, gone: bool) -> None:
        """Have a look at every trace that may run when a node came, went, or changed its labels or readiness."""
        before = self._nodes.pop(node.name, None)
        if not gone:
            self._nodes[node.name] = node
        if gone or before != node:
            for trace in self._store.all_traces():
                if not is_settled(trace):
                    self._queue.mark(trace.key.uid)

    def bpf_node_changed(self, node: BpfNode, gone: bool) -> None:
        """Have a look at every trace when a node has another kernel than before; what is asked of its agent does not count."""
        before = self._kernels.pop(node.name, "")
        if not gone:
            self._kernels[node.name] = node.btf
        if before != self._kernels.get(node.name, ""):
            self._caretaking.set()
            for trace in self._store.all_traces():
                if not is_settled(trace):
                    self._queue.mark(trace.key.uid)

    # -- tasks

    async def run(self) -> None:
        """Work for ever, from the first event on, whenever this replica leads. The indexes stay current all the time."""
        try:
            await (self._elector.run(self._lead) if self._elector else self._lead())
        finally:
            if self._compiling:
                self._compiling.cancel()
                await asyncio.gather(self._compiling, return_exceptions=True)

    async def _lead(self) -> None:
        """Work until another replica leads."""
        with LEADS.track_inprogress():
            await self._work()

    async def _work(self) -> None:
        """Look at every trace, whatever the replica before may have left undone, and then at what changes."""
        await self._seen.wait()
        compiling = self._start_compiler()
        await self._first_look()
        for uid in self._store.uids():
            self._queue.mark(uid)
        self._listed = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_compiler(compiling))
            tasks.create_task(self._queue.run())
            tasks.create_task(self._take_care())
            tasks.create_task(self._uploads.run())

    def _start_compiler(self) -> asyncio.Task[None]:
        # A short loss of the lease must not cost the warm compiler.
        if self._compiling is None:
            self._compiling = asyncio.create_task(self._compiler.run(), name="compiler")
        return self._compiling

    @staticmethod
    async def _watch_compiler(compiling: asyncio.Task[None]) -> None:
        """Its end would be a mistake of ours, and ends the operator."""
        await asyncio.wait({compiling})
        compiling.result()

    async def _look(self, key: str) -> float | None:
        uid = Uid(key)
        again = await self._reconciler.look(uid)
        if self._store.trace(uid) is None:
            self._queue.forget(uid)
            self._parts.pop(uid, None)
        return again

    async def _first_look(self) -> None:
        delay = 0.5
        while True:
            try:
                await self._reconciler.signer.refresh()
                await self._reconciler.objects.look()
                return
            except ApiError as error:
                logger.warning("keys and stored objects cannot be read: %s; trying again", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30.0)

    async def _take_care(self) -> None:
        """Remove objects and reports without traces, and types without nodes; look at traces whose object has gone."""
        while True:
            young = False
            try:
                await self._refresh_keys()
                await self._find_vanished()
                await self._remove_left_over_reports()
                young = await self._collect_objects()
                await self._uploads.collect()
            except ApiError as error:
                logger.warning("cleaning up: %s; trying again later", error)
            wait = self._config.collect_after + 0.5 if young else self._config.resync
            await self._wait_for_deletion(wait)

    async def _refresh_keys(self) -> None:
        if await self._reconciler.signer.refresh():
            for uid in self._store.uids():
                self._queue.mark(uid)

    async def _find_vanished(self) -> None:
        """Objects that were deleted while a watch was broken, and that it will therefore never report as deleted."""
        if not self._listed and time.monotonic() < self._compared + COMPARE_EVERY:
            return
        known = self._store.known_uids()
        self._listed = False
        gone = known - await self._api.all_uids()
        self._compared = time.monotonic()
        if gone:
            logger.info("%d objects went while the watch was broken", len(gone))
            touched = self._store.uids()
            self._store.vanish(gone)
            for uid in touched:
                self._queue.mark(uid)

    async def _wait_for_deletion(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._caretaking.wait(), seconds)
            # The garbage collector is given its chance; traces are often deleted together.
            await asyncio.sleep(1.0)
        except TimeoutError:
            pass
        self._caretaking.clear()

    async def _collect_objects(self) -> bool:
        traces = list(self._store.all_traces())
        named = {trace.key.uid: named_objects(trace) for trace in traces}
        young = await self._reconciler.objects.collect(set().union(*named.values()))
        for uid, names in named.items():
            if not all(map(self._reconciler.objects.has, names)):
                self._queue.mark(uid)
        return young

    async def _remove_left_over_reports(self) -> None:
        """The garbage collector removes reports with their trace; this removes those that came too late or have no owner."""
        for uid in self._store.report_uids() - self._store.uids():
            reports = self._store.reports_of(uid)
            if reports and not await self._trace_exists(reports[0]):
                for report in reports:
                    await self._api.delete_report(report)

    async def _trace_exists(self, report: Report) -> bool:
        """Asked of the API server itself: the watch of traces may lag behind the watch of reports."""
        if report.trace_key.kind not in PLURALS:
            return False
        try:
            found = await self._api.get_trace(report.trace_key)
        except GoneError:
            return False
        return Uid(found.get("metadata", {}).get("uid", "")) == report.trace_uid


def _elector(api: Api, config: Config) -> Elector | None:
    return Elector(api, config.namespace, config.election, config.identity) if config.election else None
