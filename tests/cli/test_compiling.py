"""The compiler in its own process: what it says, and what its end looks like."""

from __future__ import annotations

import os
import signal

import pytest

from kubebpf.cli import building
from kubebpf.cli.compiling import CompilerCrashError, Compiling
from kubebpf.cli.problems import UserError


@pytest.mark.btf
def test_an_artifact_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    artifact = Compiling.start("begin { @x = count(); }", "stdin").artifact()
    assert [schema.name for schema in artifact.manifest.maps] == ["@x"]
    assert capsys.readouterr().err == ""


@pytest.mark.btf
def test_diagnostics_come_back() -> None:
    with pytest.raises(UserError, match=r"x\.bt:1:14-16: ERROR"):
        Compiling.start("begin { $x = $y; }", "x.bt").artifact()


def test_an_exception_of_the_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "kernel_view", lambda: 1 / 0)
    with pytest.raises(CompilerCrashError, match=r"^ZeroDivisionError: division by zero$"):
        Compiling.start("begin { }", "stdin").artifact()


def test_a_compiler_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "kernel_view", lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(CompilerCrashError, match="the compiler's process ended: Killed"):
        Compiling.start("begin { }", "stdin").artifact()
