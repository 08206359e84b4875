"""What comes of a compilation, as traces remember it: an object, or a refusal.

Artifact("sha256:…", "kubebpf-…", 9000, 90).write()   -> what stands in status.artifact
"""

from __future__ import annotations

from dataclasses import dataclass

from kubebpf.operator.model import Json
from kubebpf.operator.signing import Signature

USELESS = "KernelTypesUnusable"  # the reason of refusals that are an upload's fault


@dataclass(frozen=True, slots=True)
class Artifact:
    """The compiled object, as in `status.artifact`, and what the compiler warned of, which stands in the condition Compiled.

    Args:
        signature: of the trace's right to run it.
        unsafe: whether that right includes unsafe helpers.
    """

    digest: str
    config_map: str
    size: int
    compile_millis: int
    warnings: str = ""
    signature: Signature | None = None
    unsafe: bool = False

    def write(self) -> Json:
        """The JSON form."""
        said = {"digest": self.digest, "configMap": self.config_map, "size": self.size, "compileMillis": self.compile_millis}
        if self.unsafe:
            said["unsafe"] = True
        if self.signature:
            said |= {"key": self.signature.key, "signature": self.signature.value}
        return said


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no object: the program or the spec is wrong. `message` is for people and complete.

    Args:
        of_kernel: only the kernel that it was compiled against stands in the way.
    """

    reason: str
    message: str
    of_kernel: bool = False

    def first_line(self) -> str:
        """The first error, in a line."""
        lines = self.message.splitlines() or [self.reason]
        return next((line for line in lines if ": ERROR: " in line), lines[0])


Outcome = Artifact | Refused | None  # None: not compiled yet


def warnings_in(message: str) -> str:
    """The compiler's warnings in the message of a condition Compiled that is True; they are nowhere else."""
    return message.partition("\n")[2]
