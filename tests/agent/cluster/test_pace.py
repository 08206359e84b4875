"""How writes are spread: simulated agents with a clock of their own."""

from __future__ import annotations

import random
from collections import Counter

from kubebpf.agent.cluster.pace import LONGEST_CALM, Pace, slot_seconds


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def moments(nodes: int, traces: int, writes: int, seed: int = 1) -> list[float]:
    """When agents write that all have one urgent report for each trace at second 0; each makes so many writes at once."""
    numbers, slot = random.Random(seed), slot_seconds(nodes, writes)
    found = []
    for _ in range(nodes):
        clock = Clock()
        pace = Pace(clock, numbers.uniform)
        for _ in range(traces):
            pace.expect(slot)
        for _ in range(traces):
            clock.now += pace.wait(slot, urgent=True)
            pace.spend(slot, urgent=True)
            found += [clock.now] * writes
    return found


def test_what_concerns_few_nodes_is_written_at_once() -> None:
    assert max(moments(nodes=3, traces=5, writes=2)) == 0
    assert max(moments(nodes=25, traces=1, writes=2)) == 0


def test_many_first_reports_keep_to_the_budget_from_the_beginning_to_the_end() -> None:
    found = moments(nodes=200, traces=10, writes=2)
    assert len(found) == 4000
    assert 75 < max(found) < 80  # 4000 writes at 50 a second
    by_second = Counter(int(moment) for moment in found)
    # One more for the second in which nobody waits; the rest is the lot's.
    assert max(by_second.values()) < 110
    by_five = Counter(int(moment) // 5 for moment in found)
    assert max(by_five.values()) < 5 * 70
    assert min(by_five[five] for five in range(15)) > 5 * 35


def test_a_thousand_nodes_take_their_share_of_time() -> None:
    found = moments(nodes=1000, traces=1, writes=2)
    assert 35 < max(found) <= 39
    assert max(Counter(map(int, found)).values()) < 100


def test_many_small_traces_of_one_agent_come_at_its_share() -> None:
    found = moments(nodes=1, traces=200, writes=2)
    assert Counter(map(int, found))[0] <= 2 * (25 + 26)
    assert 6 < max(found) < 8


def test_ordinary_reports_stand_back_until_what_is_urgent_is_through() -> None:
    clock = Clock()
    pace = Pace(clock, lambda low, high: high)
    pace.expect(8.0)
    assert pace.wait(8.0, urgent=True) == 7.0 == pace.wait(4.0, urgent=False) == pace.held()
    # A trace of three nodes does not wait for one of two hundred.
    assert pace.wait(0.12, urgent=True) == 0
    clock.now = 7.0
    pace.spend(8.0, urgent=True)
    assert pace.wait(8.0, urgent=True) == 8.0 == pace.held()
    clock.now = 15.0
    assert pace.wait(4.0, urgent=False) == 0 == pace.held()


def test_a_slow_server_gets_fewer_ordinary_reports() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.took(0.01)
    assert pace.wait(0.06, urgent=False) == 0
    pace.took(5.0)
    assert pace.wait(0.06, urgent=False) == LONGEST_CALM - 1
    assert pace.wait(0.06, urgent=True) == 0


def test_after_an_outage_ordinary_reports_do_not_come_all_together() -> None:
    clock = Clock()
    pace = Pace(clock)
    at_once = 0
    while pace.wait(20.0, urgent=False) == 0:
        pace.spend(20.0, urgent=False)
        at_once += 1
    assert at_once == 3
    assert pace.wait(20.0, urgent=False) == 20.0
