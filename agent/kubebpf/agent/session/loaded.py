"""The loaded set: programs, maps and links of one trace in the kernel, and nothing of what is done with them.

The session holds one. Links are kept beside the object, because they can outlive it: pinned links and maps are what an agent
takes up again after it was killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.libbpf.object import BpfObject
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.session.points import Point

_FEW = 8  # links or descriptors that are closed without threads
_THREADS = 32


@dataclass
class Loaded:
    """What is in the kernel.

    Args:
        object: the loaded object; it owns programs and maps.
        attached: the places with their links.
    """

    object: BpfObject
    attached: list[tuple[Point, list[Link]]] = field(default_factory=list)
    _events: list[int | None] = field(default_factory=list)

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
        """Close every link. The programs stop unless a pin holds their link.

        Each close waits for a grace period of the kernel (perf_event_detach_bpf_prog), and waits at the same time share one: with
        hundreds of links, threads make seconds of what would be half a minute. What is left of perf events is closed by `close`.
        """
        links, self.attached = self.links, []
        if len(links) <= _FEW:
            self._events += [link.release() for link in links]
            return
        with ThreadPoolExecutor(_THREADS) as threads:
            self._events += threads.map(lambda link: link.release(), links)

    def detach_where(self, chosen: Callable[[Point], bool]) -> None:
        """Close the links of some places."""
        going = [links for point, links in self.attached if chosen(point)]
        self.attached = [(point, links) for point, links in self.attached if not chosen(point)]
        self._events += [link.release() for links in going for link in links]

    def close(self) -> None:
        """Detach, and close what is left; a thread of their own closes many perf events, so that the caller need not wait."""
        self.detach()
        events, self._events = [event for event in self._events if event is not None], []
        if len(events) <= _FEW:
            _close_all(events)
        else:
            Thread(target=_close_all, args=(events,), name="kubebpf-close", daemon=True).start()


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


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
        held.close()
