"""How soon a person sees a number, with operator and intervals as they are delivered: reports in 10 s, statuses in 15 s."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.chart import System
from support.operators import OperatorProcess
from support.world import Trace, World, scalar

pytestmark = pytest.mark.kernel

DELIVERED = {"interval": "10s"}
COUNT = "tracepoint:syscalls:sys_enter_getppid { @all = count(); }"
TELLING = 'tracepoint:syscalls:sys_enter_getppid /@told == 0/ { @told = 1; printf("there it is\\n"); }'


@pytest.fixture(scope="module")
def operator(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator as it is delivered."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(system.operator, system.namespace, log, 15.0) as process:
        yield process


def seconds_until_told(trace: Trace) -> float:
    """From now on, until the status has the line of each node."""
    began = time.monotonic()
    while len(trace.status().get("recent", [])) < 2:
        assert time.monotonic() - began < 60, trace.status()
        time.sleep(0.02)
    return time.monotonic() - began


def test_the_first_number_is_there_after_seconds(world: World) -> None:
    trace = world.trace("soon", COUNT, report=DELIVERED)
    trace.condition("Ready", "True")
    world.calls(100, 200)
    began = time.monotonic()
    trace.results(lambda maps: scalar(maps, "@all") > 0, timeout=5)
    print(f"a number after {time.monotonic() - began:.1f} s")
    # From then on the ordinary pace: nobody counts on more than one status in 15 s.
    trace.results(lambda maps: scalar(maps, "@all") == 300, timeout=30)


def test_a_line_after_a_silence_is_there_at_once(world: World) -> None:
    trace = world.trace("silent", TELLING, report=DELIVERED)
    trace.condition("Ready", "True")
    time.sleep(17)  # all first looks are over, and the agent's interval and the operator's
    world.calls(1, 1)
    took = seconds_until_told(trace)
    print(f"a line after {took:.1f} s")
    assert took < 4


def test_a_trace_that_ends_is_complete_at_once(world: World) -> None:
    trace = world.trace("ending", COUNT, report=DELIVERED, duration="6s")
    trace.condition("Ready", "True")
    time.sleep(3)  # results have been written, and would not be again for 15 s
    world.calls(100, 200)
    began = time.monotonic()
    trace.condition("Succeeded", "True", timeout=10)
    print(f"ended after {time.monotonic() - began:.1f} s")
    results = trace.status()["results"]
    assert scalar({m["name"]: m for m in results["maps"]}, "@all") == 300 and results["text"] == "@all: 300\n"
