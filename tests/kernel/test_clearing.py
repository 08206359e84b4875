"""clear() and zero() on a node of a cluster: what its reports say, and what the operator makes of them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import astuple
from typing import Any

import pytest

from kubebpf.agent.cluster.report import State, report_status
from kubebpf.agent.output.dispatch import Dispatcher, map_states
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.operator.merge import merge, read_maps
from support.programs import running
from support.workload import Workload

pytestmark = pytest.mark.kernel
PROGRAM = (
    "tracepoint:syscalls:sys_enter_getppid /pid == {pid}/ {{ @ = count(); @k[1] = sum(2); @h[2] = hist(4); @low = min(7); }}"
    " tracepoint:syscalls:sys_enter_getuid /pid == {pid}/ {{ {action} }}"
)


def report(session: Session) -> list[dict[str, Any]]:
    """What the agent would write now: it does first what the records ask, in its one thread."""
    said: list[str] = []
    dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, text: said.append(text)))
    for record in session.poll(0):
        dispatch(record)
    state = State(1, "sha256:0", "s", "Attached", maps=map_states(session, PlainResolver()))
    maps: list[dict[str, Any]] = report_status(state, 20, 0)["maps"]
    return maps


def total(*reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The cluster's maps, by name: the number or the counts of the only key."""
    merged = {item.name: item.write()["entries"] for item in merge(read_maps(r, f"n{i}") for i, r in enumerate(reports))}
    return {name: entries[0] if entries else None for name, entries in merged.items()}


@pytest.mark.parametrize("action", ["clear(@); clear(@k); clear(@h); clear(@low)", "zero(@); zero(@k); zero(@h); zero(@low)"])
def test_what_is_counted_after_it_is_in_the_next_report(action: str) -> None:
    work = Workload.start("--getppid", 10)
    with running(PROGRAM.format(pid=work.pid, action="{}")) as other:  # a node that clears nothing
        with running(PROGRAM.format(pid=work.pid, action=action)) as session:
            work.go()
            before = report(session)
            for name in ("@", "@k", "@h", "@low"):
                (session.clear if action.startswith("clear") else session.zero)(name)
            empty = report(session)
            unchanged = report(other)
        assert total(before, unchanged)["@"]["count"] == "20"
        # Reading a report twice, or not the one in between, changes nothing: only the newest of each node is in the sum.
        for read in itertools.permutations([before, empty]):
            newest = {"a": read[0]} | {"a": empty}
            assert total(newest["a"], unchanged)["@"]["count"] == "10"
        assert total(empty, unchanged)["@k"]["sum"] == "20"
        assert total(empty, unchanged)["@low"]["min"] == "7"
        assert total(empty, empty).get("@low") is None  # an extreme that is not set is in no report


def test_a_clear_of_the_program_takes_its_place_among_the_records() -> None:
    """Every report lies before or behind the clear; none has some maps of before and some of after it."""
    work = Workload.start("--getppid", 25)
    text = (
        "tracepoint:syscalls:sys_enter_getppid /pid == {pid}/ {{ @a[1] = count(); @b[1] = count(); @n = @n + 1;"
        " if (@n % 10 == 0) {{ clear(@a); clear(@b); }} }}"
    )
    with running(text.format(pid=work.pid)) as session:
        work.go()
        seen = total(report(session))
    # The two clears were done when the report was made, after all 25 calls.
    assert (seen["@a"], seen["@b"], seen["@n"]["value"]) == (None, None, {"int": "25"})


@pytest.mark.parametrize("function", ["count()", "sum(1)"])
def test_what_is_counted_between_print_and_clear_is_not_lost(function: str) -> None:
    """A hundred thousand calls, and their map emptied all the time: no more is lost than the one update that each time may hit.

    Read and cleared in two steps, it would be some ten thousands.
    """
    calls = 100_000
    work = Workload.start("--getppid", calls)
    program = f"tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{ @[0] = {function}; }}"
    counted = rounds = 0
    with running(program) as session:
        other = threading.Thread(target=work.go)
        other.start()
        while other.is_alive() or rounds < 3:
            rounds += 1
            counted += sum(next(iter(astuple(cell))) for _, cell in session.drain("@", PlainResolver()).rows)
        other.join()
        counted += sum(next(iter(astuple(cell))) for _, cell in session.drain("@", PlainResolver()).rows)
    assert 10 < rounds < calls // 4
    assert calls - rounds <= counted <= calls


def test_print_and_clear_of_one_map_are_one_step() -> None:
    """The records say so whatever stands between them, as long as it is of other maps."""
    text = "begin { @a[1] = 1; @b[1] = 2; print(@a); print(@b); clear(@a); @a[1] = 3; clear(@b); print(@b); print(@a, 1); }"
    said: list[str] = []
    with running(text) as session:
        records = session.poll(0)
        dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, line: said.append(line)))
        dispatch.expect(records)
        assert [dispatch.is_both(record) for record in records] == [True, True, True, True, False, False]
        for record in records:
            dispatch(record)
    assert said == ["@a[1]: 3\n", "@b[1]: 2\n"]
