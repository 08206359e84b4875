"""The exceptions of a session; a person can act on every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.manifest import Place


class SessionError(Exception):
    """Something keeps this program from running here. `reason` is a CamelCase word for conditions and reports."""

    reason = "SessionFailed"


class ParameterError(SessionError):
    """A positional argument or an option does not fit the program."""

    reason = "InvalidParameter"


class FactError(SessionError):
    """The program asks for something that this node does not have: a cgroup, a kernel symbol.

    Args:
        message: what it is.
        place: where the program asks.
    """

    reason = "NodeFactMissing"

    def __init__(self, message: str, place: Place | None = None) -> None:
        self.message, self.place = message, place
        super().__init__(f"{place.file}:{place.line}:{place.column}: {message}" if place else message)


class NoProbesError(SessionError):
    """The program has probes of another purpose only: test probes without --test, or none with it."""

    reason = "NoProbes"


class MissingProbeError(SessionError):
    """An attach point names something that is not here, or that nothing can be attached to.

    Args:
        probe: the attach point as written.
        why: a clause, without the probe.
    """

    reason = "ProbeMissing"

    def __init__(self, probe: str, why: str) -> None:
        self.probe, self.why = probe, why
        super().__init__(f"{probe}: {why}")


class AttachError(SessionError):
    """Probes are missing and the program's `missing_probes` is error.

    Args:
        missing: all of them.
    """

    reason = "ProbeMissing"

    def __init__(self, missing: Sequence[MissingProbeError]) -> None:
        self.missing = tuple(missing)
        super().__init__("; ".join(map(str, missing)))
