"""Objects that were compiled for the host's kernel, on this one; and what this kernel says that it can do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubebpf.agent.cluster.live import why
from kubebpf.agent.node.features import Trying, features
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.values import Tuple
from support.foreign import PROGRAMS, objects
from support.programs import compiled

REASONS = {"KernelFieldMissing", "KernelLayoutDiffers"}


def foreign() -> dict[str, Artifact]:
    return objects(Path(os.environ["KUBEBPF_FOREIGN"]))


def outcome(artifact: Artifact) -> tuple[str, list[str]]:
    """("", what was printed), or the reason of a refusal and its message."""
    try:
        with Session(artifact) as session:
            session.start()
            resolver = PlainResolver(session.manifest.strings, session.manifest.config.str_trunc_trailer)
            return "", [
                str(decode(a.type, r.argument(i), resolver)) for r in session.poll(0) for i, a in enumerate(r.event.arguments)
            ]
    except Exception as error:
        reason, message = why(error)
        return reason, [message]


def test_members_are_relocated() -> None:
    """Whatever the host's kernel is, these have nothing that is not."""
    assert outcome(foreign()["task"]) == (
        "",
        [str(Tuple((os.getpid(), Path("/proc/self/comm").read_text().strip(), os.getppid())))],
    )
    assert outcome(foreign()["way"]) == ("", [os.uname().release])
    for name in ("tracepoint", "raw", "entry", "kprobe"):
        assert outcome(foreign()[name]) == ("", []), name


@pytest.mark.parametrize("name", ["sizes", "small", "large", "signals"])
def test_what_is_not_relocated_is_compared(name: str) -> None:
    """The object does here what one of this kernel does, or is refused where the two kernels differ."""
    theirs, own = foreign()[name], compiled(PROGRAMS[name])
    found, expected = outcome(theirs), outcome(own)
    print(name, found)
    assert not expected[0], expected
    if theirs.manifest.layouts == own.manifest.layouts:
        assert found == expected
    else:
        differing = {layout.name for layout in set(theirs.manifest.layouts) ^ set(own.manifest.layouts)}
        assert found[0] in REASONS and any(f" {struct}" in found[1][0] for struct in differing), found


def test_features() -> None:
    found = {feature.name: feature for feature in features(Trying(pins=Path("/sys/fs/bpf/kubebpf"), unsafe=True))}
    lacking = {name: feature.message for name, feature in found.items() if not feature.supported}
    # No virtual machine counts cycles, and no kernel of Debian lets functions fail on purpose.
    assert lacking.keys() <= {"hardware-event", "override"}, lacking
    assert "bpf_override_return" in lacking["override"]
