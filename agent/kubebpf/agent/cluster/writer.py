"""Writes reports: one thread, the newest state of each, at this agent's share of the budget, through outages of any length.

writer = ReportWriter(api)
writer.put(Target(trace, "node-a", "shop"), status, Urgency(nodes=3, new=True))     -> created, then its status patched
writer.remove(target)
writer.close(5.0)                                       -> what is still to be written is, if the API server is there

A report is cumulative, so a state that was never written because a newer one came is no loss.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError, later
from kubebpf.agent.cluster.pace import Pace, slot_seconds
from kubebpf.agent.cluster.report import report_name, report_object
from kubebpf.agent.cluster.trace import GROUP_VERSION, Object, TraceName
from kubebpf.agent.cluster.watch import Backoff

log = logging.getLogger(__name__)

NOT_FOUND, CONFLICT = 404, 409
# A starting API server refuses for a moment what it allows once it has read the roles.
PASSING = {401, 403, CONFLICT}


@dataclass(frozen=True, slots=True)
class Target:
    """A report: of which trace, on which node, in which namespace."""

    trace: TraceName
    node: str
    namespace: str

    @property
    def collection(self) -> str:
        """The path of the reports of its namespace."""
        return f"/apis/{GROUP_VERSION}/namespaces/{self.namespace}/bpftracereports"

    @property
    def path(self) -> str:
        """Its own path."""
        return f"{self.collection}/{report_name(self.trace, self.node)}"


@dataclass(frozen=True, slots=True)
class Urgency:
    """How soon a state is to be written.

    Args:
        nodes: of the trace: so many agents may have the same to write.
        urgent: something began, failed or ended; else there are only newer numbers.
        new: there is no such report yet.
    """

    nodes: int = 1
    urgent: bool = False
    new: bool = False

    @property
    def slot(self) -> float:
        """Seconds of the cluster's budget, when all of those nodes write; a new report is created and then given its status."""
        return slot_seconds(self.nodes, 2 if self.new else 1)


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be written of a report; None: it is to be deleted."""

    status: Object | None
    how: Urgency


class ReportWriter:
    """The only thread that writes to the API server.

    Args:
        api: the connection.
        on_written: told of every status that was written, in the thread.
        pace: of this agent.
    """

    def __init__(
        self,
        api: Api,
        on_written: Callable[[Target, Object], None] = lambda target, status: None,
        pace: Pace | None = None,
    ) -> None:
        self._api, self._on_written = api, on_written
        self._pace = pace or Pace()
        self._pending: dict[Target, Work] = {}
        # Reports that were refused wait for themselves: (not before, their back-off). The others go on.
        self._refused: dict[Target, tuple[float, Backoff]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, target: Target, status: Object, how: Urgency = Urgency(urgent=True)) -> None:
        """Write this status as soon as its turn comes, instead of what was to be written before."""
        self._queue(target, Work(status, how))

    def remove(self, target: Target, nodes: int = 1) -> None:
        """Delete the report of a trace with so many nodes."""
        self._queue(target, Work(None, Urgency(nodes, urgent=True)))

    def held(self, target: Target) -> float:
        """Seconds for which a newer state of this report would only wait; 0 for one that waits already, which it replaces."""
        with self._changed:
            return 0.0 if target in self._pending else self._pace.held()

    def forget(self, target: Target) -> None:
        """Write nothing more of it: its trace is gone, and so is the report soon."""
        with self._changed:
            self._pending.pop(target, None)
            self._refused.pop(target, None)

    def close(self, seconds: float) -> bool:
        """Write what is left, and end.

        Args:
            seconds: to wait at most.

        Returns:
            whether everything was written.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            return not self._pending and not self._thread.is_alive()

    def _queue(self, target: Target, work: Work) -> None:
        with self._changed:
            before = self._pending.get(target)
            if before is not None:
                # A report that is still to be created, or whose news is not out, stays urgent.
                how = work.how
                work = replace(work, how=replace(how, urgent=how.urgent or before.how.urgent, new=how.new or before.how.new))
            if work.how.urgent:
                self._pace.expect(work.how.slot)
            # A target keeps its place in the queue when only its state is newer: a busy trace must not starve the others.
            self._pending[target] = work
            self._changed.notify()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            target, work = found
            try:
                self._timed(target, work)
                self._backoff.reset()
                self._refused.pop(target, None)
                if work.status is not None:
                    self._on_written(target, work.status)
            except ApiUnavailableError as error:
                self._again(target, work)
                level = logging.WARNING if self._backoff.fresh else logging.DEBUG
                log.log(level, "report of %s: %s; trying again", target.trace, error)
                self._wait(later(self._backoff.next(), error.retry_after))
            except ApiError as error:
                self._take_refusal(target, work, error)
            except Exception:
                # Nobody else writes: whatever is wrong with one report, the others go on.
                log.exception("report of %s", target.trace)
                self._wait(self._backoff.next())

    def _timed(self, target: Target, work: Work) -> None:
        began = time.monotonic()
        try:
            self._write(target, work)
        finally:
            took = time.monotonic() - began
            with self._changed:
                self._pace.took(took)

    def _take_refusal(self, target: Target, work: Work, error: ApiError) -> None:
        # A report that is gone (404) as soon as it was made has lost its trace or namespace. Of an invalid one (422) only the
        # next state may be better.
        log.log(logging.INFO if error.code == NOT_FOUND else logging.ERROR, "report of %s: %s", target.trace, error)
        if error.code in PASSING:
            with self._changed:
                backoff = self._refused[target][1] if target in self._refused else Backoff()
                self._refused[target] = (time.monotonic() + backoff.next(), backoff)
                self._pending.setdefault(target, work)

    def _next(self) -> tuple[Target, Work] | None:
        with self._changed:
            while True:
                # What concerns few nodes first, what began or ended before newer numbers, else in the order of asking.
                waits = {target: self._wait_for(target, work) for target, work in self._pending.items()}
                ready = [target for target, wait in waits.items() if wait <= 0]
                if ready:
                    target = min(ready, key=lambda target: self._rank(self._pending[target]))
                    work = self._pending.pop(target)
                    self._pace.spend(work.how.slot, work.how.urgent)
                    return target, work
                if self._closing:
                    return None
                self._changed.wait(min(waits.values(), default=None))

    @staticmethod
    def _rank(work: Work) -> tuple[bool, float]:
        return not work.how.urgent, work.how.slot if work.how.urgent else 0.0

    def _wait_for(self, target: Target, work: Work) -> float:
        """Seconds until it may be written. The last words of an agent that ends wait for nothing but refusals."""
        refused = self._refused[target][0] - time.monotonic() if target in self._refused else 0.0
        return refused if self._closing else max(refused, self._pace.wait(work.how.slot, work.how.urgent))

    def _again(self, target: Target, work: Work) -> None:
        with self._changed:
            self._pending.setdefault(target, work)

    def _wait(self, seconds: float) -> None:
        # New work must not wake it early: the API server is down for all reports alike.
        until = time.monotonic() + seconds
        with self._changed:
            while not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        if self._closing:
            time.sleep(min(seconds, 0.25))

    def _write(self, target: Target, work: Work) -> None:
        if work.status is None:
            self._delete(target)
            return
        if work.how.new:
            self._create(target)
        try:
            self._patch(target, work.status)
        except ApiError as error:
            if error.code != NOT_FOUND or work.how.new:
                raise
            self._create(target)
            self._patch(target, work.status)

    def _patch(self, target: Target, status: Object) -> None:
        self._api.request("PATCH", f"{target.path}/status", {"status": status})

    def _create(self, target: Target) -> None:
        try:
            self._api.request("POST", target.collection, report_object(target.trace, target.node, target.namespace))
        except ApiError as error:
            if error.code != CONFLICT:
                raise

    def _delete(self, target: Target) -> None:
        try:
            self._api.request("DELETE", target.path)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
