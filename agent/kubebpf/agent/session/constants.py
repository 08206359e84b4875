"""The constants of a program, written into `.rodata.kb` before it is loaded.

After the load the kernel freezes that map, so that the verifier takes its contents for constants and drops dead branches.
"""

from __future__ import annotations

from kubebpf.agent.session.errors import FactError
from kubebpf.agent.session.facts import FACTS
from kubebpf.agent.session.options import Options
from kubebpf.compiler.artifact.manifest import Constant, Manifest


def fill(section: memoryview, manifest: Manifest, options: Options) -> None:
    """Write every constant of the manifest.

    Args:
        section: the bytes of `.rodata.kb`, changed in place.
        manifest: says where each lies, and what it is.
        options: what was given for this run.

    Raises:
        ParameterError: what was given does not fit.
        FactError: this node cannot say it, or the manifest is newer than this agent.
    """
    for constant in manifest.constants:
        section[constant.offset : constant.offset + constant.size] = _bytes(constant, options)


def _bytes(constant: Constant, options: Options) -> bytes:
    fact = FACTS.get(constant.kind)
    if fact is None:
        raise FactError(f"the object asks for a constant of kind {constant.kind}, which this agent does not know")
    try:
        value = fact(constant, options)
    except FactError as error:
        raise FactError(error.message, constant.place) from error
    if isinstance(value, bytes):
        return value
    return (value & ((1 << 8 * constant.size) - 1)).to_bytes(constant.size, "little")
