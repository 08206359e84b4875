"""tseries: intervals by a clock that the test sets, and by the machine's own."""

from __future__ import annotations

import time

import pytest

from kubebpf.compiler.artifact.cells import Extreme, Interval, Intervals
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.text_series import points
from support.programs import checked, codes, run, running
from support.workload import Workload

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"
CLOCK = (("BPFTRACE_DUMMY_TS_MAP", "@ts"),)  # tseries takes the time from this map
# (nanoseconds, value): three intervals of 10, a gap, and one that comes where the first was.
FED = ((5, 3), (9, -7), (12, 4), (19, 1), (20, 9), (45, 6))


def series(how: str, fed: tuple[tuple[int, int], ...] = FED, intervals: int = 4) -> list[tuple[int, int | None]]:
    """The points of a series on the CPU of a begin probe."""
    given = f', "{how}"' if how else ""
    function = f"tseries((int64)@v, 10, {intervals}{given})"
    body = " ".join(f"@ts = (uint64){time}; @v = (int64){value}; @ = {function};" for time, value in fed)
    cell = run(f"begin {{ {body} }}", environment=CLOCK).cell("@")
    assert isinstance(cell, Intervals)
    return points((10, intervals), how, cell)


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ("", (1, 9, None, 6)),
        ("sum", (5, 9, None, 6)),
        ("avg", (2, 9, None, 6)),
        ("min", (1, 9, None, 6)),
        ("max", (4, 9, None, 6)),
    ],
)
def test_tseries(how: str, values: tuple[int | None, ...]) -> None:
    # Interval 0 went when 4 came: there is room for four.
    assert series(how) == list(zip((10, 20, 30, 40), values, strict=True))


def test_negative_values_win_and_lose() -> None:
    assert series("min", FED[:2]) == [(0, -7)]
    assert series("max", ((5, -7), (6, -9))) == [(0, -7)]
    assert series("avg", ((5, -7), (6, -8))) == [(0, -7)]


def test_what_comes_late_does_not_disturb_the_ring() -> None:
    assert series("sum", ((45, 6), (5, 100), (46, 1))) == [(40, 7)]


def test_zero_keeps_the_key_and_no_interval() -> None:
    text = "begin { @[1] = tseries(1, 1s, 3); zero(@); @ended = 1; }"
    with running(text) as session:
        session.poll(0)
        session.zero("@")
        assert [cell for _, cell in session.read("@", _plain()).rows] == [Intervals(())]


def test_the_clock_is_the_wall_s() -> None:
    work = Workload.start("--getppid", 50)
    before = time.time_ns()
    with running(f'{GETPPID} /pid == {work.pid}/ {{ @ = tseries(1, 10s, 6, "sum"); }}') as session:
        work.go()
        (cell,) = [cell for _, cell in session.read("@", _plain()).rows]
    assert isinstance(cell, Intervals)
    assert sum(interval.value for interval in cell.intervals) == 50
    # The clocks are read a few hundred nanoseconds apart, and the machine's own is adjusted all the time.
    assert all((before - 10_000_000) // 10**10 <= i.epoch <= (time.time_ns() + 10_000_000) // 10**10 for i in cell.intervals)


def test_programs_that_interrupt_each_other() -> None:
    """Fed by two providers, so that all updates are exchanges; begin and end follow one another here."""
    text = (
        'begin { @ts = (uint64)5; @ = tseries(3, 10, 4, "sum"); @m = tseries(3, 10, 4, "min"); @low = min(-3); }'
        ' end { @ = tseries(4, 10, 4, "sum"); @m = tseries(-5, 10, 4, "min"); @ts = (uint64)45; @ = tseries(1, 10, 4, "sum");'
        ' @m = tseries(7, 10, 4, "min"); @low = min(-9); @low = min(2); }'
    )
    ran = run(text, environment=CLOCK)
    assert ran.cell("@") == Intervals((Interval(4, 1, 1),))
    assert ran.cell("@m") == Intervals((Interval(4, 7, 1),))
    assert ran.cell("@low") == Extreme("min", -9)


@pytest.mark.parametrize(
    "arguments", ["1, 0, 5", "1, 1s, 0", "1, 1s, -1", "1, 1s, 2000", '1, 1s, 5, "stats"', "1, nsecs, 5", '"a", 1s, 5']
)
def test_wrong_arguments(arguments: str) -> None:
    assert checked(f"begin {{ @ = tseries({arguments}); }}").program is None
    assert codes(f"begin {{ @ = tseries({arguments}); }}")[0] in ("WrongArgument", "NeedsLiteral")


def _plain() -> PlainResolver:
    return PlainResolver()
