"""Fixtures of all compiler tests: golden files beside the programs that they are about."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubebpf.compiler.kernel.view import KernelView
from support.smallkernel import small_kernel


@pytest.fixture
def golden() -> Callable[[Path, str], None]:
    """Compare with a golden file, or rewrite it under UPDATE_GOLDEN=1."""

    def golden(path: Path, actual: str) -> None:
        if os.environ.get("UPDATE_GOLDEN") == "1":
            path.write_text(actual)
        assert path.exists(), f"{path.name} is missing: UPDATE_GOLDEN=1 writes it"
        assert actual == path.read_text()

    return golden


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> KernelView:
    """A made-up kernel that is the same on every machine."""
    return small_kernel(tmp_path_factory.mktemp("kernel"))
