"""One trace at work on this node: its session, its scope, its last lines, and the state that reports carry.

live = attach(trace, identity, artifact, Surroundings(…))         -> taken up from pins; or loaded, scope filled, attached
live.poll()                                                       -> the lines printed since the last call
live.state("Attached")                                            -> State(maps=…, recent=…, lost=…)
"""

from __future__ import annotations

import errno
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from kubebpf.agent.cluster.containers import MISSING, Followed, Looked, Request, look
from kubebpf.agent.cluster.cost import WINDOW, Budget, Meter
from kubebpf.agent.cluster.desired import Identity
from kubebpf.agent.cluster.identity import Identities
from kubebpf.agent.cluster.lines import ClusterResolver, Lines
from kubebpf.agent.cluster.pinned import Pinned
from kubebpf.agent.cluster.report import Line, Lost, Phase, State
from kubebpf.agent.cluster.target import Chosen, Namespaces, NodePods
from kubebpf.agent.cluster.trace import Trace
from kubebpf.agent.libbpf.errors import LibbpfError, LibbpfMissingError
from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.agent.libbpf.verifier import LACKS, SymbolError, VerifierError
from kubebpf.agent.output.dispatch import largest_states
from kubebpf.agent.output.files import Files
from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import PodDirectory
from kubebpf.agent.session.errors import KernelFieldError, KernelLayoutError, SessionError
from kubebpf.agent.session.memory import check_memory
from kubebpf.agent.session.moving import user_attaches
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.pins import Kept, Pins, StalePinsError
from kubebpf.agent.session.points import Node
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.agent.symbols.known import KnownPlaces
from kubebpf.compiler.artifact.artifact import Artifact

log = logging.getLogger(__name__)

_NAMES, _PLACES = "names", "functions"  # notes beside the pins
NODE_PROCESS = 1  # the node's first: the agent shares its pid namespace


class Live:
    """An attached session. Belongs to one thread at a time.

    Args:
        trace: as it was when it was attached; every change of it makes another session.
        identity: of the session.
        session: open.
        identities: what its cgroup ids stand for.
        files: that cat() may read and skboutput() write.
    """

    def __init__(self, trace: Trace, identity: Identity, session: Session, identities: Identities, files: Files) -> None:
        self.trace, self.identity, self.session = trace, identity, session
        self.started_at = datetime.now(UTC)
        self.exit_code: int | None = None
        self.id = uuid.uuid4().hex
        self.adopted = False
        self.pins: Pins | None = None
        self.took = (0.0, 0.0)  # seconds of loading and of attaching
        self.meter: Meter | None = None
        self.weigh_at = 0.0 if any(found.info.grows for found in session.loaded.maps.values()) else math.inf  # monotonic
        self.unwatched = False  # it has a limit of processor time, and nobody counts that
        self.identities, self._told = identities, dict[str, int]()
        self._resolver = ClusterResolver(session.manifest, identities)
        # Loading was refused unless this agent and the trace allow unsafe helpers.
        self._lines = Lines(session, self._resolver, identities, allow_unsafe=trace.allow_unsafe, files=files.of(_folder(trace)))
        self._recent: deque[Line] = deque(maxlen=trace.recent_lines)
        self._scope: set[CgroupId] = set()
        self._chosen = Chosen()
        self.followed: Followed | None = None
        self.full = False

    # -- scope

    def covers(self, low: int, high: int) -> bool:
        """Whether the loaded program looks at these levels of the cgroup tree. They are constants: it cannot learn new ones."""
        levels = self.session.options.scope_levels
        return not self.session.manifest.scoped or levels is None or (levels[0] <= low and high <= levels[1])

    def sync_scope(self, pods: NodePods, namespaces: Namespaces | None) -> None:
        """Make the kernel's set of cgroups the one that the trace's target means now.

        Args:
            pods: of this node.
            namespaces: the labels of all namespaces; None when they are not known.

        Raises:
            LibbpfError: the set cannot be changed, other than for lack of room.
        """
        if not self.session.manifest.scoped:
            return
        if self.adopted and namespaces is None and self.trace.pod_target.asks_namespaces:
            return  # they are being listed; until then what an earlier agent chose is right
        self._chosen = self.trace.pod_target.choose(pods, namespaces)
        if self.followed is not None:
            self.followed.choose(self._chosen.containers, self._chosen.names)
        wanted = self._chosen.cgroups
        # Room first.
        for id in self._scope - wanted:
            self.session.scope_remove(id)
        self._scope &= wanted
        self.full = False
        for id in sorted(wanted - self._scope):
            self._add(id)
        for id in wanted:
            self.identities.cgroup(id)  # their names are needed when they are gone
        self.keep_words()

    # -- probes of user programs in containers

    def follow(self, directory: PodDirectory) -> None:
        """Probe user programs in the containers of the scope, if the program does."""
        if self.session.moving is not None:
            self.followed = Followed(self.session.moving.attaches, directory.mount.mount_point)

    def request(self) -> Request | None:
        """What is to be looked at in containers; None for programs without such probes."""
        moving = self.session.moving
        return self.followed.request(moving) if self.followed is not None and moving is not None else None

    def take(self, looked: Looked) -> None:
        """Attach and detach as was found.

        Raises:
            LibbpfError: a program cannot be told about its places.
        """
        if self.followed is not None and self.session.moving is not None:
            self.followed.take(looked, self.session.moving)

    def _add(self, id: CgroupId) -> None:
        try:
            self.session.scope_add(id)
        except LibbpfError as error:
            if error.errno != errno.E2BIG:
                raise
            self.full = True
            return
        self._scope.add(id)

    # -- events

    def poll(self) -> list[Line]:
        """The lines that were printed since the last call."""
        self._resolver.drain()
        return self._take(self.session.poll(0))

    def done(self) -> bool:
        """The lines that `poll` gave are printed. Whether there are more records already, of which nobody is told."""
        return self.session.done()

    def finish(self) -> list[Line]:
        """Detach and run the end programs; the maps stay readable. The last lines."""
        return self._take(self.session.finish())

    def _take(self, records: list[Record]) -> list[Line]:
        self._lines.expect(records)
        lines = [line for record in records for line in self._lines.of(record)]
        self._recent.extend(lines)
        if self.session.exit is not None:
            self.exit_code = self.session.exit.code
        return lines

    # -- state

    def state(self, phase: Phase, reason: str = "", message: str = "") -> State:
        """What was counted so far.

        Raises:
            LibbpfError: a map cannot be read.
        """
        self._resolver.settle()
        counters, maps = self.session.counters(), largest_states(self.session, self._resolver, self.trace.top)
        self.keep_words()
        if phase == "Attached" and not reason:
            reason, message = self._remark()
            if reason == MISSING and self.session.policy == "error":
                phase = "Failed"
        return State(
            generation=self.identity.generation,
            digest=self.identity.digest,
            session=self.id,
            phase=phase,
            reason=reason,
            message=message,
            probes=self.session.attached if phase == "Attached" else 0,
            started_at=self.started_at,
            exit_code=self.exit_code,
            maps=maps,
            recent=list(self._recent),
            lost=Lost(counters.lost, counters.map_full, self._missed() + counters.stacks),
        )

    def _remark(self) -> tuple[str, str]:
        """What is to be said of an attached session: reason and message, or ("", "")."""
        if self.full:
            return "ScopeFull", "more pods are selected than the object has room for: some are not counted"
        if self.followed is not None and self.session.moving is not None and not self._chosen.reason:
            return self.followed.remark(self.session.moving)
        if self.unwatched and not self._chosen.reason:
            lacking = "the agent needs CAP_SYS_ADMIN for that, or the node kernel.bpf_stats_enabled=1"
            return "CPULimitUnwatched", f"limits.maxCPUPercent is not kept here, because run times are not counted: {lacking}"
        return self._chosen.reason, self._chosen.message

    # -- cost

    def measure(self, counted: bool) -> None:
        """Watch the limit of processor time from now on; `counted`: whether the kernel counts it."""
        if self.trace.max_cpu is not None and counted:
            self.meter = Meter(self.trace.max_cpu, self.session.run_time_ns(), time.monotonic())
        self.unwatched = self.trace.max_cpu is not None and not counted

    def look_at_cpu(self) -> None:
        """To be called when the meter's time has come.

        Raises:
            CpuLimitError: the programs take too much.
        """
        if self.meter is not None:
            self.meter.look(self.session.run_time_ns(), time.monotonic())

    def weigh(self, budget: Budget) -> None:
        """To be called when its time (`weigh_at`) has come, for maps that take memory as they fill.

        Raises:
            MemoryLimitError: they have taken too much.
        """
        self.weigh_at = time.monotonic() + WINDOW
        budget.take(self.identity.uid, self.memory(budget.limit_of(self.identity.uid)))

    def memory(self, limit: int | None) -> int:
        """The bytes of all maps now.

        Raises:
            MemoryLimitError: they are more than the limit.
        """
        taken = self.session.memory()
        check_memory(taken, limit)
        return sum(taken.values())

    def _missed(self) -> int:
        return sum(program.info.recursion_misses for program in self.session.loaded.programs.values() if program.autoload)

    # -- beyond this process

    @property
    def pinned(self) -> bool:
        """Whether it outlives this agent."""
        return self.pins is not None

    def keep_words(self) -> None:
        """Leave the next agent the names of pods and of functions: it never sees those that are gone."""
        known: dict[str, Identities | KnownPlaces] = {_NAMES: self.identities, _PLACES: self._resolver.places}
        for name, source in known.items():
            if self.pins is None or self._told.get(name) == source.version:
                continue
            self._told[name] = source.version
            try:
                self.pins.tell(name, source.rows())
            except (LibbpfError, OSError) as error:
                log.warning("%s: %s are not pinned: %s", self.trace.name, name, error)

    def pin(self, pinned: Pinned) -> None:
        """Let the session outlive this agent, where that can be."""
        pins = pinned.new(self.identity, self.id)
        if pins is None or not (self.session.points or self.followed):
            return
        try:
            self.session.pin(pins, {"session": self.id, "startedAt": self.started_at.isoformat()})
            self.pins = pins
        except LibbpfError as error:
            # Perf events before Linux 5.15 cannot be pinned; those of other programs can.
            log.warning("%s: not pinned: %s; counts start afresh with the next agent", self.trace.name, error)
        except OSError as error:
            pinned.refused(error)

    def know_before(self, pins: Pins) -> None:
        """After an adoption: what is in the scope already, and the names of pods and functions that may be gone."""
        self.adopted, self.pins = True, pins
        self._scope = {CgroupId(id) for id in self.session.scope()} if self.session.manifest.scoped else set()
        with suppress(ValueError, TypeError):  # damaged
            self.identities.recall(pins.told(_NAMES) or ())
            self._resolver.places.recall(pins.told(_PLACES) or ())

    def recall(self, recent: Iterable[Line]) -> None:
        """After an adoption: the last lines, as the report has them."""
        self._recent.extend(recent)

    def leave(self) -> None:
        """Release what this process holds; what is pinned goes on."""
        self._lines.close()
        self.session.leave()

    def close(self) -> None:
        """Release everything that the kernel holds for it."""
        self._lines.close()
        self.session.close()


def _folder(trace: Trace) -> str:
    """The name of the folder for what a trace writes; no name of an object has an underscore."""
    return f"{trace.name.namespace}_{trace.name.name}" if trace.namespaced else trace.name.name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a session is loaded.

    Args:
        directory: of this node's pods.
        node: its name.
        files: that cat() may read.
        pinned: where it is pinned.
        namespaces: labels of all; None when they are not known.
        budget: of the memory for maps.
        btf: the kernel's type information, where that is not what the kernel itself shows.
    """

    directory: PodDirectory
    node: str
    files: Files
    pinned: Pinned
    namespaces: Namespaces | None = None
    budget: Budget = field(default_factory=Budget)
    btf: Path | None = None


def attach(trace: Trace, identity: Identity, artifact: Artifact, here: Surroundings, afresh: bool = False) -> Live:
    """Take up what an earlier agent left of a session; or load an object, fill its scope, attach it, and pin it.

    Args:
        afresh: start again, whatever is pinned.

    Raises:
        SessionError, LibbpfError, LibbpfMissingError: see `why`.
    """
    moving = trace.selects_pods and bool(user_attaches(artifact.manifest.attaches))
    memory = here.budget.limit_of(identity.uid)
    options = replace(_options(trace, artifact, here.directory, moving), memory_bytes=memory, btf=here.btf)
    for pins, kept in here.pinned.newest(identity) if not afresh else ():
        try:
            return _adopted(
                trace, identity, Session(artifact, replace(options, scope_levels=kept.scope_levels)), here, (pins, kept)
            )
        except (StalePinsError, LibbpfError, ValueError) as error:
            log.warning("%s: %s; starting afresh", trace.name, error)
            pins.remove()
    # Where no pods are chosen, the paths of user programs are the node's; the agent's own root is that of its image.
    return _started(trace, identity, Session(artifact, options, Node(root=None if moving else NODE_PROCESS)), here)


def _adopted(trace: Trace, identity: Identity, session: Session, here: Surroundings, left: tuple[Pins, Kept]) -> Live:
    pins, kept = left
    session_id, started_at = str(kept.note["session"]), datetime.fromisoformat(str(kept.note["startedAt"]))
    session.adopt(pins, kept)
    live = Live(trace, identity, session, Identities(here.directory, here.node), here.files)
    live.id, live.started_at = session_id, started_at
    live.know_before(pins)
    live.follow(here.directory)
    return live


def _started(trace: Trace, identity: Identity, session: Session, here: Surroundings) -> Live:
    began = time.monotonic()
    session.__enter__()
    loaded = time.monotonic()
    try:
        live = Live(trace, identity, session, Identities(here.directory, here.node), here.files)
        live.follow(here.directory)
        # An empty scope would miss the events between attach and fill.
        live.sync_scope(here.directory.pods(), here.namespaces)
        request = live.request()
        looked = look(request) if request else None
        session.start()
        here.budget.take(identity.uid, live.memory(session.options.memory_bytes))
        live.pin(here.pinned)
        if looked is not None:
            live.take(looked)
        live.took = loaded - began, time.monotonic() - loaded
        return live
    except BaseException:
        session.close()
        raise


def _options(trace: Trace, artifact: Artifact, directory: PodDirectory, moving: bool) -> Options:
    low, high = directory.levels()
    return Options(
        name=trace.name.name,
        args=trace.args,
        params=trace.params,
        max_events=trace.max_events,
        moving=moving,
        # With container names the scope has containers' cgroups, one level below the pods'.
        scope_levels=(low, high + 1) if trace.containers else (low, high),
        container_level=high + 1,
        # What the program's config block says goes first.
        ring_bytes=None if artifact.manifest.config.ring_pages else ring_bytes(possible_cpus()),
    )


def ring_bytes(cpus: int) -> int:
    """The size of a trace's ring buffer: 64 KiB a CPU, a power of two from 256 KiB to 4 MiB.

    Smaller than in the local mode, where one program has the machine for itself: here fifty may run side by side.
    """
    wanted = min(max(cpus * (64 << 10), 256 << 10), 4 << 20)
    return 1 << (wanted - 1).bit_length()


def why(error: Exception) -> tuple[str, str]:
    """Reason and message of a failure for the report."""
    match error:
        case VerifierError():
            return (KernelFieldError.reason if error.line.startswith(LACKS) else "VerifierRejected"), str(error)
        case SymbolError(differs=differs):
            return (KernelLayoutError.reason if differs else "KernelSymbolMissing"), str(error)
        case SessionError():
            return error.reason, str(error)
        case LibbpfMissingError():
            return "LibbpfMissing", str(error)
        case LibbpfError():
            return "LoadFailed", str(error)
        case _:
            return "AgentError", f"{type(error).__name__}: {error}"


def close_quietly(live: Live) -> None:
    """Close; the kernel releases what is left when the process ends."""
    with suppress(LibbpfError):
        live.close()


def leave_quietly(live: Live) -> None:
    """Leave what is pinned, close the rest."""
    with suppress(LibbpfError):
        live.leave()
