"""One run of an artifact on this machine: load, begin, attach, events, end, maps.

    with Session(artifact, options) as session, Ends(duration_s=5) as ends:
        code = Run(session, output, ends).go()

Everything is printed in bpftrace's order: `Attached N probes`, the records of begin probes, events, those of end probes, two
empty lines, the maps by name.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kubebpf.agent.output.dispatch import Dispatcher, map_states
from kubebpf.agent.output.node import NodeResolver
from kubebpf.agent.output.writers import Output
from kubebpf.agent.session.counters import SiteCount
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.cli.ends import Ends
from kubebpf.compiler.artifact.manifest import Site
from kubebpf.compiler.artifact.state import MapState

_AT_ONCE = frozenset({"begin", "end", "test", "bench", "iter"})
_ON_REQUEST = frozenset({"helper"})
_COUNTERS_S = 1.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is told.

    Args:
        quiet: no `Attached N probes`.
        allow_unsafe: system() may run commands.
        warnings: show warnf, full maps, divisions by zero and lost events.
        helper_warnings: show the errors of BPF helpers, too (-k).
        dry: end as soon as everything is attached.
        print_maps: show the maps at the end.
    """

    quiet: bool = False
    allow_unsafe: bool = False
    warnings: bool = True
    helper_warnings: bool = False
    dry: bool = False
    print_maps: bool = True


class Run:
    """See the module.

    Args:
        session: open, not started.
        output: takes everything that is said.
        ends: what may end the run.
        manner: how it is told.
        flush: called whenever what was said should be seen.
        attached: called once the probes are attached.
    """

    def __init__(
        self, session: Session, output: Output, ends: Ends, manner: Manner = Manner(), flush: Callable[[], None] = lambda: None
    ) -> None:
        self.session, self.output, self.ends, self.manner, self._flush = session, output, ends, manner, flush
        self.resolver = NodeResolver(session.manifest)
        self._dispatch = Dispatcher(session, self.resolver, output, manner.allow_unsafe, manner.warnings)
        self._told: dict[Site, int] = {}
        self._lost, self._looked = 0, 0.0

    def go(self, attached: Callable[[], None] = lambda: None) -> int:
        """Run to the end.

        Args:
            attached: called once the probes are attached.

        Returns:
            the code of exit(), or 0.
        """
        # What was imported lives as long as the process: the collector need not look at it again.
        gc.freeze()
        gc.enable()
        self.ends.listen([signal.Signals[str(attach.target["signal"])] for attach in self.session.probes("signal")])
        self.session.start()
        self._attached()
        attached()
        self.ends.start_clock()
        self._events()
        self.end()
        return self.session.exit.code if self.session.exit else 0

    def end(self) -> None:
        """Detach, run the end probes, and show what is left to show."""
        self._show(self.session.finish())
        self._dispatch.close()
        self._failures()
        self._maps()
        self._flush()

    def maps(self) -> list[MapState]:
        """All maps as they stand, by name, for a report: without a min or max that is not set."""
        return map_states(self.session, self.resolver)

    def _attached(self) -> None:
        for warning in self.session.warnings if self.manner.warnings else ():
            self.output.message("warnf", str(warning), None)
        if not self.manner.quiet:
            self.output.attached(self.session.attached)

    def _events(self) -> None:
        # A pinned iterator runs whenever somebody reads it, for as long as this run.
        waits = any(a.provider not in _AT_ONCE or a.target.get("pin") for a in self.session.manifest.attaches)
        runs_out = self.manner.dry or not waits
        while True:
            for number in self.ends.heard():
                self.session.signalled(signal.Signals(number).name)
            busy = self._show(self.session.poll(0))
            self.resolver.drain()
            if self.session.exit is not None or self.ends.reached or (runs_out and not busy):
                return
            self._failures(_COUNTERS_S)
            if not runs_out:
                self.ends.wait(self.session.epoll_fd)

    def _show(self, records: Sequence[Record]) -> bool:
        """Do what the records ask; whether there were any."""
        self._dispatch.expect(records)
        self._dispatch.all(records)
        if records:
            self._flush()
        return bool(records)

    def _failures(self, every_s: float = 0.0) -> None:
        """Tell of places that failed since the last look, at most so often."""
        now = time.monotonic()
        if now - self._looked < every_s or not self.manner.warnings:
            return
        self._looked, counters = now, self.session.counters()
        if counters.lost > self._lost:
            self.output.lost(counters.lost - self._lost)
            self._lost = counters.lost
        for failure in counters.failures:
            self._failure(failure)

    def _failure(self, failure: SiteCount) -> None:
        more = failure.count - self._told.get(failure.site, 0)
        wanted = failure.site.kind not in _ON_REQUEST or self.manner.helper_warnings
        if more > 0 and wanted:
            self.output.failed(replace(failure, count=more))
        self._told[failure.site] = failure.count

    def _maps(self) -> None:
        self.output.ending()
        if not (self.manner.print_maps and self.session.manifest.config.print_maps_on_exit):
            return
        for state in map_states(self.session, self.resolver, unset=True):
            self.output.map(state)
