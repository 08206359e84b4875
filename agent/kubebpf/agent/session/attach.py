"""Providers: one record each, that says how a written attach point is found on this node and how a program is attached there.

    PROVIDERS["interval"].attach(program, point, options) -> Link, on one CPU
    PROVIDERS["profile"].attach(program, point, options)  -> a Link for each CPU

begin and end have no place: their programs are run, once, by the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from errno import EINVAL, ENOENT, EOPNOTSUPP, ESRCH
from itertools import groupby
from pathlib import Path
from typing import Literal

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.perf import BREAKPOINT, CPU_CLOCK, HARDWARE, SOFTWARE, TRACEPOINT, PerfEvent, open_perf_event
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.session import user
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.kernel import (
    TRACING,
    Attached,
    attach_kprobes,
    attach_tracing,
    kernel_functions,
    prepare_kprobe,
    prepare_tracing,
    raw_tracepoints,
    traced_functions,
)
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.points import (
    Node,
    Point,
    Target,
    as_written,
    functions,
    online_cpus,
    threads,
    tracepoints,
    user_probes,
)
from kubebpf.compiler.artifact.manifest import Attach

Expand = Callable[[Attach, Node], Iterator[tuple[str, Target]]]
Attacher = Callable[[Program, Point, Options], Iterator[Link]]
LoadFor = Callable[[Program, Attach, Sequence[Target], Node], None]
Instances = Callable[[Program, Sequence[Point], Options], Attached]


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
        load_for: tells the program, before the load, about the places that it is loaded for.
        instances: attaches a program to all places of one attach point; for those that need an instance each.
    """

    attach: Attacher
    expand: Expand = as_written
    moment: Moment = ""
    prepare: Callable[[Attach, Program], None] = lambda attach, program: None
    together: Together | None = None
    load_for: LoadFor = lambda program, attach, targets, node: None
    instances: Instances | None = None


@dataclass(frozen=True, slots=True)
class SoftwareEvent:
    """A software counter: its number (enum perf_sw_ids) and after how many bpftrace fires when the text says nothing."""

    config: int
    count: int


BPFFS = Path("/sys/fs/bpf")
_USER_END = 1 << 63  # addresses of the kernel have the upper half
_ACCESS = {"r": 1, "w": 2, "x": 4}  # HW_BREAKPOINT_R, _W, _X (include/uapi/linux/hw_breakpoint.h)
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


def _hardware(program: Program, point: Point, options: Options) -> Iterator[Link]:
    event = PerfEvent(HARDWARE, int(point.target["config"]), period=int(point.target["count"]))
    return _sampled(program, point, event, options)


def _watchpoint(program: Program, point: Point, options: Options) -> Iterator[Link]:
    address, length = int(point.target["address"]), int(point.target["length"])
    if options.pid is None and address < _USER_END:
        raise MissingProbeError(point.name, "an address of user space belongs to a process: name it with -p, or start it with -c")
    access = sum(_ACCESS[letter] for letter in str(point.target["mode"]))
    event = PerfEvent(BREAKPOINT, 0, period=1, bp_type=access, bp_address=address, bp_length=length)
    return _sampled(program, point, event, options)


def _iterator(program: Program, point: Point, options: Options) -> Iterator[Link]:
    link = program.attach_iter()
    yield link
    if name := str(point.target.get("pin", "")):
        link.pin(BPFFS / name, ends=True)


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
    event = "" if program.type == TRACING else str(point.target["event"])
    yield program.attach_raw_tracepoint(event, point.cookie)


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
    "hardware": Provider(_hardware),
    "watchpoint": Provider(_watchpoint),
    "rawtracepoint": Provider(_raw_tracepoint, raw_tracepoints, load_for=prepare_tracing, instances=attach_tracing),
    "kprobe": Provider(_nothing, kernel_functions, load_for=prepare_kprobe, instances=attach_kprobes),
    "kretprobe": Provider(_nothing, kernel_functions, load_for=prepare_kprobe, instances=attach_kprobes),
    "fentry": Provider(_nothing, traced_functions, load_for=prepare_tracing, instances=attach_tracing),
    "fexit": Provider(_nothing, traced_functions, load_for=prepare_tracing, instances=attach_tracing),
    "iter": Provider(_iterator),
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
    if error.errno in (ENOENT, EOPNOTSUPP) and point.attach.provider == "hardware":
        return "this machine does not count that event: it has no such counter, or is a virtual machine that hides it"
    if error.errno == EINVAL and point.target.get("mode") == "r":
        return f"{error}; x86 processors cannot watch reads alone: use rw"
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
            raise MissingProbeError(point.name, _reason(error, point), place=point.attach.place) from error
        raise
    return links


def attach_points(programs: Mapping[str, Program], points: Sequence[Point], options: Options) -> Attached:
    """Attach programs to all their places, many at once where that can be.

    Args:
        programs: by name.
        points: the places.
        options: of the session.

    Returns:
        each point with its links, or with what is wrong; a link of several points comes with the first of them.
    """
    for point in points:
        if differs := point.target.get("differs"):
            yield point, MissingProbeError(point.name, f"its {differs} is not that of {point.target['like']}; left out")
    points = [point for point in points if "differs" not in point.target]
    for attach, of_one in groupby(points, lambda point: point.attach):
        if instances := provider(attach).instances:
            yield from instances(programs[attach.program], list(of_one), options)
    for program, group in _groups(programs, [point for point in points if not provider(point.attach).instances]):
        yield from _attach_group(program, group, options)


def _attach_group(program: Program, group: Sequence[Point], options: Options) -> Attached:
    if len(group) == 1:
        yield from _attach_alone(program, group[0], options)
        return
    together = provider(group[0].attach).together
    assert together is not None
    try:
        link = together.attach(program, group, options)
    except LibbpfError:
        # The kernel does not say which of them it refuses: one of many is found by halves.
        half = len(group) // 2
        yield from _attach_group(program, group[:half], options)
        yield from _attach_group(program, group[half:], options)
        return
    yield from ((point, [link] if point is group[0] else []) for point in group)


def _attach_alone(program: Program, point: Point, options: Options) -> Attached:
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
