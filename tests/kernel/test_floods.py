"""Many events: every one arrives once, in its order, and says what it says alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.decode import PlainResolver
from support.programs import compiled

PROGRAM = r"""
tracepoint:syscalls:sys_enter_getppid /pid == $1/ {
  @n++;
  $r = @n % 1000;
  if ($r < 600) {
    printf("%d\n", @n);
  } else if ($r % 3 == 0) {
    printf("%d %-6d|\n", @n, $r);
  } else {
    printf("%d %s\n", @n, comm);
  }
}
"""


@pytest.mark.kernel
def test_printf_of_many_lengths_around_the_end_of_a_small_buffer() -> None:
    comm, expected, received = Path("/proc/self/comm").read_text().strip(), list[str](), list[str]()
    for n in range(1, 20_001):
        r = n % 1000
        expected.append(f"{n}\n" if r < 600 else f"{n} {r:<6}|\n" if r % 3 == 0 else f"{n} {comm}\n")
    options = Options(args=(str(os.getpid()),), ring_bytes=1 << 16)
    with Session(compiled(PROGRAM), options) as session:
        dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, said: received.append(said)))
        session.start()
        for _ in range(100):
            for _ in range(200):
                os.getppid()
            dispatch.all(session.poll(0))
        assert session.counters().lost == 0
    assert "".join(received) == "".join(expected)
