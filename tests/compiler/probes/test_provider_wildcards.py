"""Attach points whose provider is a pattern."""

from __future__ import annotations

import pytest

from support.programs import compiled


def places(text: str) -> list[str]:
    return [attach.text for attach in compiled(text).manifest.attaches]


def test_provider_wildcard() -> None:
    """Every provider that the rest makes sense for; of counters, every event that matches."""
    assert places("k*probe:vfs_read { @ = count(); }") == ["kprobe:vfs_read", "kretprobe:vfs_read"]
    assert places("*ware:cpu-c* { @ = count(); }") == ["software:cpu-clock", "hardware:cpu-cycles"]
    assert places("*ware:page-faults:10 { @ = count(); }") == ["software:page-faults:10"]


def test_provider_wildcard_that_matches_nothing() -> None:
    with pytest.raises(Exception, match="No matches for software event nothing"):
        places("*ware:nothing { @ = count(); }")
