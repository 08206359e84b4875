"""What the scope predicate of a namespaced trace adds to an event: in a selected container, nested in one, and elsewhere.

bpftrace has nothing like it, so these figures are ours alone. The cgroups are made for the measurement and removed after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from machine import UnableError
from programs import asked, call, tracepoint_programs

PROGRAM = "tracepoint:syscalls:sys_enter_getppid { @ = count(); }"
# As the kubelet's cgroupfs driver lays pods out: quality of service, pod, container; and a cgroup that a container made.
_TREE = "kubebpf-bench/burstable/pod/container/nested"


def scope(rounds: int, calls: int) -> dict[str, float]:
    """The ns of an event, by where its process is; all rounds of one place in a row, because each loads the program anew.

    Raises:
        UnableError: there is no cgroup v2 tree to work in.
    """
    with _cgroups() as places:
        pod, container = places["pod"], places["container"]
        cases = {
            "no predicate": (False, container),
            "in the container": (True, container),
            "nested in the container": (True, places["nested"]),
            "outside of all pods": (True, places["burstable"]),
        }
        return {
            what: median(_one(_artifact(scoped), place, (pod, container), calls) for _ in range(rounds))
            for what, (scoped, place) in cases.items()
        }


def _artifact(scoped: bool) -> Artifact:
    artifact = compile_script(PROGRAM, KernelView.running(), CompileOptions(scoped=scoped)).artifact
    assert artifact is not None
    return artifact


def _one(artifact: Artifact, place: Path, selected: tuple[Path, ...], calls: int) -> float:
    depth = len(selected[0].relative_to(_mount()).parts)
    with Session(artifact, Options(scope_levels=(depth, depth + 1))) as session:
        for cgroup in selected if artifact.manifest.scoped else ():
            session.scope_add(cgroup.stat().st_ino)
        session.start()
        (program,) = set(tracepoint_programs(os.getpid()))
        # A shell that moves to the cgroup and becomes the one that calls.
        through = ["sh", "-c", 'echo $$ > "$1" && shift && exec "$@"', "sh", str(place / "cgroup.procs")]
        call(calls // 20, through)
        before_ns, before, _ = asked(program)
        call(calls, through)
        after_ns, after, _ = asked(program)
    return (after_ns - before_ns) / (after - before)


@contextmanager
def _cgroups() -> Iterator[dict[str, Path]]:
    lowest = _mount() / _TREE
    lowest.mkdir(parents=True, exist_ok=True)
    made = [lowest, *lowest.parents][: len(Path(_TREE).parts)]
    try:
        yield {place.name: place for place in made}
    finally:
        for place in made:
            place.rmdir()


def _mount() -> Path:
    """Where cgroup v2 is mounted (proc(5), mountinfo)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 "):
            return Path(head.split()[4])
    raise UnableError("no cgroup v2 is mounted")
