"""A program for an entry of the standard library, and what it has to do: the same text runs here and, side by side, in bpftrace.

    Case("strlen", 'begin { print(strlen("abc")); }', says="3")

What depends on the machine stands as a word in angle brackets, in the program and in what it says: see `Facts`.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.errors import SessionError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.cli.child import Child
from kubebpf.cli.ends import Ends
from kubebpf.cli.engine import Manner, Run
from kubebpf.cli.programs import LocalPrograms
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from support.cgroups import cgroup2_mount

_SOURCE = Path(__file__).with_name("work.c")
_SECONDS = 10.0
_REMARKS = frozenset({"errorf", "warnf", "lost", "failure"})


@cache
def work_program() -> Path:
    """The process that the programs look at, compiled: see work.c."""
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"kubebpf-work-{os.getuid()}-{key}"
    if not program.exists():
        with tempfile.NamedTemporaryFile(dir=program.parent, prefix=program.name, delete=False) as building:
            new = Path(building.name)
        flags = ("-g", "-O0", "-fno-omit-frame-pointer", "-static", "-Wall", "-Werror")
        subprocess.run(["gcc", *flags, "-o", new, _SOURCE], check=True)
        new.chmod(0o755)
        new.rename(program)  # at the end: another test run must not execute a half-written file
    return program


def _symbols() -> Iterator[list[str]]:
    return (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())


_PLACES: dict[str, Callable[[], object]] = {
    "CALL": lambda: "tracepoint:syscalls:sys_enter_getppid /pid == cpid/",
    "OPEN": lambda: f"tracepoint:syscalls:sys_enter_openat /pid == cpid && args.flags == {os.O_PATH | os.O_CLOEXEC}/",
    "APP": work_program,
    "CGROUPS": cgroup2_mount,
    "JIFFIES": lambda: "0x" + next(w[0] for w in _symbols() if w[2:3] == ["jiffies"]),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a run said: `out` without the lines that end it, `err` without the number of probes, the code of exit()."""

    out: str
    err: str
    code: int
    pid: int = 0


Check = Callable[[Told], bool]


@dataclass(frozen=True, slots=True)
class Case:
    """A program of an entry.

    Args:
        entry: the helper or map function that it is about.
        program: its text. `APP` is the process's program, `CALL` and `OPEN` are probes at its one getppid
            and its one open, `CGROUPS` is the mount of cgroup v2, `JIFFIES` the address of that variable.
        says: the whole output; `<pid>`, `<app>` and so on stand for facts of the machine.
        like: or a regular expression for the whole output.
        holds: or a question about it.
        remarks: a regular expression for what is said on standard error; "" for nothing.
        refused: a regular expression for the compiler's or the loader's error, which there has to be.
        code: of exit().
        work: the arguments of the process, which is started with the trace ("" for none); None: no process.
        args: `$1` and on.
        params: for getopt().
        differs: why bpftrace says something else; "" where it says the same.
        peer: the program for bpftrace, where it is written otherwise.
        kernel: what it needs of the kernel that this machine's may not have, in words; "" for nothing.
    """

    entry: str
    program: str
    says: str | None = None
    like: str = ""
    holds: Check | None = None
    remarks: str = ""
    refused: str = ""
    code: int = 0
    work: str | None = None
    args: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    differs: str = ""
    peer: str = ""
    kernel: str = ""

    def text(self, program: str = "") -> str:
        """The program, its places filled in."""
        places = r"\b(CALL|OPEN|APP|CGROUPS|JIFFIES)\b"
        return re.sub(places, lambda found: str(_PLACES[found[1]]()), program or self.program)

    @property
    def command(self) -> str | None:
        """Of the process."""
        return None if self.work is None else f"{work_program()} {self.work}".strip()


@cache
def _kernel() -> KernelView:
    view = KernelView.running()
    view.programs = LocalPrograms()
    return view


def told(case: Case) -> Told:
    """Run a case on this kernel, from its text to its output."""
    text = case.text()
    chosen = CompileOptions(unsafe=True, args=case.args, params=case.params, base=str(Path.cwd()))
    compilation = compile_script(text, _kernel(), chosen)
    said = render_all(compilation.report) if compilation.report else ""
    if compilation.artifact is None:
        return Told("", said, 1)
    pieces: list[tuple[str, str]] = [("warnf", said)] if said else []
    output = TextOutput(lambda kind, piece: pieces.append((kind, piece)), text)
    with ExitStack() as stack:
        child = stack.enter_context(Child.start(case.command)) if case.command else None
        ends = stack.enter_context(Ends(_SECONDS, [child.fd] if child else []))
        options = Options(args=case.args, params=dict(case.params), child=child.pid if child else None, unsafe=True)
        session = stack.enter_context(Session(Artifact.read(compilation.artifact.elf), options))
        code = Run(session, output, ends, Manner(quiet=True, allow_unsafe=True)).go(child.go if child else lambda: None)
    out = "".join(piece for kind, piece in pieces if kind not in _REMARKS)
    err = "".join(piece for kind, piece in pieces if kind in _REMARKS)
    return Told(trimmed(out), err.rstrip("\n"), code, child.pid if child else 0)


def outcome(case: Case) -> Told:
    """As `told`; a refusal of the load is what it says on standard error."""
    try:
        return told(case)
    except (SessionError, LibbpfError) as error:
        return Told("", str(error), 1)


def trimmed(out: str) -> str:
    """Output without the empty lines that stand before the maps and at the end."""
    return re.sub(r"\n{2,}", "\n", "\n" + out).strip("\n")


def filled(text: str, pid: int) -> str:
    """Facts of the machine and of the process in a text."""
    status = Path("/proc/self/status").read_text().split()
    facts = {
        "pid": pid,
        "own": os.getpid(),
        "uid": status[status.index("Uid:") + 1],
        "gid": status[status.index("Gid:") + 1],
        "ncpus": os.cpu_count(),
        "app": work_program(),
        "name": work_program().name[:15],
    }
    return re.sub(r"<(\w+)>", lambda m: str(facts.get(m[1], m[0])), text)


def wrong(case: Case, ran: Told) -> str:
    """What is wrong with a run; "" when nothing is."""
    if case.refused:
        return "" if re.search(case.refused, ran.err, re.DOTALL) else f"not refused so: {ran.err or ran.out}"
    if ran.code != case.code:
        return f"exit code {ran.code}, not {case.code}: {ran.err}"
    if not re.search(case.remarks or r"\A\Z", ran.err, re.DOTALL):
        return f"on standard error: {ran.err}"
    if case.says is not None and ran.out != (wanted := filled(case.says, ran.pid)):
        return f"says\n{ran.out}\nnot\n{wanted}"
    if case.like and not re.fullmatch(filled(case.like, ran.pid), ran.out):
        return f"says\n{ran.out}\nwhich is not like\n{case.like}"
    if case.holds is not None and not case.holds(ran):
        return f"says\n{ran.out}"
    return ""
