"""What compiling costs: a typical tool in a warm process, as in the operator, and the commands that a person waits for."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from tools import Cost, costs

TOOL = Path(__file__).with_name("tool.bt")


def warm_ms(rounds: int) -> float:
    """Compile the tool again and again in this process; the median, in ms."""
    text, times = TOOL.read_text(), []
    view = KernelView.running()
    for _ in range(rounds + 1):
        start = time.perf_counter()
        done = compile_script(text, view, CompileOptions())
        times.append(time.perf_counter() - start)
        if done.artifact is None:
            raise AssertionError(f"{TOOL} does not compile")
    return median(times[1:]) * 1000


def commands(rounds: int) -> dict[str, Cost]:
    """Cold starts of commands: the medians, by what was called."""
    program = str(Path(sys.executable).with_name("kubebpf"))
    calls = {"kubebpf check tool.bt": [program, "check", str(TOOL)], "kubebpf --help": [program, "--help"]}
    return dict(zip(calls, costs(list(calls.values()), rounds), strict=True))
