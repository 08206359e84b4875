"""Providers: one record each, that says how a written attach point is found on this node and how a program is attached there.

    PROVIDERS["interval"].attach(program, point, options) -> Link, on one CPU
    PROVIDERS["profile"].attach(program, point, options)  -> a Link for each CPU

begin and end have no place: their programs are run, once, by the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from errno import EINVAL, ESRCH
from typing import Literal

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.object import has_kernel_type
from kubebpf.agent.libbpf.perf import CPU_CLOCK, SOFTWARE, TRACEPOINT, PerfEvent, open_perf_event
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.session import user
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.points import (
    Node,
    Point,
    Target,
    as_written,
    functions,
    online_cpus,
    raw_tracepoints,
    threads,
    tracepoints,
    user_probes,
)
from kubebpf.compiler.artifact.manifest import Attach

Expand = Callable[[Attach, Node], Iterator[tuple[str, Target]]]
Attacher = Callable[[Program, Point, Options], Iterator[Link]]

_TRACING = 26  # BPF_PROG_TYPE_TRACING
_RAW_TP = 23  # BPF_TRACE_RAW_TP


@dataclass(frozen=True, slots=True)
class Together:
    """How a program is attached to many places by one link.

    Args:
        group: equal for points that one link can have; None for a point that has one of its own.
        attach: attaches to the points of a group, or to none of them.
    """

    group: Callable[[Program, Point], object]
    attach: Callable[[Program, Sequence[Point], Options], Link]


Moment = Literal["", "begin", "end", "signal", "test", "bench"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of attach point.

    Args:
        attach: attaches; gives the links one by one, so that those made before a failure are not lost.
        expand: the places that an attach point means here.
        moment: of programs that are run instead of attached.
        prepare: what is to be done with a program before the load.
        together: how many places are attached at once, where that can be.
        loadable: whether the kernel can take the program at all; asked before the load of the whole object.
    """

    attach: Attacher
    expand: Expand = as_written
    moment: Moment = ""
    prepare: Callable[[Attach, Program], None] = lambda attach, program: None
    together: Together | None = None
    loadable: Callable[[Attach, Program], bool] = lambda attach, program: True


@dataclass(frozen=True, slots=True)
class SoftwareEvent:
    """A software counter: its number (enum perf_sw_ids) and after how many bpftrace fires when the text says nothing."""

    config: int
    count: int


_SOFTWARE = {
    "cpu-clock": SoftwareEvent(0, 1_000_000),
    "cpu": SoftwareEvent(0, 1_000_000),
    "task-clock": SoftwareEvent(1, 1),
    "page-faults": SoftwareEvent(2, 100),
    "faults": SoftwareEvent(2, 100),
    "context-switches": SoftwareEvent(3, 1000),
    "cs": SoftwareEvent(3, 1000),
    "cpu-migrations": SoftwareEvent(4, 1),
    "minor-faults": SoftwareEvent(5, 100),
    "major-faults": SoftwareEvent(6, 1),
    "alignment-faults": SoftwareEvent(7, 1),
    "emulation-faults": SoftwareEvent(8, 1),
    "dummy": SoftwareEvent(9, 1),
    "bpf-output": SoftwareEvent(10, 1),
}


def _nothing(program: Program, point: Point, options: Options) -> Iterator[Link]:
    return iter(())


def _clock(target: Target) -> PerfEvent:
    if "hz" in target:
        return PerfEvent(SOFTWARE, CPU_CLOCK, frequency=int(target["hz"]))
    return PerfEvent(SOFTWARE, CPU_CLOCK, period=int(target["period_ns"]))


def _interval(program: Program, point: Point, options: Options) -> Iterator[Link]:
    # One timer for the machine, on any CPU that is there; it ticks also while the process of -p sleeps.
    yield _perf(program, point, _clock(point.target), online_cpus()[0], -1)


def _profile(program: Program, point: Point, options: Options) -> Iterator[Link]:
    return _sampled(program, point, _clock(point.target), options)


def _software(program: Program, point: Point, options: Options) -> Iterator[Link]:
    name = str(point.target["event"])
    if name not in _SOFTWARE:
        raise MissingProbeError(point.name, f"no software event {name}")
    known = _SOFTWARE[name]
    event = PerfEvent(SOFTWARE, known.config, period=int(point.target.get("count", 0)) or known.count)
    return _sampled(program, point, event, options)


def _sampled(program: Program, point: Point, event: PerfEvent, options: Options) -> Iterator[Link]:
    if options.pid is None:
        return (_perf(program, point, event, cpu, -1) for cpu in online_cpus())
    return _every_thread(program, point, event, options.pid)


def _every_thread(program: Program, point: Point, event: PerfEvent, pid: int) -> Iterator[Link]:
    """An event belongs to a thread: one for each that is there, and those follow the threads that each of them starts.

    The threads are listed once: of one that starts meanwhile it cannot be told whether it inherited an event already.
    Inherited events have the cookie 0 (Linux 6.18); no generated program of these providers asks for it.
    """
    inheriting = replace(event, threads=True)
    for thread in threads(pid):
        try:
            yield _perf(program, point, inheriting, -1, thread)
        except LibbpfError as error:
            # The process lives on without a thread that has ended since the list was made.
            if error.errno != ESRCH or thread == pid:
                raise


def _perf(program: Program, point: Point, event: PerfEvent, cpu: int, pid: int) -> Link:
    return program.attach_perf_event(open_perf_event(event, cpu, pid), point.cookie)


def _tracepoint(program: Program, point: Point, options: Options) -> Iterator[Link]:
    # A tracepoint's event fires for all CPUs, whichever it was opened on. See PerfLink for why libbpf does not open it.
    yield _perf(program, point, PerfEvent(TRACEPOINT, int(point.target["id"]), period=1), online_cpus()[0], -1)


def _raw_tracepoint(program: Program, point: Point, options: Options) -> Iterator[Link]:
    event = "" if program.type == _TRACING else str(point.target["event"])
    yield program.attach_raw_tracepoint(event, point.cookie)


def _has_raw_tracepoint(attach: Attach, program: Program) -> bool:
    # A tp_btf program is verified against its event's arguments; without the event the load of the whole object fails.
    return not program.section.startswith("tp_btf") or has_kernel_type(str(attach.target["event"]), _RAW_TP)


_USER = Together(user.group, user.attach_all)

PROVIDERS: dict[str, Provider] = {
    "begin": Provider(_nothing, moment="begin"),
    "end": Provider(_nothing, moment="end"),
    "self": Provider(_nothing, moment="signal"),
    "test": Provider(_nothing, moment="test"),
    "bench": Provider(_nothing, moment="bench"),
    "interval": Provider(_interval),
    "profile": Provider(_profile),
    "software": Provider(_software),
    "tracepoint": Provider(_tracepoint, tracepoints),
    "rawtracepoint": Provider(_raw_tracepoint, raw_tracepoints, loadable=_has_raw_tracepoint),
    "uprobe": Provider(user.attach_one, functions, prepare=user.prepare, together=_USER),
    "uretprobe": Provider(user.attach_one, functions, prepare=user.prepare, together=_USER),
    "usdt": Provider(user.attach_one, user_probes, prepare=user.prepare, together=_USER),
}


def provider(attach: Attach) -> Provider:
    """The record for an attach point.

    Raises:
        MissingProbeError: this agent does not know the provider.
    """
    if attach.provider not in PROVIDERS:
        raise MissingProbeError(attach.text, f"this version cannot attach {attach.provider} probes")
    return PROVIDERS[attach.provider]


def _reason(error: LibbpfError, point: Point) -> str:
    if error.errno == EINVAL and "hz" in point.target:
        return f"{error}; kernel.perf_event_max_sample_rate limits how often a second"
    return str(error)


def attach_point(program: Program, point: Point, options: Options) -> list[Link]:
    """Attach a program to one place: every link, or none.

    Raises:
        MissingProbeError: it cannot be attached; the cause says why.
    """
    links: list[Link] = []
    try:
        for link in provider(point.attach).attach(program, point, options):
            links.append(link)
    except BaseException as error:
        for link in links:
            link.close()
        if isinstance(error, LibbpfError):
            raise MissingProbeError(point.name, _reason(error, point)) from error
        raise
    return links


def attach_points(
    programs: Mapping[str, Program], points: Sequence[Point], options: Options
) -> Iterator[tuple[Point, list[Link] | MissingProbeError]]:
    """Attach programs to all their places, many at once where that can be.

    Args:
        programs: by name.
        points: the places.
        options: of the session.

    Returns:
        each point with its links, or with what is wrong; a link of several points comes with the first of them.
    """
    for program, group in _groups(programs, points):
        if len(group) > 1:
            try:
                together = provider(group[0].attach).together
                assert together is not None
                link = together.attach(program, group, options)
            except LibbpfError:
                pass  # The kernel does not say which of them it refuses.
            else:
                yield from ((point, [link] if point is group[0] else []) for point in group)
                continue
        for point in group:
            try:
                yield point, attach_point(program, point, options)
            except MissingProbeError as error:
                yield point, error


def _groups(programs: Mapping[str, Program], points: Sequence[Point]) -> Iterator[tuple[Program, list[Point]]]:
    groups = dict[object, list[Point]]()
    for point in points:
        program, together = programs[point.attach.program], provider(point.attach).together
        kind = together.group(program, point) if together else None
        key = (point.attach.program, kind) if kind is not None else point.cookie
        groups.setdefault(key, []).append(point)
    return ((programs[group[0].attach.program], group) for group in groups.values())
