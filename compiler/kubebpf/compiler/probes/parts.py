"""Reading the parts of an attach point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import ProbeSkipped, UnknownProbe
from kubebpf.compiler.syntax import literals, tree
from kubebpf.compiler.syntax.span import Span

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing
    from kubebpf.compiler.probes.record import Target


def number_of(text: str) -> int | None:
    """The number that a part is (`100`, `0x1f`, `10ms` in nanoseconds), or None."""
    if not text[:1].isdigit() or literals.integer_end(text, 0) != len(text):
        return None
    read = literals.integer(text, Span(0, len(text)))
    return None if read.complaint else read.value


# For probes that a trace of pods may not use.
ONLY_CLUSTER = "A ClusterBpfTrace without podSelector, namespaceSelector and containers sees the whole node."


def missing(t: Typing, node: tree.AttachPoint, what: str, name: str, hint: tuple[str, ...]) -> Target | None:
    """Say that the kernel has no such attach point, as `missing_probes` wants it said. Gives None, for the caller to give."""
    t.absent += not hint  # a name like it is there: then this is a slip of the pen, and no other kernel has it either
    policy = t.settings.missing_probes
    if policy == "error":
        t.complain(UnknownProbe(span=node.span, what=what, name=name, help=hint, of_kernel=True))
    elif policy == "warn":
        t.complain(ProbeSkipped(span=node.span, what=what, name=name, help=hint))
    return None


def has_wildcard(part: str) -> bool:
    """Whether a part is a pattern."""
    return "*" in part or "[" in part


def full_text(node: tree.AttachPoint) -> str:
    """The attach point as written, with its provider spelled out."""
    _, colon, rest = node.text.partition(":")
    return f"{node.provider}{colon}{rest}"
