"""The kernel verifier's log, shortened to the line that tells.

    ; $x = *(uint64*)0 @ stdin:3
    1: (79) r0 = *(u64 *)(r1 +0)
    R1 invalid mem access 'scalar'
    processed 2 insns (limit 1000000) …
    -> stdin:3: the kernel refused probe_0: R1 invalid mem access 'scalar' (3 lines omitted)

A program that reads a field which this kernel does not have is refused too: libbpf poisons its instruction (bpf_core_poison_insn,
tools/lib/bpf/relo_core.c) and writes into the log which CO-RE relocation failed; here that becomes a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubebpf.agent.libbpf.errors import LibbpfError

_BEGIN = re.compile(r"^(?:libbpf: )?prog '([^']*)': -- BEGIN PROG LOAD LOG --\n", re.MULTILINE)
_END = "-- END PROG LOAD LOG --"
# "; text @ file:line" on newer kernels (verbose_linfo in kernel/bpf/log.c), "; text" on older ones.
_SOURCE = re.compile(r"^; (?P<text>.*?)(?: @ (?P<file>[^ ]+):(?P<line>\d+))?$")
_NOISE = re.compile(
    r"""^(?:
        ;                                       # a source line
      | \d+:[ ]                                 # an instruction, or the registers before it
      | from[ ]\d+[ ]to[ ]\d+                   # the registers at a branch
      | (?:mark_precise|propagating|last_idx|parent|regs=|frame\d+:|func\#|caller:|callee:|returning[ ]from|to[ ]caller)
      | (?:processed|verification[ ]time|stack[ ]depth|insns[ ]processed)[ ]
      | R\d+(?:_[a-z]+)*=                       # the state of registers
      | arg\#\d+[ ]reference[ ]type            # of every program whose context has no type
      | --[ ]
    )""",
    re.VERBOSE,
)
_EXTERN = re.compile(
    r"extern \((?P<kind>var|func) ksym\) '(?P<name>[^']+)': (?P<how>not found in kernel|[^\n]*incompatible|[^\n]*expected)"
)
_CORE = re.compile(r"failed to resolve CO-RE relocation <(?P<kind>\w+)> \[\d+\] (?P<sort>\w+) (?P<access>[^ ]+)")
LACKS = "this kernel"  # how a sentence about what it does not have begins
_POISON = re.compile(r"unknown#195896080|<invalid CO-RE relocation>")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the refused instruction came from: the line's text, and file and 1-based line where the kernel prints them."""

    text: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verifier log in short.

    Args:
        message: the line that tells, or a sentence for a failed CO-RE relocation.
        source: the last source line named before it.
        omitted: how many other lines the log has.
    """

    message: str
    source: Source | None
    omitted: int


class VerifierError(LibbpfError):
    """The kernel refused a program.

    Args:
        errno: of the load.
        program: its name.
        refusal: why.
        log: the whole verifier log.
    """

    def __init__(self, errno: int, program: str, refusal: Refusal, log: str) -> None:
        super().__init__(errno, "bpf_object__load", log, program, refusal.message)
        self.program, self.refusal = program, refusal
        self.line, self.source, self.omitted = refusal.message, refusal.source, refusal.omitted

    def __str__(self) -> str:
        place = f"{self.source.file}:{self.source.line}: " if self.source and self.source.line else ""
        if self.line.startswith(LACKS):
            return f"{place}{self.line}"
        omitted = f" ({self.omitted} lines omitted)" if self.omitted else ""
        return f"{place}the kernel refused {self.program}: {self.line}{omitted}"


def refused(errno: int, text: str) -> VerifierError | None:
    """The error for libbpf's messages, or None when no verifier log is among them.

    Args:
        errno: of the failed load, positive.
        text: all that libbpf printed. It prints the log of a failed program between two marks (bpf_object_load_prog).
    """
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    log = text[begin.end() :].partition(_END)[0]
    return VerifierError(errno, begin[1], shorten(log), log)


class SymbolError(LibbpfError):
    """The kernel has no function or variable of a name that the object asks for, or one of another type.

    Args:
        errno: of the load.
        said: in a sentence, which one.
        log: all that libbpf printed.
        differs: it is there, and of another type.
    """

    def __init__(self, errno: int, said: str, log: str, differs: bool) -> None:
        super().__init__(errno, "bpf_object__load", log, "", said)
        self.said, self.differs = said, differs

    def __str__(self) -> str:
        return self.said


def unresolved(errno: int, text: str) -> SymbolError | None:
    """The error for libbpf's messages, or None when no symbol of the kernel is the reason.

    Args:
        errno: of the failed load, positive.
        text: all that libbpf printed (bpf_object__resolve_ksyms_btf_id).
    """
    found = _EXTERN.search(text)
    if found is None:
        return None
    what = f"{'function' if found['kind'] == 'func' else 'variable'} {found['name']}"
    if found["how"].startswith("not found"):
        return SymbolError(errno, f"{LACKS} has no {what}", text, differs=False)
    return SymbolError(errno, f"the {what} has another type here than where the program was compiled", text, differs=True)


def shorten(log: str) -> Refusal:
    """Find the telling line of a verifier log."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    core = next((i for i, line in enumerate(lines) if _CORE.search(line)), None)
    if core is not None:
        return Refusal(_missing(lines[core]), _last_source(lines[:core]), len(lines) - 1)
    telling = [i for i, line in enumerate(lines) if not _NOISE.match(line)]
    if not telling:
        return Refusal(lines[-1] if lines else "the kernel gave no reason", _last_source(lines), max(len(lines) - 1, 0))
    # Some refusals take two lines: "invalid access to map value, …" and "R0 min value is outside of the allowed memory range".
    first = telling[-2] if telling[-1] - 1 in telling else telling[-1]
    message = "; ".join(_poisoned(line) for line in lines[first : telling[-1] + 1])
    return Refusal(message, _last_source(lines[:first]), len(lines) - (telling[-1] + 1 - first))


def _last_source(lines: list[str]) -> Source | None:
    for line in reversed(lines):
        if found := _SOURCE.match(line):
            return Source(found["text"], found["file"] or "", int(found["line"] or 0))
    return None


def _poisoned(line: str) -> str:
    if _POISON.search(line):
        return f"{LACKS} lacks a type or field that the program reads (a CO-RE relocation failed)"
    return line


def _missing(line: str) -> str:
    found = _CORE.search(line)
    assert found is not None
    kind, sort, access = found["kind"], found["sort"], found["access"]
    name, _, field = access.partition(".")
    if kind.startswith("enumval"):
        name, _, constant = access.partition("::")
        return f"{LACKS} has no {constant} in {sort} {name}"
    if field:
        return f"{LACKS} has no field {field} in {sort} {name}"
    return f"{LACKS} has no {sort} {name} like the one that the program was compiled for"
