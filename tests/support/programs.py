"""Programs compiled and run on this kernel, with what they printed and counted as plain values.

ran = run("begin { @x = 5; print((1, 2)) }")
ran.printed == [Tuple((1, 2))];  ran.cell("@x") == Last(5)

with running("tracepoint:… { @ = count() }") as session:     # for programs that wait for events
    …
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from kubebpf.agent.session.counters import Counters
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.cells import Cell
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.printf import printf
from kubebpf.compiler.artifact.values import Tuple, Value
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import Checked, check_script, compile_script


@cache
def kernel() -> KernelView:
    """This machine's kernel, read once a test run."""
    return KernelView.running()


@cache
def anything() -> KernelView:
    """A kernel that has everything: tests with it need no BTF of the machine."""
    return KernelView.offline()


def compiled(text: str, view: KernelView | None = None, **options: Any) -> Artifact:
    """Compile a program that has to be right, and read it back from its bytes."""
    compilation = compile_script(text, view or kernel(), CompileOptions(**options))
    assert compilation.artifact is not None, render_all(compilation.report)
    return Artifact.read(compilation.artifact.elf)


def checked(text: str, view: KernelView | None = None, **options: Any) -> Checked:
    """All passes but the code generation."""
    return check_script(text, view or anything(), CompileOptions(**options))


def codes(text: str, view: KernelView | None = None, **options: Any) -> list[str]:
    """The names of the diagnostics, in the order of the text."""
    return [complaint.code for complaint in checked(text, view, **options).report]


@dataclass(frozen=True)
class Ran:
    """What a program left behind.

    Args:
        printed: the values of print(), in their order.
        lines: of printf(), formatted.
        maps: name -> key -> cell; the key is a value, or None for scalar maps.
        counters: what was lost.
        records: everything that came.
        exit_code: of exit(); None when it was not called.
    """

    printed: list[Value]
    lines: list[str]
    maps: dict[str, dict[Value | None, Cell]]
    counters: Counters
    records: list[Record]
    exit_code: int | None

    def cell(self, name: str) -> Cell:
        """The only cell of a map."""
        (found,) = self.maps[name].values()
        return found


def run(text: str, *args: str, **options: Any) -> Ran:
    """Compile and run a program of begin and end probes."""
    with running(text, *args, **options) as session:
        pass
    return result(session)


_RESULTS: dict[int, Ran] = {}


@contextmanager
def running(text: str, *args: str, options: Options | None = None, **compile_options: Any) -> Iterator[Session]:
    """A session while its probes are attached; `result(session)` is there behind the block."""
    artifact = compiled(text, **compile_options)
    with Session(artifact, options or Options(args=args)) as session:
        session.start()
        yield session
        records = session.poll(0)
        records += session.finish()
        _RESULTS[id(session)] = _gather(session, records)


def result(session: Session) -> Ran:
    """What a session that has ended left behind."""
    return _RESULTS.pop(id(session))


def _gather(session: Session, records: list[Record]) -> Ran:
    resolver = PlainResolver(session.manifest.strings, session.manifest.config.str_trunc_trailer)
    values = {id(r): [decode(a.type, r.argument(i), resolver) for i, a in enumerate(r.event.arguments)] for r in records}
    maps: dict[str, dict[Value | None, Cell]] = {}
    for state in session.maps(resolver):
        schema = state.schema
        maps[schema.name] = {decode(schema.key, k, resolver) if schema.key else None: cell for k, cell in state.rows}
    return Ran(
        printed=[values[id(r)][0] for r in records if r.event.kind == "print_value"],
        lines=[printf(r.event.format, values[id(r)]) for r in records if r.event.kind == "printf"],
        maps=maps,
        counters=session.counters(),
        records=records,
        exit_code=session.exit.code if session.exit else None,
    )


def pair(*items: Value) -> Tuple:
    """A tuple value."""
    return Tuple(items)
