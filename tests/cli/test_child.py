"""Processes that wait before they run, and what ends a run."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from pathlib import Path

import pytest

from kubebpf.cli.child import Child
from kubebpf.cli.ends import Ends
from kubebpf.cli.problems import UserError


def test_a_child_waits_until_it_may_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with Child.start(f"touch '{made}'") as child:
        assert child.pid != os.getpid()
        time.sleep(0.2)
        assert not made.exists()
        child.go()
        assert select.select([child.fd], [], [], 10)[0]
        assert made.exists()


def test_a_child_that_never_ran_ends_with_its_block(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with Child.start(f"touch '{made}'") as child:
        pid = child.pid
    assert not made.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with Child.start(
        """python3 -c 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'"""
    ) as child:
        child.go()
        time.sleep(0.5)
        pid = child.pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("command", "why"), [("/no/such", "does not exist"), ("'unclosed", "No closing quotation"), ("", "empty")]
)
def test_commands_that_cannot_run(command: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        Child.start(command)


def test_a_signal_ends_and_the_next_one_acts_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Ends() as ends:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        while not ends.reached:
            ends.wait(None)
        assert time.monotonic() - started < 0.9
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before


def test_the_duration_counts_from_the_start_of_the_clock() -> None:
    with Ends(duration_s=0.2) as ends:
        ends.wait(None)
        assert not ends.reached
        ends.start_clock()
        started = time.monotonic()
        while not ends.reached:
            ends.wait(None)
        assert 0.19 < time.monotonic() - started < 0.8


def test_the_end_of_a_process_ends() -> None:
    with Child.start("sleep 0.2") as child, Ends(processes=[child.fd]) as ends:
        child.go()
        started = time.monotonic()
        while not ends.reached:
            ends.wait(None)
        assert time.monotonic() - started < 0.9
