"""The kernels of a trace's nodes, and which of them want an object of their own: decisions alone, no requests.

    choose({"sha256:1f…": ("a", "b"), "sha256:2e…": ("c",)}, Refused("CompileFailed", "…", of_kernel=True), own="sha256:1f…")
    -> Choice(chosen=("sha256:2e…",), left_out=())

A kernel is known by the digest of its types, as its nodes' BpfNodes tell it; a node without one is served by the operator's
default view or not at all. docs/design/2026-11-23-kernels-that-differ.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

from kubebpf.operator.model import BpfNode, Node, NodeName, Report, TraceSpec, selected
from kubebpf.operator.outcome import USELESS, Artifact, Outcome, Refused

MOST = 8  # objects beside the default one; as in the CRD
# What an agent says of an object that is right for another kernel than its own.
UNFIT = ("KernelFieldMissing", "KernelLayoutDiffers")
PASSING = ("CompilerLimit", USELESS)  # what came of the default view may come out otherwise next time
LEFT_OUT = Refused("TooManyKernels", f"too many kernels want objects of their own: {MOST} are made, for those of most nodes")
AWAITED_TOO_LONG = Refused("KernelTypesMissing", "this kernel needs an object of its own, and its types have not been uploaded")

Kernels = Mapping[str, tuple[str, ...]]
"""Digests of types, and the names of the nodes that have them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernels for which there should be objects of their own, and those for which there is no room."""

    chosen: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variants:
    """What came of the kernels of a trace's nodes.

    Args:
        kernels: of the nodes that the trace selects.
        objects: by the digest of the kernel that they are for.
        refused: why a kernel has none.
        awaited: kernels whose types, or whose objects, are on their way.
    """

    kernels: Kernels = field(default_factory=dict)
    objects: Mapping[str, Artifact] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()

    def kernel_of(self) -> dict[str, str]:
        """By node."""
        return {node: digest for digest, nodes in self.kernels.items() for node in nodes}

    def digests(self, default: str) -> frozenset[str]:
        """Of all objects that nodes may run now, the default one with them."""
        return frozenset(found.digest for found in self.objects.values()) | ({default} - {""})

    @property
    def unlike(self) -> bool:
        """Whether there is more to say than that there is one object for all."""
        return bool(self.objects or self.refused or self.awaited)

    @property
    def left_out(self) -> list[str]:
        """Kernels beyond the limit."""
        return [digest for digest, why in self.refused.items() if why is LEFT_OUT]

    def served(self, default: Outcome) -> int:
        """For how many kernels there is an object."""
        unserved = self.refused.keys() | self.awaited
        return sum(k in self.objects or (isinstance(default, Artifact) and k not in unserved) for k in self.kernels)


NONE = Variants()


def kernels_of(spec: TraceSpec | None, nodes: Iterable[Node], bpf_nodes: Mapping[NodeName, BpfNode]) -> Kernels:
    """The kernels of the nodes that a trace selects, as far as they are known."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        known = bpf_nodes.get(node.name)
        if known and known.btf and spec and selected(node, spec):
            found.setdefault(known.btf, []).append(node.name)
    return {digest: tuple(sorted(names)) for digest, names in found.items()}


def unfit_nodes(reports: Iterable[Report], generation: int, digest: str) -> set[str]:
    """The nodes that say of the object `digest` that it is not for their kernel."""
    return {
        report.node
        for report in reports
        if report.head.get("phase") == "Failed"
        and report.head.get("reason") in UNFIT
        and report.head.get("generation") == generation
        and report.head.get("digest") in (digest, None, "")
    }


def is_final(default: Outcome) -> bool:
    """Whether no kernel takes the program."""
    return isinstance(default, Refused) and not default.of_kernel and default.reason not in PASSING


def choose(
    kernels: Kernels, default: Outcome, own: str, unfit: Set[str] = frozenset(), known: Collection[str] = frozenset()
) -> Choice:
    """Which kernels want objects of their own.

    Args:
        default: what came of the operator's default view.
        own: the kernel of that view; what it refuses once it refuses always.
        unfit: nodes that cannot run the default object.
        known: kernels that have had objects of their own: they keep them as long as a node has the kernel.
    """
    if is_final(default):
        wanted = set[str]()
    elif isinstance(default, Refused) and default.of_kernel:
        wanted = {digest for digest in kernels if digest != own}
    else:
        wanted = {digest for digest, nodes in kernels.items() if digest in known or not unfit.isdisjoint(nodes)}
    # Of equals those that have one already: kernels must not push each other out as nodes come and go.
    ranked = sorted(wanted, key=lambda digest: (digest not in known, -len(kernels[digest]), digest))
    return Choice(tuple(sorted(ranked[:MOST])), tuple(sorted(ranked[MOST:])))
