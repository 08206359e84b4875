"""unwatch: a watchpoint of a process is gone once the program asks for that."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.decode import PlainResolver
from support.programs import running

pytestmark = pytest.mark.kernel
WRITER = """
import ctypes, time
word, other = ctypes.c_uint64(0), ctypes.c_uint64(0)
print(ctypes.addressof(word), ctypes.addressof(other), flush=True)
while True:
    word.value += 1
    other.value += 1
    time.sleep(0.001)
"""


def counts(session: Session) -> tuple[int, int]:
    """How often the two words were written, as far as somebody watched."""
    found = []
    for name in ("@word", "@other"):
        cells = [cell for _, cell in session.read(name, PlainResolver()).rows]
        found.append(sum(cell.count for cell in cells if isinstance(cell, Count)))
    return found[0], found[1]


@pytest.mark.entry("unwatch")
@pytest.mark.entry("probe:watchpoint")
def test_unwatch() -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            word, other = writer.stdout.readline().split()
            program = (
                f"watchpoint:{word}:8:w {{ @word = count(); if ((int64)@word == 5) {{ unwatch({word}); }} }}"
                f" watchpoint:{other}:8:w {{ @other = count(); }}"
            )
            with running(program, options=Options(pid=writer.pid)) as session:
                dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, text: None))
                while not (records := session.poll(5)):
                    pass
                for record in records:
                    dispatch(record)
                before = counts(session)
                time.sleep(0.3)
                after = counts(session)
        finally:
            writer.kill()
    assert before[0] >= 5
    assert after[0] == before[0]
    assert after[1] > before[1] + 10
