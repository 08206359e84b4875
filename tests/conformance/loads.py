"""Does what compiles also load? Programs of the conformance cases are compiled and loaded, and attached to nothing.

    for program in programs(): judge(compiled(program))

What the kernel cannot load whatever the program is (no kprobes, no such function to trace) is told apart from what it refuses.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from conformance.cases import Case, load
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.verifier import VerifierError
from kubebpf.agent.session.errors import SessionError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.cli.building import build, kernel_view
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.kernel.view import KernelView

LOADED, REFUSED, IMPOSSIBLE, ABSENT = "loaded", "refused", "not possible on this kernel", "not on this kernel"
RAISED = "the agent raised"


@dataclass(frozen=True, slots=True)
class Load:
    """How a load went.

    Args:
        outcome: one of the constants above.
        why: the telling line, unless it was loaded.
    """

    program: str
    outcome: str
    why: str = ""


def programs() -> dict[str, bool]:
    """The different programs that upstream accepts, and whether they want --unsafe."""
    found: dict[str, bool] = {}
    for case in [c for c in load("frontend") if c["expect"] == "ok"] + load("runtime"):
        found.setdefault(case["program"], _unsafe(case))
    return found


def _unsafe(case: Case) -> bool:
    return bool(case.get("unsafe", "expects" in case))


def compiled(program: str, unsafe: bool) -> Artifact | None:
    """The program for this kernel; for one that has everything, where this one lacks what it names. None when it is refused."""
    for offline in (False, True):
        built = build(program, "stdin", _view(offline), unsafe=unsafe, offline=offline)
        if built.artifact is not None:
            return built.artifact
    return None


@cache
def _view(offline: bool) -> KernelView:
    return kernel_view(offline=offline)


def judge(program: str, artifact: Artifact) -> Load:
    """Load what was compiled."""
    try:
        with Session(artifact, Options(missing_probes="ignore", child=1)) as session:
            left_out = [p.name for p in session.loaded.programs.values() if not p.autoload]
    except SessionError as error:
        return Load(program, ABSENT, str(error).splitlines()[0])
    except LibbpfError as error:
        return Load(program, _outcome(error), " ".join(str(error).split()))
    except Exception as error:
        return Load(program, RAISED, f"{type(error).__name__}: {error}".splitlines()[0])
    return Load(program, ABSENT, f"{', '.join(left_out)} was left out") if left_out else Load(program, LOADED)


def _outcome(error: LibbpfError) -> str:
    if error.errno == errno.EPERM and not _judged(error):
        return IMPOSSIBLE
    if "CO-RE" in str(error) or "relocation" in str(error) or error.errno == errno.ESRCH:
        return ABSENT
    return REFUSED


def _judged(error: LibbpfError) -> bool:
    """Whether the verifier said something: then it is about the program."""
    return isinstance(error, VerifierError) and "processed" in error.log


def sample(every: int) -> Iterator[tuple[str, bool]]:
    """Each so manieth program, a fair choice of all."""
    for number, item in enumerate(programs().items()):
        if number % every == 0:
            yield item
