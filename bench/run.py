"""The benchmarks: kubebpf against bpftrace in the same run, on this machine.

    make bench                                   all of it, some minutes
    make bench ARGS="--quick"                    a look, some seconds
    BPFTRACE="/opt/bpftrace" make bench          another bpftrace than the one on PATH; without any, our figures alone
    make bench ARGS="--markdown"                 tables for docs/benchmarks.md

Runs of the two alternate, and every figure is a median. Nothing here passes or fails: the figures are for people.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from compiling import commands, stages, warm_ms
from events import MORE, ONE_LINERS, events, instructions, title
from hello import hello
from machine import UnableError, processor, require_rights, run_statistics
from printing import PROGRAM_TEXT, printing
from scope import scope
from tables import Table, compared, markdown, show
from tools import Tool


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: starts of each tool, rounds and calls of each one-liner, compilations, the one-liners."""

    starts: int = 15
    rounds: int = 5
    calls: int = 1_000_000
    compilations: int = 20
    actions: tuple[str, ...] = (*ONE_LINERS, *MORE)


QUICK = Effort(starts=2, rounds=1, calls=50_000, compilations=2, actions=ONE_LINERS)


def tables(ours: Tool, peer: Tool | None, effort: Effort) -> Iterator[Table]:
    """All tables, each as soon as it is measured."""
    tools = [ours] if peer is None else [ours, peer]
    heads = ("kubebpf",) if peer is None else ("kubebpf", "bpftrace", "ratio")
    yield _start(tools, heads, effort)
    with run_statistics():
        yield _events(tools, heads, effort)
        yield _scope(effort)
    yield _printing(tools, heads, effort)
    yield _with_warnings(tools, heads)
    yield _compiling(effort)
    yield _stages(effort)


def _start(tools: Sequence[Tool], heads: tuple[str, ...], effort: Effort) -> Table:
    table = Table("Start: one printf in begin, then exit", ("", *heads))
    costs = hello(tools, effort.starts)
    ours, peer = costs[tools[0].name], costs[tools[1].name] if len(tools) > 1 else None
    table.compare("wall time, ms", ours.wall_ms, peer.wall_ms if peer else None)
    table.compare("peak resident memory, MiB", ours.memory_mib, peer.memory_mib if peer else None)
    return table


def _events(tools: Sequence[Tool], heads: tuple[str, ...], effort: Effort) -> Table:
    columns = [f"{head}, {unit}" if head != "ratio" else f"ratio, {unit}" for unit in ("ns", "instr.") for head in heads]
    table = Table("One event on tracepoint:syscalls:sys_enter_getppid", ("", *columns))
    for action in effort.actions:
        found = events(tools, action, effort.rounds, effort.calls)
        ours, peer = found[tools[0].name], found[tools[1].name] if len(tools) > 1 else None
        lengths = compared(ours.instructions, peer.instructions if peer else None)
        table.add(title(action), *compared(ours.ns, peer.ns if peer else None), *lengths)
    return table


def _printing(tools: Sequence[Tool], heads: tuple[str, ...], effort: Effort) -> Table:
    table = Table(f"{PROGRAM_TEXT}: what arrives of a flood", ("", *heads))
    found = printing(tools, effort.rounds, effort.calls)
    ours, peer = found[tools[0].name], found[tools[1].name] if len(tools) > 1 else None
    table.compare("CPU time of the tracer for an event, ns", ours.cpu_ns, peer.cpu_ns if peer else None)
    rates = [1e6 / found[tool.name].cpu_ns for tool in tools]
    table.compare("that is, thousands of events a second on one CPU", rates[0], rates[1] if peer else None)
    table.compare("arrived of all events, %", ours.arrived * 100, peer.arrived * 100 if peer else None)
    return table


def _scope(effort: Effort) -> Table:
    table = Table("The scope predicate of a namespaced trace, with @ = count()", ("", "kubebpf, ns"))
    for what, ns in scope(effort.rounds, effort.calls).items():
        table.add(what, ns)
    return table


def _with_warnings(tools: Sequence[Tool], heads: tuple[str, ...]) -> Table:
    table = Table("Translated instructions with warnings on, as both run by default", ("", *heads))
    for action in ONE_LINERS:
        lengths = [instructions(tool, action) for tool in tools]
        table.compare(action, lengths[0], lengths[1] if len(lengths) > 1 else None)
    return table


def _compiling(effort: Effort) -> Table:
    table = Table("Compiling bench/tool.bt, and cold starts", ("", "wall, ms", "peak, MiB"))
    table.add("compile in a warm process", warm_ms(effort.compilations), "")
    for name, cost in commands(effort.starts).items():
        table.add(name, cost.wall_ms, cost.memory_mib)
    return table


def _stages(effort: Effort) -> Table:
    table = Table("Where the time to compile bench/tool.bt goes, in a warm process", ("", "CPU time, ms"))
    for stage, ms in stages(effort.compilations).items():
        table.add(stage, ms)
    return table


def _heading(ours: Tool, peer: Tool | None) -> str:
    against = peer.version if peer else "no bpftrace found (PATH, or $BPFTRACE): our figures alone"
    return f"{ours.version}; {against}; Linux {platform.release()}; {processor()}"


def main() -> int:
    """Measure and print. Returns 1, with a message, on a machine that cannot be measured."""
    parser = argparse.ArgumentParser(description="Compare kubebpf with bpftrace on this machine.")
    parser.add_argument("--quick", action="store_true", help="few runs: a look, not a measurement")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of drawn tables")
    parser.add_argument("--rounds", type=int, default=Effort().rounds, help="how often each one-liner is measured (%(default)s)")
    chosen = parser.parse_args()
    effort = QUICK if chosen.quick else Effort(rounds=chosen.rounds)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        require_rights()
        ours, peer = Tool.ours(), Tool.peer()
        print(_heading(ours, peer), flush=True)
        for table in tables(ours, peer, effort):
            print(f"\n{markdown(table)}", flush=True) if chosen.markdown else show(table, console)
    except UnableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
