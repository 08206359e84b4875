"""The containers of a trace, and what their files have of the user programs that it probes.

    look(containers, mount, attaches, known)      in the loader's thread: processes, their roots, the probes there
    followed.take(looked, session.moving)         in the agent's: attach and detach

A container's root is only there once its runtime has made it, some time after its cgroup: it is looked for again and again,
first after moments, then every few seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubebpf.agent.binaries.roots import root_key
from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import Cgroup, walk
from kubebpf.agent.session.moving import Moving, RootKey, Search, search
from kubebpf.agent.session.placepins import Unit
from kubebpf.compiler.artifact.manifest import Attach

FIRST_SECONDS, LAST_SECONDS = 0.05, 5.0
# A runtime's own process is in a new container for a moment, with the node's files.
SETTLED_SECONDS = 2.0

LACKING, MISSING = "BinaryMissing", "ProbeMissing"


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen.

    Args:
        roots: of the processes of each container.
        search: of the roots that were looked at.
    """

    roots: Mapping[CgroupId, frozenset[RootKey]]
    search: Search


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be looked at; may be handed to another thread.

    Args:
        containers: their cgroups.
        mount: of the hierarchy.
        attaches: in user programs.
        settled: roots that need not be searched.
        known, barren: of a search.
    """

    containers: tuple[Cgroup, ...]
    mount: Path
    attaches: tuple[Attach, ...]
    settled: frozenset[RootKey]
    known: frozenset[Unit]
    barren: frozenset[Unit]


def look(request: Request) -> Looked:
    """Find the roots of containers, and the probes in those that are new."""
    roots, processes = dict[CgroupId, frozenset[RootKey]](), dict[RootKey, int]()
    for cgroup in request.containers:
        found = {key: pid for pid in _processes(request.mount / cgroup.path.lstrip("/")) if (key := root_key(pid)) is not None}
        roots[cgroup.id] = frozenset(found)
        processes |= found
    fresh = {key: pid for key, pid in processes.items() if key not in request.settled}
    return Looked(roots, search(request.attaches, fresh, request.known, request.barren))


def _processes(directory: Path) -> Iterator[int]:
    """The processes of a cgroup and of those below it."""
    for folder in walk(directory):
        try:
            words = (folder / "cgroup.procs").read_text().split()
        except OSError:
            continue  # gone, or of threads
        # 0 is a process that this one's pid namespace does not see.
        yield from (int(word) for word in words if word != "0")


@dataclass
class Followed:
    """The containers of one session.

    Args:
        attaches: in user programs.
        mount: of the cgroup hierarchy.
        due: when to look, seconds, monotonic; never, before it is known which containers are meant.
    """

    attaches: tuple[Attach, ...]
    mount: Path
    due: float = math.inf
    _looking: bool = False
    _pause: float = FIRST_SECONDS
    _containers: tuple[Cgroup, ...] = ()
    _names: Mapping[CgroupId, str] = field(default_factory=dict)
    _roots: dict[CgroupId, frozenset[RootKey]] = field(default_factory=dict)
    _since: dict[CgroupId, float] = field(default_factory=dict)

    def choose(self, containers: Sequence[Cgroup], names: Mapping[CgroupId, str]) -> None:
        """These are meant now.

        Args:
            containers: their cgroups.
            names: as far as the API server has told them; the others may be no containers of the pod's own.
        """
        before = {cgroup.id for cgroup in self._containers}
        self._containers, self._names = tuple(containers), names
        if {cgroup.id for cgroup in containers} != before or self.due == math.inf:
            self.due, self._pause = time.monotonic(), FIRST_SECONDS

    def request(self, moving: Moving) -> Request:
        """What is to be looked at now; nothing else is due before its answer was taken."""
        self._looking = True
        # Files may come and be replaced in a root that is known.
        settled = frozenset() if self._pause >= LAST_SECONDS else frozenset(moving.roots)
        return Request(self._containers, self.mount, self.attaches, settled, moving.known, moving.barren)

    def is_due(self, now: float) -> bool:
        """Whether to look."""
        return not self._looking and now >= self.due

    @property
    def alarm(self) -> float | None:
        """When to look; None while somebody does."""
        return None if self._looking else self.due

    def take(self, looked: Looked, moving: Moving) -> None:
        """Attach and detach as was found."""
        now = time.monotonic()
        self._looking = False
        self.due, self._pause = now + self._pause, min(self._pause * 2, LAST_SECONDS)
        self._roots = dict(looked.roots)
        self._since = {id: self._since.get(id, now) for id in looked.roots}
        wanted = frozenset[RootKey]().union(*looked.roots.values())
        moving.put(looked.search, moving.roots.keys() - wanted)

    def remark(self, moving: Moving) -> tuple[str, str]:
        """Reason and message when containers lack what is probed: LACKING for some, MISSING for all of them; else ("", "")."""
        now = time.monotonic()
        grown = [id for id in self._names if self._roots.get(id) and now - self._since.get(id, now) >= SETTLED_SECONDS]
        had = [self._had(id, moving) for id in grown]
        lacking = [attach for attach in self.attaches if not any(attach.probe in numbers for numbers in had)]
        if grown and lacking:
            why = next((w for id in grown for w in [self._why(id, lacking[0], moving)] if w), lacking[0].text)
            return MISSING, f"none of {len(grown)} containers has {lacking[0].text}: {why}"
        few = [id for id, numbers in zip(grown, had, strict=True) if len(numbers) < len(self.attaches)]
        if few:
            lack = next(attach for attach in self.attaches if attach.probe not in self._had(few[0], moving))
            return LACKING, f"{len(few)} of {len(grown)} containers lack what is probed: {self._why(few[0], lack, moving)}"
        if moving.refused:
            return "TooManyProbes", f"{moving.refused} places were left out: max_probes is reached"
        return "", ""

    def _had(self, id: CgroupId, moving: Moving) -> frozenset[int]:
        seen = (moving.roots[key] for key in self._roots[id] if key in moving.roots)
        return frozenset(number for root in seen for number, _ in root.units)

    def _why(self, id: CgroupId, attach: Attach, moving: Moving) -> str:
        seen = (moving.roots[key] for key in self._roots[id] if key in moving.roots)
        return next((root.missing[attach.probe] for root in seen if attach.probe in root.missing), attach.text)
