"""Writes reports: one thread, the newest state of each report, through outages of any length.

writer = ReportWriter(api)
writer.put(Target(trace, "node-a", "shop"), status)     -> created if missing, then its status patched
writer.remove(target)
writer.close(5.0)                                       -> what is still to be written is, if the API server is there

A report is cumulative, so a state that was never written because a newer one came is no loss.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError
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


class ReportWriter:
    """The only thread that writes to the API server.

    Args:
        api: the connection.
        on_written: told of every write, in the thread.
    """

    def __init__(self, api: Api, on_written: Callable[[Target], None] = lambda target: None) -> None:
        self._api, self._on_written = api, on_written
        self._pending: dict[Target, Object | None] = {}
        # Reports that were refused wait for themselves: (not before, their back-off). The others go on.
        self._refused: dict[Target, tuple[float, Backoff]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, target: Target, status: Object) -> None:
        """Write this status as soon as possible, instead of what was to be written before."""
        self._queue(target, status)

    def remove(self, target: Target) -> None:
        """Delete the report."""
        self._queue(target, None)

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

    def _queue(self, target: Target, status: Object | None) -> None:
        with self._changed:
            # A target keeps its place in the queue when only its state is newer: a busy trace must not starve the others.
            self._pending[target] = status
            self._changed.notify()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            target, status = work
            try:
                self._write(target, status)
                self._backoff.reset()
                self._refused.pop(target, None)
                self._on_written(target)
            except ApiUnavailableError as error:
                self._again(target, status)
                level = logging.WARNING if self._backoff.fresh else logging.DEBUG
                log.log(level, "report of %s: %s; trying again", target.trace, error)
                self._wait(self._backoff.next())
            except ApiError as error:
                self._take_refusal(target, status, error)

    def _take_refusal(self, target: Target, status: Object | None, error: ApiError) -> None:
        # A report that is gone (404) as soon as it was made has lost its trace or namespace. Of an invalid one (422) only the
        # next state may be better.
        log.log(logging.INFO if error.code == NOT_FOUND else logging.ERROR, "report of %s: %s", target.trace, error)
        if error.code in PASSING:
            with self._changed:
                backoff = self._refused[target][1] if target in self._refused else Backoff()
                self._refused[target] = (time.monotonic() + backoff.next(), backoff)
                self._pending.setdefault(target, status)

    def _next(self) -> tuple[Target, Object | None] | None:
        with self._changed:
            while True:
                now = time.monotonic()
                due = {target: self._refused[target][0] if target in self._refused else 0.0 for target in self._pending}
                target = next((target for target, moment in due.items() if moment <= now), None)
                if target is not None:
                    return target, self._pending.pop(target)
                if self._closing:
                    return None
                self._changed.wait(min(due.values()) - now if due else None)

    def _again(self, target: Target, status: Object | None) -> None:
        with self._changed:
            self._pending.setdefault(target, status)

    def _wait(self, seconds: float) -> None:
        # New work must not wake it early: the API server is down for all reports alike.
        until = time.monotonic() + seconds
        with self._changed:
            while not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        if self._closing:
            time.sleep(min(seconds, 0.25))

    def _write(self, target: Target, status: Object | None) -> None:
        if status is None:
            self._delete(target)
            return
        try:
            self._patch(target, status)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            self._create(target)
            self._patch(target, status)

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
