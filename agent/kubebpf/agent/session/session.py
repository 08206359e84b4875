"""A session: one artifact at work in this kernel, from load to close.

    with Session(artifact, Options(args=("5",))) as session:      # open, fill the constants, load
        session.start()                                           # begin programs, then attach
        while session.exit is None:
            for record in session.poll(0.1): …
        for record in session.finish(): …                         # detach, end programs
        for state in session.maps(resolver): …

bpftrace's order: begin programs run before anything is attached, end programs after everything is detached, each in the order
of declaration. A session belongs to one thread: nothing in it is locked. On any exception all of it is released: the block's end
closes links, perf events, ring buffer, programs and maps.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubebpf.agent.libbpf.info import map_memory, program_info
from kubebpf.agent.libbpf.object import BpfObject, open_object
from kubebpf.agent.libbpf.packets import PerfBuffer
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.libbpf.ring import RingBuffer
from kubebpf.agent.libbpf.syscalls import has_uprobe_multi
from kubebpf.agent.session import user
from kubebpf.agent.session.alike import marked
from kubebpf.agent.session.attach import PROVIDERS, Moment, attach_points, provider
from kubebpf.agent.session.constants import fill
from kubebpf.agent.session.counters import Counters, read_sites
from kubebpf.agent.session.errors import AttachError, MissingProbeError, NoProbesError, TooManyProbesError
from kubebpf.agent.session.facts import check_parameters
from kubebpf.agent.session.layouts import check_layouts
from kubebpf.agent.session.loaded import Loaded, loaded
from kubebpf.agent.session.memory import allot
from kubebpf.agent.session.moving import Moving, user_attaches
from kubebpf.agent.session.options import Options, Purpose
from kubebpf.agent.session.pins import Kept, Pins, StalePinsError, announce_again
from kubebpf.agent.session.points import Node, Point, Target, number
from kubebpf.agent.session.ring import Exit, Reader, Record, default_ring_bytes, exit_of, held_share
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.decode import Resolver
from kubebpf.compiler.artifact.manifest import CONSTANTS, ENDED, NAMES, PACKETS, RING, SCOPE, SITES, Attach, MapSchema

if TYPE_CHECKING:
    from kubebpf.agent.session.maps import MapState
    from kubebpf.compiler.artifact.cells import Cell

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST = bytes(4)
_PACKET_PAGES = 64  # of each CPU: 256 KiB
_GLANCE_S = 0.002  # how long a running iterator may fill the ring buffer before it is looked at
_ONE = (1).to_bytes(8, "little")

_NO_PROBES: dict[Purpose, str] = {
    "run": "No probes attached; use --test to run test probes, --bench to run bench probes.",
    "test": "No test probes in the program.",
    "bench": "No bench probes in the program.",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one run of a program.

    Args:
        value: that it returned.
        duration_ns: of the call that ran it.
    """

    value: int
    duration_ns: int


class Session:
    """See the module.

    `exit` is set once a record of exit() was polled. `warnings` are the missing probes that `missing_probes=warn` passed over,
    and matches of a wildcard that could not be attached while others could. `points` are the places found, with their cookies.
    `moving` holds the probes of user programs when `Options.moving` asks for it.
    """

    def __init__(self, artifact: Artifact, options: Options | None = None, node: Node | None = None) -> None:
        """Prepare; nothing happens yet.

        Args:
            artifact: what to run.
            options: the choices of this run.
            node: where attach points are looked up.
        """
        self.artifact, self.manifest = artifact, artifact.manifest
        self.options = options or Options()
        self.node = node or Node(process=self.options.pid, unsafe=self.options.unsafe)
        self.exit: Exit | None = None
        self.warnings: list[MissingProbeError] = []
        self.points: list[Point] = []
        self.moving: Moving | None = None
        self._follows = user_attaches(self.manifest.attaches) if self.options.moving else []
        self._names = {attach.probe: attach.text for attach in self.manifest.attaches}
        self._reader = Reader(self.manifest)
        self._pending: list[bytes] = []
        self._rows: list[user.Row] = []
        self._stack = ExitStack()
        self._loaded: Loaded | None = None
        self._ring: RingBuffer | None = None
        self._packets: PerfBuffer | None = None
        self._either: select.epoll | None = None

    def __enter__(self) -> Self:
        """Open, find the attach points, fill the constants, load.

        Raises:
            ParameterError: options are given that the program does not have, or a parameter does not fit.
            FactError: this node cannot say what the program's constants ask.
            KernelFieldError, KernelLayoutError: the kernel lacks what the object reads, or has it elsewhere.
            AttachError: probes are missing, and `missing_probes` is error.
            VerifierError: the kernel refused a program or lacks a field.
            LibbpfError, LibbpfMissingError: anything else.
        """
        check_parameters(self.manifest, self.options)
        with self._stack:
            opened = self._stack.enter_context(open_object(self.artifact.elf, self.options.name, self.options.btf))
            self._prepare(opened)
            check_layouts(self.manifest, opened.to_be_loaded, self.options.btf, self.node)
            self._loaded = self._stack.enter_context(loaded(opened))
            for row in self._rows:
                told = self._loaded.maps[row.map]
                told.update(row.cookie.to_bytes(8, "little"), row.value.ljust(told.value_bytes, b"\0"))
            if RING in opened.map_names:
                self._ring = self._stack.enter_context(RingBuffer(self._loaded.maps[RING].fd))
            if PACKETS in opened.map_names:
                self._receive(self._loaded.maps[PACKETS].fd)
            self._follow(self._loaded)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """As close."""
        self.close()

    def adopt(self, pins: Pins, kept: Kept) -> Self:
        """Take up what an earlier process pinned, in place of `with` and `start`: begin programs are not run again.

        Args:
            pins: of a session of this artifact, with these options.
            kept: what they were left with.

        Raises:
            StalePinsError: they are not what the note says.
            LibbpfError: the ring buffer cannot be mapped.
        """
        if self._follows and not has_uprobe_multi():
            raise StalePinsError("this kernel attaches a pinned program to no user programs")
        with self._stack:
            held = self._stack.enter_context(pins.taken_up(kept, self.manifest))
            self.points = [point for point, _ in held.attached]
            self._names |= {point.cookie: point.name for point in self.points}
            if RING in held.maps:
                self._ring = self._stack.enter_context(RingBuffer(held.maps[RING].fd))
            if PACKETS in held.maps:
                self._receive(held.maps[PACKETS].fd)
            self._loaded = held
            self._hold()
            self._follow(held)
            announce_again(held.maps)
            self._stack = self._stack.pop_all()
        return self

    def _follow(self, held: Loaded) -> None:
        if self._follows:
            self.moving = Moving(self._follows, held, self.options, set(self._names), self.manifest.config.max_probes)

    def pin(self, pins: Pins, note: Mapping[str, object]) -> None:
        """Let the session outlive this process, once it is started; `close` and `finish` still end it, `leave` does not.

        Args:
            pins: where.
            note: for whoever takes it up.

        Raises:
            LibbpfError, OSError: it cannot be pinned; it goes on unpinned.
        """
        pins.keep(self._held(), Kept(self.options.scope_levels, note))
        self._hold()

    def _hold(self) -> None:
        """From now on another process may go on where this one is killed: with what this one has not done."""
        if self._ring is not None:
            self._ring.hold(held_share(self.manifest))

    def done(self) -> bool:
        """What `poll` gave has been acted on; another process that takes the session up begins with what was not.

        Returns whether there are more records, for which `epoll_fd` may not become readable.
        """
        return self._ring is not None and self._ring.release()

    def leave(self) -> None:
        """Release what this process holds. What is pinned goes on; without pins this is `close`."""
        if self._loaded is not None and self._loaded.pins is not None:
            self._loaded.leave()
        self.close()

    def close(self) -> None:
        """Release everything; end programs run only in `finish`. A second call does nothing."""
        self._loaded = self._ring = self._packets = self._either = None
        self._stack.close()

    def start(self) -> None:
        """Run the begin programs, then attach. Records of the begin programs come with the next poll.

        Raises:
            AttachError: a probe could not be attached, and `missing_probes` is error; nothing is attached then.
            LibbpfError: a begin program could not be run.
        """
        self._run("begin")
        if self.options.purpose != "run":
            return
        held = self._held()
        try:
            self._attach_all(held)
            self._iterate(held)
        except BaseException:
            held.detach()
            raise

    def poll(self, timeout_s: float) -> list[Record]:
        """Wait for records, and take those that are there.

        Args:
            timeout_s: how long to wait for the first, in seconds.

        Returns:
            the records in their order; a bounded number, so that a flood leaves time for other work.

        Raises:
            ManifestError: the object sent what its manifest does not know.
        """
        if self._either is not None and not self._pending:
            self._either.poll(timeout_s)
        if self._packets is not None:
            self._pending += self._packets.consume()
            timeout_s = 0
        if self._ring is not None:
            self._pending += self._ring.poll(0 if self._pending else max(0, int(timeout_s * 1000))) or self._ring.consume()
        ended = self._ended()
        if ended and self._ring is not None:
            self._drain()  # the event was sent before the word was written
        records = self._taken()
        self.exit = self.exit or (Exit(ended - 1) if ended else None)
        return records

    def _ended(self) -> int:
        """The word of exit(), whose event is lost when there was no room for it; 0 as long as nothing called it."""
        word = None if self.exit else self._held().maps.get(ENDED)
        return int.from_bytes(word.lookup(_FIRST) or b"", "little") if word else 0

    def finish(self) -> list[Record]:
        """Detach, run the end programs, take the records that are left. Of a pinned session this is noted, so that
        another process does the rest if this one is killed; the end programs run a second time only when they were cut short.

        Raises:
            LibbpfError: an end program could not be run.
        """
        pins = self._held().pins
        over = pins is not None and bool(pins.ended)
        if pins is not None and not over:
            pins.end(over=False)
        self._held().detach()
        if self._ring is not None:
            self._ring.hold(0)  # the end programs need the room
        self._drain()
        if not over:
            self._run("end")
            if pins is not None:
                pins.end(over=True)
        return self._taken()

    @property
    def ending(self) -> bool:
        """Whether an earlier process was about to end it: nothing is attached, and only `finish` is left."""
        pins = self._held().pins
        return pins is not None and pins.ended is not None

    @property
    def epoll_fd(self) -> int | None:
        """A descriptor that is readable when records wait; None for programs without events."""
        if self._either is not None:
            return self._either.fileno()
        return self._ring.epoll_fd if self._ring else None

    @property
    def policy(self) -> str:
        """What to do about missing probes: error, warn or ignore."""
        return self.options.missing_probes or self.manifest.config.missing_probes

    @property
    def attached(self) -> int:
        """How many probes are attached, begin and end counted, as bpftrace counts them."""
        special = [attach for attach in self.manifest.attaches if _moment(attach) and self._wanted(attach)]
        # A usdt probe that has several places is one.
        return len(special) + len({(point.attach.probe, point.name) for point, _ in self._held().attached})

    def probes(self, moment: Moment) -> list[Attach]:
        """The probes of the text that this process runs itself, of one kind, in their order."""
        return [attach for attach in self.manifest.attaches if _moment(attach) == moment]

    def run_probe(self, attach: Attach) -> Trial:
        """Run one of them, once; its records come with the next poll.

        Raises:
            LibbpfError: it could not be run.
        """
        program = self._held().programs[attach.program]
        started = time.perf_counter_ns()
        value = program.run()
        trial = Trial(value, time.perf_counter_ns() - started)
        self._drain()
        return trial

    def measure(self, attach: Attach, rounds: int) -> int:
        """Run a bench probe many times. Returns the nanoseconds that one time takes, on average.

        Raises:
            LibbpfError: it could not be run.
        """
        try:
            return self._held().programs[attach.program].measure(rounds)
        finally:
            self._drain()

    def signalled(self, name: str) -> None:
        """Run the self probes that wait for a signal."""
        for attach in self.probes("signal"):
            if attach.target["signal"] == name:
                self.run_probe(attach)

    @property
    def loaded(self) -> Loaded:
        """Programs, maps and links, for statistics and pinning."""
        return self._held()

    def probe_name(self, cookie: int) -> str:
        """What `probe` prints for a cookie."""
        return self._names.get(cookie, "")

    def maps(self, resolver: Resolver) -> list[MapState]:
        """All maps of the text, in the order of the manifest."""
        return [self.read(schema.name, resolver) for schema in self.manifest.maps]

    def read(self, name: str, resolver: Resolver, unset: bool = False) -> MapState:
        """One map.

        Args:
            name: as the text spells it.
            resolver: for plain values that bytes alone do not tell.
            unset: with a min or max that nothing has set since zero(), as 0.

        Raises:
            KeyError: the text has no such map.
            LibbpfError: it cannot be read.
        """
        # numpy is for programs with maps.
        from kubebpf.agent.session import maps as map_state

        schema = self.schema(name)
        return map_state.read(schema, self._held().maps[schema.symbol], resolver, unset)

    def rows(self, name: str, resolver: Resolver, empty: bool = False) -> Iterator[tuple[bytes, Cell]]:
        """As `read`, or `drain` when it is to be empty, row by row: only a piece of the map is in memory at a time."""
        from kubebpf.agent.session import maps as map_state

        schema = self.schema(name)
        return (map_state.drained if empty else map_state.rows)(schema, self._held().maps[schema.symbol], resolver)

    def drain(self, name: str, resolver: Resolver, unset: bool = False) -> MapState:
        """As `read` and `clear`, without losing what is counted between the two; see `maps.drain`."""
        from kubebpf.agent.session import maps as map_state

        schema = self.schema(name)
        return map_state.drain(schema, self._held().maps[schema.symbol], resolver, unset)

    def clear(self, name: str) -> None:
        """Empty a map, as clear() does."""
        from kubebpf.agent.session import maps as map_state

        schema = self.schema(name)
        map_state.clear(schema, self._held().maps[schema.symbol])

    def zero(self, name: str) -> None:
        """Set a map's values to zero and keep its keys, as zero() does."""
        from kubebpf.agent.session import maps as map_state

        schema = self.schema(name)
        map_state.zero(schema, self._held().maps[schema.symbol])

    def unwatch(self, address: int) -> None:
        """Detach the watchpoints on an address; nothing when there is none."""
        self._held().detach_where(lambda point: point.target.get("address") == address)

    def counters(self) -> Counters:
        """Lost events and failed sites since the load."""
        source = self._held().maps.get(SITES)
        return read_sites(self.manifest.sites, source) if source else Counters()

    def memory(self) -> dict[str, int]:
        """The bytes that each map takes now, by the name in the text where it has one."""
        names = {schema.symbol: schema.name for schema in self.manifest.maps}
        return {names.get(name, name): map_memory(found.fd) for name, found in self._held().maps.items()}

    def run_time_ns(self) -> int:
        """How long the programs have run, on all CPUs, while the kernel counted it."""
        held = self._held()
        programs = [program.info for program in held.programs.values() if program.autoload]
        return sum(info.run_time_ns for info in [*programs, *map(program_info, held.clones)])

    def scope_add(self, cgroup: int) -> None:
        """Count events of a cgroup from now on.

        Args:
            cgroup: its cgroup v2 id.

        Raises:
            KeyError: the object has no scope.
            LibbpfError: E2BIG when the scope is full.
        """
        self._held().maps[SCOPE].update(cgroup.to_bytes(8, "little"), _ONE)

    def scope_remove(self, cgroup: int) -> bool:
        """Count a cgroup's events no longer. Returns whether it was in the scope."""
        return self._held().maps[SCOPE].delete(cgroup.to_bytes(8, "little"))

    def scope(self) -> list[int]:
        """The cgroups whose events are counted.

        Raises:
            KeyError: the object has no scope.
        """
        return [int.from_bytes(key, "little") for key in self._held().maps[SCOPE].keys()]  # noqa: SIM118

    def _held(self) -> Loaded:
        if self._loaded is None:
            raise ValueError("the session is not open")
        return self._loaded

    def schema(self, name: str) -> MapSchema:
        """What the manifest says of a map. Raises KeyError when the text has none of this name."""
        for schema in self.manifest.maps:
            if schema.name == name:
                return schema
        raise KeyError(name)

    def _prepare(self, opened: BpfObject) -> None:
        if RING in opened.map_names and (size := self._ring_bytes()):
            opened.set_max_entries(RING, size)
        allot(opened, self.manifest, self.options.memory_bytes)
        self.points = self._find(opened)
        self._rows = self._tell(opened)
        self._names |= {point.cookie: point.name for point in self.points}
        if CONSTANTS in opened.map_names:
            fill(opened.initial_value(CONSTANTS), self.manifest, replace(self.options, traced=not self.node.kprobes))

    def _ring_bytes(self) -> int:
        return self.options.ring_bytes or self.manifest.config.ring_pages * _PAGE or default_ring_bytes()

    def _wanted(self, attach: Attach) -> bool:
        """Whether a probe belongs to what the session is for."""
        moment = _moment(attach)
        if self.options.purpose == "run":
            return moment not in ("test", "bench")
        return moment in ("begin", "end", self.options.purpose)

    def _find(self, opened: BpfObject) -> list[Point]:
        found: list[tuple[Attach, str, Target]] = []
        missing: list[MissingProbeError] = []
        if self.manifest.attaches and not any(map(self._wanted, self.manifest.attaches)):
            raise NoProbesError(_NO_PROBES[self.options.purpose])
        for attach in self.manifest.attaches:
            try:
                found += self._places(attach, opened)
            except MissingProbeError as error:
                missing.append(error)
        self._missing(missing)
        wanted = {attach.program for attach, *_ in found}
        wanted |= {attach.program for attach in self.manifest.attaches if _moment(attach) or attach in self._follows}
        for name in {attach.program for attach in self.manifest.attaches} - wanted:
            opened.programs[name].autoload = False  # some could not even be loaded without their place
        points = number(found, max((attach.probe for attach in self.manifest.attaches), default=-1) + 1)
        if len(points) > (most := self.manifest.config.max_probes):
            raise TooManyProbesError(len(points), most)
        return points

    def _places(self, attach: Attach, opened: BpfObject) -> Iterable[tuple[Attach, str, Target]]:
        kind, program = provider(attach), opened.programs[attach.program]
        if not self._wanted(attach):
            program.autoload = False
        if kind.moment or not self._wanted(attach):
            return []
        kind.prepare(attach, program)
        if attach in self._follows:
            return []
        found = marked(attach, list(kind.expand(attach, self.node)), self.node)
        kind.load_for(program, attach, [target for _, target in found], self.node)
        return [(attach, name, target) for name, target in found]

    def _tell(self, opened: BpfObject) -> list[user.Row]:
        """What programs are told about places of user programs; a place that cannot be told about is missing."""
        rows, missing, lost = list[user.Row](), dict[str, MissingProbeError](), set[int]()
        for point in self.points:
            try:
                rows += user.rows(point)
            except MissingProbeError as error:
                missing[str(error)] = error
                lost.add(point.cookie)
        self._missing(list(missing.values()))
        self.points = [point for point in self.points if point.cookie not in lost]
        if NAMES in opened.map_names:
            rows += user.names(self.points)
        user.resize(opened, rows, self.manifest.config.max_probes if self._follows else 0)
        return rows

    def _attach_all(self, held: Loaded) -> None:
        missing: list[MissingProbeError] = []
        programs = {name: program for name, program in held.programs.items() if isinstance(program, Program)}
        for point, done in attach_points(programs, self.points, self.options):
            if isinstance(done, MissingProbeError):
                missing.append(done)
            else:
                held.attached.append((point, done))
        self._missing(self._forgive(missing, held))

    def _iterate(self, held: Loaded) -> None:
        """Let the iterators run that are not pinned for others to read. They send records like any program."""
        running = [made for point, made in held.attached if point.attach.provider == "iter" and not point.target["pin"]]
        with ThreadPoolExecutor(1) as reader:  # its thread starts with the first iterator
            for link in chain.from_iterable(running):
                done = reader.submit(link.iterate)
                while not wait([done], timeout=_GLANCE_S).done:
                    self._drain()
                done.result()

    def _forgive(self, missing: list[MissingProbeError], held: Loaded) -> list[MissingProbeError]:
        """A wildcard of which at least one match was attached is not missing: the others become warnings."""
        working = {point.attach.probe for point, _ in held.attached if point.attach.wildcard}
        names = {point.name for point in self.points if point.attach.probe in working}
        self.warnings += [error for error in missing if error.probe in names]
        return [error for error in missing if error.probe not in names]

    def _missing(self, missing: Sequence[MissingProbeError]) -> None:
        if missing and self.policy == "error":
            raise AttachError(missing)
        if self.policy == "warn":
            self.warnings += missing

    def _run(self, moment: str) -> None:
        for attach in self.manifest.attaches:
            if _moment(attach) == moment:
                # What it sent is taken after each, so that no program finds the ring buffer full of another's records.
                self.run_probe(attach)

    def _receive(self, packets: int) -> None:
        """Open the buffers of packets. Where there are packets, there is a ring buffer, too."""
        assert self._ring is not None
        self._packets = self._stack.enter_context(PerfBuffer(packets, self.manifest.config.ring_pages or _PACKET_PAGES))
        self._either = self._stack.enter_context(select.epoll())
        for descriptor in (self._ring.epoll_fd, self._packets.epoll_fd):
            self._either.register(descriptor, select.EPOLLIN)

    def _drain(self) -> None:
        if self._packets is not None:
            self._pending += self._packets.consume()
        while self._ring is not None and (records := self._ring.consume()):
            self._pending += records

    def _taken(self) -> list[Record]:
        records = self._reader.records(self._pending)
        self._pending.clear()
        for record in records:
            if record.event.kind == "exit":
                self.exit = self.exit or exit_of(record)
        return records


def _moment(attach: Attach) -> str:
    return PROVIDERS[attach.provider].moment if attach.provider in PROVIDERS else ""
