"""What every test folder shares: markers that need something of the machine skip with a reason, or fail when CI says so."""

from __future__ import annotations

import os

import pytest

from support.machine import LACKS


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A skip hides a missing install step, so CI turns every skip of this kind into a failure."""
    for marker, lacks in LACKS.items():
        reason = lacks() if item.get_closest_marker(marker) else None
        if reason is None:
            continue
        if os.environ.get("KUBEBPF_NO_SKIP") == "1":
            pytest.fail(f"KUBEBPF_NO_SKIP=1, and this machine {reason}", pytrace=False)
        pytest.skip(reason)
