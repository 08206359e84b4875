"""The loaded set: programs, maps and links of one trace in the kernel, and nothing of what is done with them.

The session holds one. Links are kept beside the object, because they can outlive it: pinned links and maps are what an agent
takes up again after it was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.libbpf.object import BpfObject
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.session.points import Point


@dataclass
class Loaded:
    """What is in the kernel.

    Args:
        object: the loaded object; it owns programs and maps.
        attached: the places with their links.
    """

    object: BpfObject
    attached: list[tuple[Point, list[Link]]] = field(default_factory=list)

    @property
    def programs(self) -> dict[str, Program]:
        """By ELF symbol."""
        return self.object.programs

    @property
    def maps(self) -> dict[str, BpfMap]:
        """By ELF symbol."""
        return self.object.maps

    @property
    def links(self) -> list[Link]:
        """All of them."""
        return [link for _, links in self.attached for link in links]

    def detach(self) -> None:
        """Close every link. The programs stop unless a pin holds their link."""
        attached, self.attached = self.attached, []
        for _, links in attached:
            for link in links:
                link.close()


@contextmanager
def loaded(opened: BpfObject) -> Iterator[Loaded]:
    """Load an open object; whatever is attached meanwhile is detached at the end of the block.

    Raises:
        VerifierError, LibbpfError: it cannot be loaded.
    """
    opened.load()
    held = Loaded(opened)
    try:
        yield held
    finally:
        held.detach()
