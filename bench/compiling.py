"""What compiling costs: a typical tool in a warm process, as in the operator, and the commands that a person waits for."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

from kubebpf.compiler.emit.program import build
from kubebpf.compiler.emit.target import optimise, to_object
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import check_script, compile_script
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


def stages(rounds: int) -> dict[str, float]:
    """Where the time to compile the tool goes: ms of CPU time, medians, by stage."""
    text, view, options = TOOL.read_text(), KernelView.running(), CompileOptions()
    runs = [_stages(text, view, options) for _ in range(rounds + 1)][1:]
    return {stage: median(run[stage] for run in runs) for stage in runs[0]}


def _stages(text: str, view: KernelView, options: CompileOptions) -> dict[str, float]:
    marks = [time.process_time()]

    def took() -> float:
        marks.append(time.process_time())
        return (marks[-1] - marks[-2]) * 1000

    checked = check_script(text, view, options)
    checking = took()
    assert checked.program is not None
    module, manifest = build(checked.program, checked.report.sources, options, checked.settings)
    building = took()
    ir = module.ir(manifest)
    writing = took()
    optimise(ir)
    optimising = took()
    to_object(ir)
    return {
        "parse and passes": checking,
        "typed tree to functions": building,
        "IR text": writing,
        "LLVM: parse, verify, optimise": optimising,
        "LLVM: object": max(took() - optimising, 0.1),
    }


def commands(rounds: int) -> dict[str, Cost]:
    """Cold starts of commands: the medians, by what was called."""
    program = str(Path(sys.executable).with_name("kubebpf"))
    calls = {"kubebpf check tool.bt": [program, "check", str(TOOL)], "kubebpf --help": [program, "--help"]}
    return dict(zip(calls, costs(list(calls.values()), rounds), strict=True))
