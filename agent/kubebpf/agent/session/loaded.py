"""The loaded set: programs, maps and links of one trace in the kernel, and nothing of what is done with them.

The session holds one. Links are kept beside the object, because they can outlive it: pinned links and maps are what an agent
takes up again after it was killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING

from kubebpf.agent.libbpf.clone import CloneLink
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.libbpf.object import BpfObject
from kubebpf.agent.libbpf.program import Runnable
from kubebpf.agent.session.points import Point

if TYPE_CHECKING:
    from kubebpf.agent.session.pins import Pins

_FEW = 8  # links or descriptors that are closed without threads
_THREADS = 32


@dataclass
class Loaded:
    """What is in the kernel.

    Args:
        programs, maps: by ELF symbol; whoever made this closes them.
        attached: the places with their links.
        known_clones: descriptors of programs that are instances of others, where their links do not have them.
        pins: where all of it is pinned, too.
    """

    programs: Mapping[str, Runnable]
    maps: Mapping[str, BpfMap]
    attached: list[tuple[Point, list[Link]]] = field(default_factory=list)
    known_clones: Sequence[int] = ()
    pins: Pins | None = None
    _events: list[int | None] = field(default_factory=list)

    @property
    def clones(self) -> list[int]:
        """Descriptors of the programs that are instances of others."""
        return [*self.known_clones, *(link.program for link in self.links if isinstance(link, CloneLink))]

    @property
    def links(self) -> list[Link]:
        """All of them."""
        return [link for _, links in self.attached for link in links]

    def detach(self) -> None:
        """Close every link, pinned ones too: the programs stop.

        Each close waits for a grace period of the kernel (perf_event_detach_bpf_prog), and waits at the same time share one: with
        hundreds of links, threads make seconds of what would be half a minute. What is left of perf events is closed by `close`.
        """
        links, self.attached = self.links, []
        for link in links:
            link.lose_pin()
        if len(links) <= _FEW:
            self._events += [link.release() for link in links]
            return
        with ThreadPoolExecutor(_THREADS) as threads:
            self._events += threads.map(lambda link: link.release(), links)

    def leave(self) -> None:
        """Close every link here, after all are pinned; they go on without this process."""
        links, self.attached, self.pins = self.links, [], None
        for link in links:
            link.abandon()

    def detach_where(self, chosen: Callable[[Point], bool]) -> None:
        """Close the links of some places."""
        going = [links for point, links in self.attached if chosen(point)]
        self.attached = [(point, links) for point, links in self.attached if not chosen(point)]
        for link in (link for links in going for link in links):
            link.lose_pin()
            self._events.append(link.release())

    def close(self) -> None:
        """Detach, unpin, close what is left; a thread of their own closes many perf events, so that the caller need not wait."""
        pins, self.pins = self.pins, None
        if pins is not None or self.attached:
            self.detach()
        if pins is not None:
            pins.remove()
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
    held = Loaded(opened.programs, opened.maps)
    try:
        yield held
    finally:
        held.close()
