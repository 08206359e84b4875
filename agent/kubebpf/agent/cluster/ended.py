"""Sessions that have ended here, pinned until their last report is written: nobody else has what they counted.

ended = Ended(release)
ended.keep(live)                 detached, its end programs have run
ended.written(uid, status)       -> released, once the API server has its state
ended.leave()                    at the agent's end: the next one reports the rest
"""

from __future__ import annotations

from collections.abc import Callable

from kubebpf.agent.cluster.live import Live, close_quietly, leave_quietly
from kubebpf.agent.cluster.trace import Object, Uid


class Ended:
    """At most one of each trace.

    Args:
        release: closes a session for good.
    """

    def __init__(self, release: Callable[[Live], object]) -> None:
        self._release = release
        self._kept: dict[Uid, Live] = {}

    def __contains__(self, uid: Uid) -> bool:
        return uid in self._kept

    def keep(self, live: Live) -> None:
        """Hold one until it is written; one that nothing pins has no use for that."""
        self.let_go(live.identity.uid)
        if live.pinned:
            self._kept[live.identity.uid] = live
        else:
            self._release(live)

    def written(self, uid: Uid, status: Object) -> None:
        """A status of a trace's report is in the API server."""
        live = self._kept.get(uid)
        if live is not None and (status.get("phase") == "Completed" or status.get("session") != live.id):
            self.let_go(uid)

    def let_go(self, uid: Uid) -> None:
        """Nobody needs it any longer."""
        if (live := self._kept.pop(uid, None)) is not None:
            self._release(live)

    def leave(self) -> None:
        """Leave those that are not written to the next agent."""
        self._release = close_quietly
        for live in self._kept.values():
            leave_quietly(live)
        self._kept.clear()
