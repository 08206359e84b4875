"""This node's part of one trace: what runs, what is being loaded, what is over; and when its report is due.

A Part is plain state. What happens to it is in `agent.py`, in this order: pending -> loading -> live -> settled (failed or
completed).
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass, field

from kubebpf.agent.cluster.desired import Identity
from kubebpf.agent.cluster.live import Live
from kubebpf.agent.cluster.trace import Object, Trace
from kubebpf.agent.cluster.watch import Backoff

# Reports of one interval are spread over this share of it, so that a cluster's nodes do not write all at once.
JITTER = 0.2
# Seconds from attaching to the first look for numbers; the next ones come after twice as long each, up to the interval.
FIRST_LOOK = 1.0


@dataclass
class Part:
    """One trace on this node.

    Args:
        trace: as the API server shows it now.
        live: the attached session.
        loading: what is being loaded in the background.
        settled: what failed or is completed here: it is not started again.
        written: the last status given to the writer; packed (see `pack`) once nothing runs.
        reported: the report was seen in the API server since the last write that created it.
        due: when to look whether there is news for the report; seconds, monotonic.
        looks: how often that was done since the session was attached.
        told: when there was news last; seconds, monotonic.
        retry_at: not to be loaded again before.
        needs: bytes of memory that were not free: it is started again when they are; 0: it does not wait for any.
        unpinned: nothing of it is pinned that does not belong to `live`.
    """

    trace: Trace
    live: Live | None = None
    loading: Identity | None = None
    settled: Identity | None = None
    written: Object | bytes | None = None
    reported: bool = False
    due: float = 0.0
    looks: int = 0
    told: float = float("-inf")
    retry_at: float = 0.0
    needs: int = 0
    unpinned: bool = False
    backoff: Backoff = field(default_factory=Backoff)

    def postpone(self, now: float, interval: float, least: float = 0.0) -> None:
        """Look again after the interval; sooner while the session is young, because somebody waits for the first numbers.

        Args:
            least: seconds that must pass in any case.
        """
        early = FIRST_LOOK * 2.0 ** min(self.looks, 16)
        self.looks += 1
        self.due = now + min(max(early, least), max(interval, least)) * random.uniform(1.0, 1.0 + JITTER)

    def hold(self, now: float, seconds: float, interval: float) -> None:
        """Look again at some moment of the interval that begins in so many seconds."""
        self.due = now + seconds + random.uniform(0.0, interval)

    def hurry(self, now: float, interval: float, soon: float) -> None:
        """There is news: look soon, if it is an interval ago that there was some."""
        self.due = min(self.due, max(now + soon, self.told + interval))

    def said(self) -> Object | None:
        """The last status given to the writer."""
        if isinstance(self.written, bytes):
            unpacked: Object = json.loads(zlib.decompress(self.written))
            return unpacked
        return self.written

    def pack(self) -> None:
        """Nothing runs, and what was counted is kept only in case that its report is lost: ended traces may be many."""
        if isinstance(self.written, dict):
            self.written = zlib.compress(json.dumps(self.written).encode(), 1)

    def wants(self, identity: Identity, now: float) -> bool:
        """Whether a session of this identity is still to be loaded."""
        held = (self.live.identity if self.live else None, self.loading, self.settled)
        return identity not in held and now >= self.retry_at
