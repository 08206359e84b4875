"""The exceptions of a session; a person can act on every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.manifest import Place

from kubebpf.compiler.artifact.manifest import Attach, Place


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
        note: a line of its own that helps.
        place: where it stands in the text.
    """

    reason = "ProbeMissing"

    def __init__(self, probe: str, why: str, note: str = "", place: Place | None = None) -> None:
        self.probe, self.why, self.note, self.place = probe, why, note, place
        super().__init__(f"{probe}: {why}" if why else probe)


class NoMatchError(MissingProbeError):
    """An attach point names nothing that this kernel has.

    Args:
        attach: the attach point.
        name: one of its matches, which is not there after all.
    """

    def __init__(self, attach: Attach, name: str = "") -> None:
        super().__init__(name or attach.text, "", place=attach.place)
        provider, _, rest = (name or attach.text).partition(":")
        self.args = (f"No matches for {provider} {rest}.",)
        if provider in ("kprobe", "kretprobe") and not attach.wildcard:
            function = attach.target.get("function", rest)
            note = 'is not traceable (either non-existing, inlined, or marked as "notrace"); attaching to it will likely fail'
            self.note = f"WARNING: {function} {note}"


class TooManyProbesError(SessionError):
    """The wildcards of a program lead to more places than its config block allows."""

    reason = "TooManyProbes"

    def __init__(self, found: int, most: int) -> None:
        super().__init__(
            f"the program would be attached to {found} probes, and max_probes is {most}: a larger one can be set in the config "
            "block or by BPFTRACE_MAX_PROBES; many probes can slow a machine down"
        )


class AttachError(SessionError):
    """Probes are missing and the program's `missing_probes` is error.

    Args:
        missing: all of them.
    """

    reason = "ProbeMissing"

    def __init__(self, missing: Sequence[MissingProbeError]) -> None:
        self.missing = tuple(missing)
        super().__init__("; ".join(map(str, missing)))


class KernelFieldError(SessionError):
    """The kernel lacks what the program reads, by any place.

    Args:
        message: what it is.
        others: how many more differences there are.
    """

    reason = "KernelFieldMissing"

    def __init__(self, message: str, others: int = 0) -> None:
        super().__init__(f"{message} (and {others} more differ)" if others else message)


class KernelLayoutError(KernelFieldError):
    """The kernel has it elsewhere, or of another size, and the object cannot adapt."""

    reason = "KernelLayoutDiffers"


class MemoryLimitError(SessionError):
    """The maps take more memory than they may.

    Args:
        taken, limit: bytes, of all maps.
        largest: the name of the largest map.
        its: bytes that it takes.
    """

    reason = "MemoryLimitExceeded"

    def __init__(self, taken: int, limit: int, largest: str, its: int) -> None:
        mib = 1 << 20
        self.taken = taken
        super().__init__(
            f"the maps take {taken / mib:.1f} MiB, and {limit / mib:.1f} MiB are left for this trace here; the largest is "
            f"{largest} with {its / mib:.1f} MiB: a smaller max_map_keys in the config block, or fewer maps, need less"
        )
