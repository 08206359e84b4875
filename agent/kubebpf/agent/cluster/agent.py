"""The agent's main loop: one thread that owns all sessions, fed by watches, cgroups, timers and the programs' events.

agent = Agent(settings, api, directory)
agent.run()        until agent.stop() is called from any thread or a signal handler

Whatever is slow happens elsewhere and comes back through the queue: requests in the watches' and the writer's threads, loading in
`_loader`. What should be is computed by `desired.wish`, again for every trace that a change may concern.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError, later
from kubebpf.agent.cluster.belonging import Owner
from kubebpf.agent.cluster.bpfnode import NodeKeeper
from kubebpf.agent.cluster.containers import Looked, Request, look
from kubebpf.agent.cluster.cost import MIB, Budget, CpuLimitError, Statistics
from kubebpf.agent.cluster.desired import Identity, Run, Stop, ends_at, wish
from kubebpf.agent.cluster.ended import Ended
from kubebpf.agent.cluster.known import NAMESPACES, Known, resources
from kubebpf.agent.cluster.left import Left
from kubebpf.agent.cluster.live import Live, Surroundings, attach, close_quietly, leave_quietly, why
from kubebpf.agent.cluster.objects import Objects, RefusedError, check_allowed, retryable
from kubebpf.agent.cluster.part import Part
from kubebpf.agent.cluster.pinned import Pinned
from kubebpf.agent.cluster.report import Line, Phase, State
from kubebpf.agent.cluster.reporting import Reporting
from kubebpf.agent.cluster.settings import Settings
from kubebpf.agent.cluster.trace import Object, Trace, Uid
from kubebpf.agent.cluster.trust import Trust, UntrustedError
from kubebpf.agent.cluster.upload import Upload
from kubebpf.agent.cluster.watch import Change, Watch
from kubebpf.agent.cluster.writer import ReportWriter, Target
from kubebpf.agent.node.facts import attribution, gather, type_information
from kubebpf.agent.node.features import BTF, Trying
from kubebpf.agent.pods.directory import PodDirectory

log = logging.getLogger(__name__)

MOST_FAILURES, AFTER_FAILURE_SECONDS = 10, 0.5
LAST_WRITES_SECONDS, GONE_WRITES_SECONDS = 10.0, 2.0
# An event may come once in a while that no timer announced; nothing waits longer than this.
LONGEST_SLEEP = 60.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading: an attached session, or why there is none (`error`)."""

    trace: Trace
    identity: Identity
    live: Live | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the containers of a session; `looked` is None when that went wrong."""

    live: Live
    looked: Looked | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A report is in the API server."""

    target: Target
    status: Object


Item = Change | Loaded | Seen | Written

# What cost too much once is not tried again, until the trace changes.
_FINAL = {("Failed", CpuLimitError.reason)}


class Agent:
    """See the module.

    Args:
        api: the connection.
        directory: of this node's pods; somebody else keeps its cgroups current and calls `wake`.
    """

    def __init__(self, settings: Settings, api: Api, directory: PodDirectory) -> None:
        self._settings, self._api, self._directory = settings, api, directory
        trying = Trying(settings.btf or BTF, settings.pins, settings.allow_unsafe)
        types = type_information(trying.btf)
        self._known = Known(settings.node, directory, types.digest if types else "")
        self._objects = Objects(api, settings.namespace)
        self._trust = Trust(api, settings.namespace, settings.trusted_keys)
        self._pinned = Pinned(settings.pins, settings.node)
        self._statistics = Statistics()
        self._budget = Budget(settings.trace_mib * MIB, settings.node_mib * MIB)
        self._here = Surroundings(directory, settings.node, settings.files, self._pinned, budget=self._budget, btf=settings.btf)
        self._swept = False
        self._owner = Owner(api, settings.namespace, settings.daemonset)
        self._writer = ReportWriter(api, lambda target, status: self._put(Written(target, status)))
        self._reporting = Reporting(self._known, self._writer, settings.node, settings.namespace, settings.metrics)
        upload = Upload(api, settings.namespace, trying.btf)
        self._keeper = NodeKeeper(api, settings.node, partial(gather, trying), partial(attribution, directory), upload)
        self._ended = Ended(self._close_live)
        self._left = Left(self._pinned)
        # One: programs are verified one after the other anyhow, and a node has other work to do.
        self._loader = ThreadPoolExecutor(1, "loader")
        self._parts: dict[Uid, Part] = {}
        self._unread = set[Uid]()  # have records of which no descriptor tells
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._awake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._scopes_of = (-1, -1)
        self._namespaces: Watch | None = None
        self._stopping, self._failures = False, 0

    # -- from other threads

    def wake(self) -> None:
        """Look around now."""
        os.eventfd_write(self._awake, 1)

    def stop(self) -> None:
        """End soon: `run` returns after the last reports."""
        self._stopping = True
        self.wake()

    def _put(self, item: Item) -> None:
        self._queue.put(item)
        self.wake()

    # -- the loop

    def run(self) -> None:
        """Work until `stop` is called; then close all sessions and write the last reports."""
        if not self._pinned.own(lambda: self._stopping):
            return
        watches = [Watch(self._api, resource, self._put) for resource in resources(self._settings.node)]
        self._writer.start()
        self._owner.start()
        self._keeper.start()
        for watch in watches:
            watch.start()
        log.info("agent of node %s: started", self._settings.node)
        try:
            while not self._stopping:
                self._survive_step()
        finally:
            for watch in (*watches, *filter(None, [self._namespaces])):
                watch.stop()
            self._keeper.stop()
            self._close()

    def _survive_step(self) -> None:
        """What nobody thought of is told, and the agent goes on; when it happens again and again, another process is to try."""
        try:
            self._step()
            self._failures = 0
        except Exception:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            log.exception("going on")
            time.sleep(AFTER_FAILURE_SECONDS)

    def _step(self) -> None:
        for key, _ in self._selector.select(self._sleep()):
            if key.fd == self._awake:
                os.eventfd_read(self._awake)
            else:
                self._events_of(key.data)
        unread, self._unread = self._unread, set()
        for uid in unread & self._parts.keys():
            self._events_of(self._parts[uid])
        concerned = self._drain()
        self._follow_namespaces()
        self._sync_scopes()
        if self._known.complete:
            self._keeper.know(self._known.node.uid)
            self._sweep()
            self._reconcile(concerned)
            self._tick()

    def _sweep(self) -> None:
        """Once, when all traces are known: what earlier agents left of others goes."""
        if not self._swept:
            self._swept = True
            for trace in self._known.traces.values():
                if isinstance(wished := wish(trace, self._known.node), Run):
                    self._left.open(trace, wished.identity)
            self._left.sync(self._directory.pods(), self._known.namespaces)
            self._loader.submit(self._pinned.sweep, set(self._known.traces))

    def _sleep(self) -> float:
        now = time.monotonic()
        if self._unread:
            return 0.0
        times = [moment for part in self._parts.values() for moment in self._alarms(part, now)]
        return max(0.0, min(times, default=now + LONGEST_SLEEP) - now)

    def _alarms(self, part: Part, now: float) -> Iterable[float]:
        if part.retry_at > now:
            yield part.retry_at
        if part.live is not None:
            yield part.due
            if part.live.followed is not None and (look_at := part.live.followed.alarm) is not None:
                yield look_at
            yield part.live.weigh_at
            if part.live.meter is not None:
                yield part.live.meter.due
            end = ends_at(part.trace, part.live.started_at)
            if end is not None:
                yield now + max(0.0, (end - datetime.now(UTC)).total_seconds())

    def _drain(self) -> set[Uid]:
        concerned: set[Uid] = set()
        while not self._queue.empty():
            item = self._queue.get()
            match item:
                case Loaded():
                    concerned |= self._take_loaded(item)
                case Seen():
                    self._take_seen(item)
                case Written(target, status):
                    self._ended.written(target.trace.uid, status)
                case change:
                    try:
                        concerned |= self._known.take(change)
                    except (KeyError, TypeError, ValueError, AttributeError):
                        log.exception("%s: an object that cannot be read", change.resource)
        return concerned

    def _tick(self) -> None:
        now = time.monotonic()
        for uid, part in list(self._parts.items()):
            if 0 < part.retry_at <= now:
                part.retry_at = 0.0
                self._reconcile({uid})
            if part.needs and self._budget.has_room(uid, part.needs):
                part.needs, part.settled = 0, None
                self._reconcile({uid})
            with self._guard(part):
                if part.live is not None:
                    self._tick_live(part, part.live, now)

    def _look(self, live: Live, now: float) -> None:
        """Look at containers in the loader's thread, when it is time: it may read large files."""
        if live.followed is not None and live.followed.is_due(now) and (request := live.request()) is not None:
            self._loader.submit(self._see, live, request)

    def _see(self, live: Live, request: Request) -> None:
        try:
            self._put(Seen(live, look(request)))
        except Exception as error:
            self._put(Seen(live, None, error))

    def _take_seen(self, seen: Seen) -> None:
        part = self._parts.get(seen.live.identity.uid)
        if part is None or part.live is not seen.live:
            return
        with self._guard(part):
            if seen.error is not None:
                raise seen.error
            if seen.looked is not None:
                seen.live.take(seen.looked)

    def _tick_live(self, part: Part, live: Live, now: float) -> None:
        self._look(live, now)
        if live.meter is not None and now >= live.meter.due:
            live.look_at_cpu()
        if now >= live.weigh_at:
            live.weigh(self._budget)
        end = ends_at(part.trace, live.started_at)
        if end is not None and end <= datetime.now(UTC):
            self._complete(part, live)
        elif now >= part.due and not self._reporting.is_held(part):
            self._report(part, live, "Attached")

    # -- from the wish to the deed

    def _reconcile(self, uids: Iterable[Uid]) -> None:
        for uid in uids:
            trace = self._known.traces.get(uid)
            if trace is not None:
                self._parts.setdefault(uid, Part(trace)).trace = trace
            part = self._parts.get(uid)
            if part is not None:
                with self._guard(part):
                    self._fulfil(part, trace)

    def _fulfil(self, part: Part, trace: Trace | None) -> None:
        match wish(trace, self._known.node):
            case Run(identity):
                self._run_here(part, identity)
            case Stop(why=reason, keep_report=keep):
                self._stop_here(part, reason, keep)
        self._reporting.restore(part)

    def _run_here(self, part: Part, identity: Identity) -> None:
        if part.live is None and part.settled is None and self._completed_before(part, identity):
            part.settled = identity
            self._loader.submit(self._pinned.keep_only, identity.uid)
        if part.wants(identity, time.monotonic()):
            part.loading, part.needs = identity, 0
            self._loader.submit(self._load, part.trace, identity)

    def _completed_before(self, part: Part, identity: Identity) -> bool:
        """An agent that was started again must not run again what has ended here."""
        said = self._known.report(part.trace.name.uid)
        if said is None or (said.generation, said.digest) != (identity.generation, identity.digest):
            return False
        return said.phase == "Completed" or (said.phase, said.reason) in _FINAL

    def _stop_here(self, part: Part, reason: str, keep: bool) -> None:
        self._left.close(part.trace.name.uid)
        part.loading = None
        part.retry_at = 0.0
        if part.live is not None:
            log.info("%s: detached (%s)", part.trace.name, reason)
            if keep:
                self._complete(part, part.live)
            else:
                self._drop(part, part.live)
        elif not part.unpinned and part.trace.name.uid not in self._ended:
            # An earlier agent may have left it running.
            self._loader.submit(self._pinned.keep_only, part.trace.name.uid)
        part.unpinned = True
        if not keep:
            self._ended.let_go(part.trace.name.uid)
            part.settled, part.written = None, None
            self._forget(part, gone=reason == "Deleted")

    def _forget(self, part: Part, gone: bool) -> None:
        self._reporting.forget(part, gone)
        if gone:
            self._parts.pop(part.trace.name.uid, None)

    # -- loading, in its own thread

    def _load(self, trace: Trace, identity: Identity, afresh: bool = False) -> None:
        try:
            self._trust.check(trace, identity.digest)
            artifact = self._objects.fetch(trace.config_map or "", identity.digest)
            check_allowed(artifact, trace, self._settings.allow_unsafe)
            here = replace(self._here, namespaces=self._known.namespaces)
            live = attach(trace, identity, artifact, here, afresh)
        except Exception as error:
            self._put(Loaded(trace, identity, None, error))
        else:
            self._put(Loaded(trace, identity, live))

    def _take_loaded(self, loaded: Loaded) -> set[Uid]:
        uid = loaded.identity.uid
        part = self._parts.get(uid)
        if part is None or part.loading != loaded.identity:
            # Meanwhile the trace has changed or is gone.
            if loaded.live is not None:
                close_quietly(loaded.live)
            return {uid}
        part.loading = None
        with self._guard(part):
            if loaded.live is not None:
                self._take_over(part, loaded.live)
            elif loaded.error is not None:
                self._take_failure(part, loaded, loaded.error)
        return {uid}

    def _take_over(self, part: Part, live: Live) -> None:
        """The new session counts already; only now the old one goes."""
        if part.live is not None:
            # What it has printed and nobody has read yet is in no other ring buffer.
            self._print(part, part.live.poll())
            self._drop(part, part.live)
        self._ended.let_go(part.trace.name.uid)
        self._left.close(part.trace.name.uid)
        part.live, part.settled, part.unpinned, part.looks = live, None, False, 0
        part.backoff.reset()
        took = "took up" if live.adopted else "loaded in {:.1f} ms, attached in {:.1f} ms".format(*(1000 * s for s in live.took))
        log.info("%s: %s: %d probes", part.trace.name, took, live.session.attached)
        self._loader.submit(self._pinned.keep_only, live.identity.uid, live.id)
        self._budget.take(live.identity.uid, live.memory(None))
        if live.trace.max_cpu is not None:
            live.measure(self._statistics.watch(live.id))
        if live.adopted:
            live.recall(self._known.recent(part.trace.name.uid))
        live.sync_scope(self._directory.pods(), self._known.namespaces)
        if live.session.epoll_fd is not None:
            self._selector.register(live.session.epoll_fd, selectors.EVENT_READ, part)
        if live.session.ending:
            # An earlier agent was killed while it ended this node's part.
            self._print(part, live.poll())
            self._complete(part, live)
            return
        self._report(part, live, "Attached")
        # The begin programs have run: what they printed, or an exit(), is there.
        self._events_of(part)
        if part.live is live and live.adopted and self._directory.pods() and not live.covers(*self._directory.levels()):
            self._load_again(part, live)
        if part.live is live and not live.session.points and live.followed is None:
            # Nothing but begin and end: the program has ended, as it does in bpftrace.
            self._complete(part, live)

    def _take_failure(self, part: Part, loaded: Loaded, error: Exception) -> None:
        if isinstance(error, ApiError | ApiUnavailableError) and retryable(error):
            asked = error.retry_after if isinstance(error, ApiUnavailableError) else 0.0
            part.retry_at = time.monotonic() + later(part.backoff.next(), asked)
            log.warning("%s: the object cannot be had: %s; trying again", part.trace.name, error)
            if part.live is None and isinstance(error, ApiError):
                self._reporting.write(part, _idle(loaded.identity, "Pending", "ObjectUnavailable", str(error)))
            return
        self._left.close(loaded.identity.uid)
        if part.live is not None:
            self._drop(part, part.live)
        self._loader.submit(self._pinned.keep_only, loaded.identity.uid)
        if isinstance(error, UntrustedError):
            # The operator may sign again, with a newer key, without a new generation.
            part.retry_at = time.monotonic() + part.backoff.next()
        else:
            part.settled, part.needs = loaded.identity, self._budget.waits(error)
        reason, message = (error.reason, str(error)) if isinstance(error, RefusedError) else why(error)
        message += "; it is started when other traces here need less" if part.needs else ""
        log.error("%s: %s: %s", part.trace.name, reason, message, exc_info=error if reason == "AgentError" else None)
        self._reporting.write(part, _idle(loaded.identity, "Failed", reason, message))

    # -- a session's events and its end

    def _events_of(self, part: Part) -> None:
        with self._guard(part):
            if part.live is not None:
                lines = part.live.poll()
                self._print(part, lines)
                if lines:
                    self._reporting.hurry(part)
                if part.live.done():
                    self._unread.add(part.trace.name.uid)
                if part.live.exit_code is not None:
                    self._complete(part, part.live)

    def _print(self, part: Part, lines: Iterable[Line]) -> None:
        for line in lines:
            self._settings.on_line(part.trace.name, line)

    def _complete(self, part: Part, live: Live) -> None:
        """This node's part is over: end programs, last state, release."""
        self._print(part, live.finish())
        self._report(part, live, "Completed")
        log.info("%s: completed", part.trace.name)
        part.settled = live.identity
        self._detach(part, live)
        self._ended.keep(live)

    @contextmanager
    def _guard(self, part: Part) -> Iterator[None]:
        """What goes wrong with one trace ends that trace's part; the others run on."""
        try:
            yield
        except Exception as error:
            if part.live is None:
                log.exception("%s: %s", part.trace.name, error)
            else:
                self._fail(part, part.live, error)

    def _fail(self, part: Part, live: Live, error: Exception) -> None:
        reason, message = why(error)
        log.error("%s: %s: %s", part.trace.name, reason, message, exc_info=error if reason == "AgentError" else None)
        part.settled = live.identity
        self._drop(part, live)
        self._reporting.write(part, _idle(live.identity, "Failed", reason, message))

    def _drop(self, part: Part, live: Live) -> None:
        self._detach(part, live)
        self._close_live(live)

    def _close_live(self, live: Live) -> None:
        # Closing waits for the kernel's grace periods; nothing of it concerns the loop.
        close_quietly(live) if self._stopping else self._loader.submit(close_quietly, live)

    def _detach(self, part: Part, live: Live) -> None:
        if live.session.epoll_fd is not None and live.session.epoll_fd in self._selector.get_map():
            self._selector.unregister(live.session.epoll_fd)
        part.live = None
        self._release(live)

    def _release(self, live: Live) -> None:
        self._budget.give_back(live.identity.uid)
        self._statistics.release(live.id)
        self.wake()  # another trace may have waited for the memory

    def _leave(self, part: Part, live: Live, gone: bool) -> None:
        """This agent ends, the trace does not: what is pinned counts on, for the next agent to take up, unless none comes."""
        self._report(part, live, "Attached" if live.pinned and not gone else "Pending", "AgentStopped")
        part.live = None
        self._release(live)
        self._loader.submit(close_quietly if gone else leave_quietly, live)

    # -- scope and reports

    def _follow_namespaces(self) -> None:
        """Watch namespaces only as long as a trace goes by their labels: five thousand nodes need not hear of each of them."""
        if self._known.asks_namespaces and self._namespaces is None:
            self._namespaces = Watch(self._api, NAMESPACES, self._put)
            self._namespaces.start()
        elif self._namespaces is not None and not self._known.asks_namespaces:
            self._namespaces.stop()
            self._namespaces = None
            self._known.forget_namespaces()

    def _sync_scopes(self) -> None:
        version = (self._directory.version, self._known.namespaces_version)
        if version == self._scopes_of:
            return
        self._scopes_of = version
        pods, levels = self._directory.pods(), self._directory.levels()
        self._left.sync(pods, self._known.namespaces)
        for part in self._parts.values():
            with self._guard(part):
                if part.live is not None:
                    part.live.sync_scope(pods, self._known.namespaces)
                    if part.loading is None and not part.live.covers(*levels):
                        self._load_again(part, part.live)

    def _load_again(self, part: Part, live: Live) -> None:
        """The first pods of a node came after the trace, and lie elsewhere than was guessed."""
        log.warning("%s: starts afresh, because this node has its pods at other levels than expected", part.trace.name)
        part.loading = live.identity
        self._loader.submit(self._load, part.trace, live.identity, afresh=True)

    def _report(self, part: Part, live: Live, phase: Phase, reason: str = "") -> None:
        began = time.monotonic()
        self._reporting.write(part, live.state(phase, reason))
        self._reporting.postpone(part, time.monotonic() - began)

    # -- the end

    def _close(self) -> None:
        gone = self._owner.is_gone()
        self._stopping = True
        for part in list(self._parts.values()):
            with self._guard(part):
                if part.live is not None:
                    self._leave(part, part.live, gone)
        self._loader.shutdown(cancel_futures=False)
        self._close_late()
        if gone:
            log.info("the DaemonSet %s is gone: nothing stays pinned", self._settings.daemonset)
            self._pinned.remove()
        # The rights to write reports go together with the DaemonSet.
        if not self._writer.close(GONE_WRITES_SECONDS if gone else LAST_WRITES_SECONDS):
            log.warning("some last reports could not be written")
        self._close_late()
        self._ended.leave()
        # The eventfd stays open: a watch's thread may still be about to wake a loop that is gone.
        self._selector.close()
        log.info("agent of node %s: stopped", self._settings.node)

    def _close_late(self) -> None:
        """What came while the agent was already going: sessions that were loaded, reports that were written."""
        while not self._queue.empty():
            match self._queue.get():
                case Loaded(live=Live() as live):
                    leave_quietly(live)
                case Written(target, status):
                    self._ended.written(target.trace.uid, status)


def _idle(identity: Identity, phase: Phase, reason: str, message: str) -> State:
    """The state of a node where nothing is counted."""
    return State(identity.generation, identity.digest, "", phase, reason, message)
