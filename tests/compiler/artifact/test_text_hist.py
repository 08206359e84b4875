"""Buckets and bars against what bpftrace 0.27.1 printed, and against the numbering of slots by brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.artifact.cells import Histogram
from kubebpf.compiler.artifact.histogram import buckets, slot_count
from kubebpf.compiler.artifact.text_hist import bar, histogram_text


def slot_of(number: int, k: int) -> int:
    """The rule of DAggregate, as it stands there."""
    if number < 0:
        return 0
    if number < 1 << k:
        return 1 + number
    power = number.bit_length() - 1
    return 1 + ((power - k + 1) << k) + ((number >> (power - k)) & ((1 << k) - 1))


@given(st.integers(0, 2**64 - 1), st.integers(0, 5))
def test_a_bucket_holds_the_numbers_of_its_slot(number: int, k: int) -> None:
    slot = slot_of(number, k)
    (bucket,) = buckets("hist", (k,), ((slot, 1),))
    assert bucket.low is not None
    assert bucket.high is not None
    assert bucket.low <= number < bucket.high
    assert slot_of(bucket.low, k) == slot
    assert slot_of(bucket.high - 1, k) == slot


@pytest.mark.parametrize(
    ("k", "number", "label"),
    [
        (0, -1, "(..., 0)"), (0, 0, "[0]"), (0, 1, "[1]"), (0, 2, "[2, 4)"), (0, 512, "[512, 1K)"), (0, 1000000, "[512K, 1M)"),
        (0, 2**40, "[1T, 2T)"), (0, 2**62, "[4E, 8E)"),
        (1, 3, "[3]"), (1, 768, "[768, 1024)"), (1, 1024, "[1024, 1536)"), (1, 1536, "[1536, 2K)"), (1, 5000, "[4K, 6K)"),
        (2, 7, "[7]"), (2, 8, "[8, 10)"), (2, 896, "[896, 1024)"), (2, 3584, "[3584, 4K)"), (2, 1000000, "[896K, 1024K)"),
        (3, 100, "[96, 104)"), (3, 1000, "[960, 1024)"), (3, 100000, "[96K, 104K)"), (3, 2**63 - 1, "[7680P, 8E)"),
        (5, 63, "[63]"), (5, 70, "[70, 72)"), (5, 4095, "[4032, 4096)"), (5, 5000, "[4992, 5120)"),
    ],
)  # fmt: skip
def test_labels_of_hist(k: int, number: int, label: str) -> None:
    (bucket,) = buckets("hist", (k,), ((slot_of(number, k), 1),))
    assert bucket.label == label


def lhist_labels(low: int, high: int, step: int) -> list[str]:
    last = slot_count("lhist", (low, high, step)) - 1
    return [bucket.label for bucket in buckets("lhist", (low, high, step), ((0, 1), (last, 1)))]


@pytest.mark.parametrize(
    ("params", "labels"),
    [
        ((0, 10, 5), ["(..., 0)", "[0, 5)", "[5, 10)", "[10, ...)"]),
        ((0, 4, 1), ["(..., 0)", "[0]", "[1]", "[2]", "[3]", "[4, ...)"]),
        ((0, 3072, 1024), ["(..., 0)", "[0, 1K)", "[1K, 2K)", "[2K, 3K)", "[3K, ...)"]),
        ((0, 10240, 5120), ["(..., 0)", "[0, 5K)", "[5K, 10K)", "[10K, ...)"]),
        ((1000, 4072, 1024), ["(..., 1000)", "[1000, 2024)", "[2024, 3048)", "[3048, 4072)", "[4072, ...)"]),
        ((1024, 3145729, 1048576), ["(..., 1K)", "[1K, 1025K)", "[1025K, 2049K)", "[2049K, ...)"]),
        ((1047552, 1050624, 1024), ["(..., 1023K)", "[1023K, 1M)", "[1M, 1025K)", "[1025K, 1026K)", "[1026K, ...)"]),
        ((0, 104, 50), ["(..., 0)", "[0, 50)", "[50, 100)", "[100, ...)"]),
    ],
)
def test_labels_of_lhist(params: tuple[int, int, int], labels: list[str]) -> None:
    assert lhist_labels(*params) == labels


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 500))
def test_the_slots_of_lhist_cover_all_numbers_once(low: int, width: int, step: int) -> None:
    params = (low, low + width, step)
    last = slot_count("lhist", params) - 1
    rows = buckets("lhist", params, ((0, 1), (last, 1)))
    assert [row.low for row in rows[1:]] == [row.high for row in rows[:-1]]
    assert (rows[0].low, rows[-1].high) == (None, None)
    # As generated code counts: what is below max, by steps; all else in the last slot.
    assert {1 + (number - low) // step for number in range(low, low + width)} | {last} == set(range(1, last + 1))


def test_parameters_of_no_histogram() -> None:
    for kind, params in (("hist", (6,)), ("hist", (0, 1)), ("lhist", (0, 9, 0)), ("lhist", (5, 5, 1)), ("lhist", (1, 2))):
        with pytest.raises(ValueError, match=r"hist|unpack"):
            slot_count(kind, params)


def test_a_histogram_runs_from_its_first_to_its_last_bucket() -> None:
    # @l=hist(-5); hist(0); hist(1) three times; hist(2); hist(9)
    text = histogram_text("hist", (0,), Histogram(((0, 1), (1, 1), (2, 3), (3, 1), (5, 1))))
    third, full, none = f"{'@' * 17:52}", "@" * 52, " " * 52
    assert text == (
        f"(..., 0)               1 |{third}|\n"
        f"[0]                    1 |{third}|\n"
        f"[1]                    3 |{full}|\n"
        f"[2, 4)                 1 |{third}|\n"
        f"[4, 8)                 0 |{none}|\n"
        f"[8, 16)                1 |{third}|\n"
    )


def test_div_keeps_the_lines() -> None:
    # the same, print(@l, 0, 2)
    text = histogram_text("hist", (0,), Histogram(((0, 1), (1, 1), (2, 3))), 2)
    assert [line[16:26].strip() for line in text.splitlines()] == ["0 |", "0 |", "1 |"]
    assert [line.count("@") for line in text.splitlines()] == [0, 0, 52]


@pytest.mark.parametrize(
    ("count", "greatest", "length"), [(0, 0, 0), (0, 9, 0), (1, 3, 17), (9, 9, 52), (1, 2, 26), (306, 362, 43)]
)
def test_bars(count: int, greatest: int, length: int) -> None:
    assert bar(count, greatest) == length
