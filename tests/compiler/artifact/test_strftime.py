"""Moments as text, with the letters that strftime() adds and time() has not."""

import pytest

from kubebpf.compiler.artifact.strftime import format_clock, format_time

MOMENT = 1_795_369_351_548_885_322  # 2026-11-22 17:42:31.548885322 UTC


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("%H:%M:%S", "17:42:31"),
        ("%f %k %l", "548885 548885322 548"),
        ("%%f %Q %% %", "%f %Q % %"),
        ("%m/%d/%y", "11/22/26"),
    ],
)
def test_strftime(format: str, text: str) -> None:
    assert format_time(MOMENT, format, utc=True) == text


def test_time_has_only_the_letters_of_libc() -> None:
    assert format_clock(MOMENT // 10**9, "%f %l %k", utc=True) == "%f  5 17"


def test_a_moment_without_a_date() -> None:
    assert format_time(2**63 * 10**9, "%Y") == "(?)"
