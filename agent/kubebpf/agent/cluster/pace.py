"""When a write may go out: all agents of a cluster together keep to one budget, and none of them asks another.

    pace = Pace()
    slot = slot_seconds(nodes=200, writes=2)      -> 8.0: so long the budget takes for this write of all nodes
    pace.expect(slot)                             # it is asked for: where many write, when to begin is drawn by lot
    pace.wait(slot, urgent=True)                  -> seconds; 0: now
    pace.spend(slot, urgent=True)                 # it was written

An agent knows of each trace how many nodes it has. What concerns few of them goes at once. What all of many nodes want to write
at the same moment (a new trace, an end) is spread: each agent begins at a random moment of the first slot and takes one slot for
a report, so the cluster writes at the budget's rate from the beginning to the end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from kubebpf.agent.cluster.report import WRITES_PER_SECOND

# A slot up to this is "few": what a cluster may write at once is one second of its budget.
AT_ONCE = 1.0
# Ordinary reports that may follow each other: their moments are random anyhow. After an outage they must not come all together.
CALM_SLOTS = 2.0
# After a write that took d seconds ordinary reports wait this times d: an API server that is slow gets less, whatever the reason.
PATIENCE = 4.0
# But never longer: a request that hung through an outage says nothing about the server that is back.
LONGEST_CALM = 10.0


def slot_seconds(nodes: int, writes: int = 1, writes_per_second: float = WRITES_PER_SECOND) -> float:
    """Seconds of the cluster's budget that it takes when every node of a trace makes these writes.

    >>> slot_seconds(200, writes=2)
    8.0
    """
    return nodes * writes / writes_per_second


class Pace:
    """The moments before which this agent must not write. Not for several threads at once.

    Args:
        clock: seconds, monotonic.
        draw: a random number between two.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._clock, self._draw = clock, draw
        # Three clocks of a leaky bucket each (GCRA): they run ahead of the time by what was written.
        self._few = self._many = self._calm = float("-inf")

    def expect(self, slot: float) -> None:
        """An urgent write is asked for: from now on its turn is awaited."""
        now = self._clock()
        if slot > AT_ONCE and self._many <= now:
            self._many = now + self._draw(0.0, slot - AT_ONCE)

    def wait(self, slot: float, urgent: bool) -> float:
        """Seconds until a write may go out.

        Args:
            slot: see `slot_seconds`.
            urgent: it says that something began, failed or ended; others stand back until those are through.
        """
        if urgent:
            ready = self._many if slot > AT_ONCE else self._few - AT_ONCE
        else:
            ready = max(self._many, self._calm - max(AT_ONCE, CALM_SLOTS * slot))
        return max(0.0, ready - self._clock())

    def spend(self, slot: float, urgent: bool) -> None:
        """Note that a write went out."""
        now = self._clock()
        if not urgent:
            self._calm = max(self._calm, now) + slot
            return
        self._many = max(self._many, now) + slot
        if slot <= AT_ONCE:
            self._few = max(self._few, now) + slot

    def took(self, seconds: float) -> None:
        """Note how long a write took, or how long nobody answered."""
        self._calm = max(self._calm, self._clock() + min(PATIENCE * seconds, LONGEST_CALM))

    def held(self) -> float:
        """Seconds for which ordinary reports stand back."""
        return max(0.0, self._many - self._clock())
