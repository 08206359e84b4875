"""`args` in tracepoints and raw tracepoints with a wildcard, on this kernel; fentry and fexit are tested where they load."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from pathlib import Path

import pytest

from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from support.programs import compiled

pytestmark = pytest.mark.kernel


def seen(artifact: Artifact) -> tuple[set[str], list[str]]:
    """The keys of @ after some sleeping, and the warnings."""
    with Session(artifact) as session:
        session.start()
        for _ in range(20):
            time.sleep(0.005)
        session.finish()
        state = session.read("@", PlainResolver())
        assert state.schema.key
        keys = {str(decode(state.schema.key, key, PlainResolver())) for key, _ in state.rows}
        return keys, [str(warning) for warning in session.warnings]


@pytest.mark.parametrize("provider", ["tracepoint:sched", "rawtracepoint"])
def test_args_of_a_wildcard(provider: str) -> None:
    """sched_wakeup and sched_wakeup_new have the task in common; python3 wakes from its sleep."""
    name = "str(args.comm)" if ":" in provider else "args.p.comm"
    keys, warnings = seen(compiled(f"{provider}:sched_wakeu* {{ @[{name}] = count(); }}"))
    assert Path("/proc/self/comm").read_text().strip() in " ".join(keys)
    assert warnings == []


def test_match_that_differs_on_the_node() -> None:
    """The pattern leads to an event more than the compiler's kernel had: it is left out."""
    artifact = compiled("tracepoint:sched:sched_wakeu* { @[str(args.comm)] = count(); }")
    (attach,) = artifact.manifest.attaches
    wider = dataclasses.replace(attach, target=attach.target | {"event": "sched_[ws]*"})
    manifest = dataclasses.replace(artifact.manifest, attaches=(wider,))
    keys, warnings = seen(dataclasses.replace(artifact, manifest=manifest))
    assert keys
    assert "tracepoint:sched:sched_switch: its args.comm is not that of sched:sched_wakeup; left out" in warnings
    assert not any("sched_waking" in warning for warning in warnings)


def test_argument_in_different_places() -> None:
    """execveat has a file descriptor in front of the name: each match gets a program of its own."""
    artifact = compiled("tracepoint:syscalls:sys_enter_exec* { @[str(args.filename)] = count(); }")
    names = ["tracepoint:syscalls:sys_enter_execve", "tracepoint:syscalls:sys_enter_execveat"]
    assert sorted(attach.text for attach in artifact.manifest.attaches) == names
    with Session(artifact) as session:
        session.start()
        subprocess.run(["/bin/true"], check=True)
        session.finish()
        state = session.read("@", PlainResolver())
        assert state.schema.key
        assert "/bin/true" in {str(decode(state.schema.key, key, PlainResolver())) for key, _ in state.rows}


def test_matches_without_an_argument_in_common() -> None:
    with pytest.raises(Exception, match=r"args.comm is not the same in all matches of tracepoint:sched:sched_s\*"):
        compiled("tracepoint:sched:sched_s* { @[args.comm] = count(); }")
