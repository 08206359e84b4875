"""The graph of a time series against what bpftrace 0.27.1 drew."""

import pytest

from kubebpf.compiler.artifact.cells import Interval, Intervals
from kubebpf.compiler.artifact.text_series import points, series_text

HOUR = 17 * 3600


def series(*rows: tuple[int, int]) -> Intervals:
    return Intervals(tuple(Interval(epoch, value, 1) for epoch, value in rows))


def test_an_interval_without_a_value_is_a_dash() -> None:
    start = HOUR + 44 * 60 + 8
    assert series_text((10**9, 5), "", series((start, 5), (start + 2, 20)), utc=True) == (
        "         5                                                  20\n"
        "hh:mm:ss |___________________________________________________|\n"
        "17:44:08 *                                                   | 5\n"
        "17:44:09 |                                                   | -\n"
        "17:44:10 |                                                   * 20\n"
        "         v___________________________________________________v\n"
        "         5                                                  20\n"
    )


def test_the_zero_line() -> None:
    start = (HOUR + 54 * 60 + 8) * 10 + 2
    graph = series_text((10**8, 5), "", series((start, 20), (start + 1, 20), (start + 3, -7)), utc=True)
    assert graph == (
        "             -7                                                 20\n"
        "hh:mm:ss.ms  |___________________________________________________|\n"
        "17:54:08.200 |            .                                      * 20\n"
        "17:54:08.300 |            .                                      * 20\n"
        "17:54:08.400 |            .                                      | -\n"
        "17:54:08.500 *            .                                      | -7\n"
        "             v___________________________________________________v\n"
        "             -7                                                 20\n"
    )


def test_one_interval_is_in_the_middle_and_to_the_nanosecond() -> None:
    assert series_text((10**9, 3), "max", series((HOUR + 44 * 60 + 10, 3)), utc=True) == (
        "                   2                                                   4\n"
        "hh:mm:ss.ns        |___________________________________________________|\n"
        "17:44:10.000000000 |                         *                         | 3\n"
        "                   v___________________________________________________v\n"
        "                   2                                                   4\n"
    )


def test_no_interval() -> None:
    assert series_text((10**9, 3), "", Intervals(())) == "<no data>"


def test_only_the_newest_intervals_count_and_averages_are_divided() -> None:
    cell = Intervals((Interval(1, 9, 1), Interval(7, 11, 2), Interval(9, 3, 1)))
    assert points((1000, 3), "avg", cell) == [(7000, 5), (8000, None), (9000, 3)]


@pytest.mark.parametrize(
    ("value", "signed", "low", "high"),
    [
        (0, False, 0, 1), (0, True, -1, 1), (5, False, 4, 6), (-(2**63), True, -(2**63), 1 - 2**63),
        (2**64 - 1, False, 2**64 - 2, 2**64 - 1), (2**63 - 1, True, 2**63 - 2, 2**63 - 1),
    ],
)  # fmt: skip
def test_the_scale_of_equal_values_ends_with_the_type(value: int, signed: bool, low: int, high: int) -> None:
    scale, _, line, *_ = series_text((10**9, 2), "", Intervals((Interval(5, value, 1),)), signed=signed, utc=True).splitlines()
    assert scale.split() == [str(low), str(high)]
    assert line.index("*") - len("00:00:05.000000000 ") == {low: 0, high: 52}.get(value, 26)
