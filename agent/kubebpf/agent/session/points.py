"""From attach points as written to the places on this node.

    Attach(text="tracepoint:sched:sched_*", wildcard=True, …) -> Point(name="tracepoint:sched:sched_switch", cookie=5), …

A written attach point keeps its number as the cookie; each match of a wildcard gets one of its own, after all written ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kubebpf.agent.libbpf.perf import KPROBES
from kubebpf.agent.session.errors import MissingProbeError, NoMatchError
from kubebpf.agent.session.functions import events
from kubebpf.agent.session.functions import functions as kernel_functions
from kubebpf.agent.session.wildcards import is_wildcard, pattern
from kubebpf.compiler.artifact.manifest import Attach

Target = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Point:
    """One place on this node that a program is attached to.

    Args:
        attach: the attach point as written.
        name: this place in full; what `probe` prints.
        target: the provider's parts, without wildcards and with paths and offsets resolved.
        cookie: of the link.
    """

    attach: Attach
    name: str
    target: Target
    cookie: int


@dataclass(frozen=True)
class Node:
    """The parts of this machine that attach points are looked up in, as they are when first asked for.

    Args:
        tracefs: where tracefs is mounted.
        kprobes: whether the kernel has kprobes.
        process: of -p; None for all.
        root: a process whose files are meant by the paths of user programs, where -p names none.
        unsafe: user programs may be probed where nobody knows that an instruction starts.
    """

    tracefs: Path = field(default_factory=lambda: _tracefs())
    kprobes: bool = field(default_factory=KPROBES.exists)
    process: int | None = None
    root: int | None = None
    unsafe: bool = False

    @cached_property
    def functions(self) -> dict[str, str]:
        """The functions that can be traced: name to module."""
        return kernel_functions(self.tracefs)

    @cached_property
    def raw_tracepoints(self) -> dict[str, str]:
        """Name to module."""
        return events()

    def tracepoints(self) -> list[tuple[str, str]]:
        """Category and name of every tracepoint that has a tracefs event."""
        lines = (self.tracefs / "available_events").read_text().splitlines()
        return [(category, event) for category, _, event in (line.partition(":") for line in lines)]

    def tracepoint_id(self, category: str, event: str) -> int | None:
        """The number of a tracepoint for perf_event_open(2), or None."""
        try:
            return int((self.tracefs / "events" / category / event / "id").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None


def online_cpus() -> list[int]:
    """The numbers of the CPUs that are online."""
    return _cpu_list(Path("/sys/devices/system/cpu/online").read_text())


def threads(pid: int) -> list[int]:
    """The numbers of a process's threads; the process's own, alone, when it is gone or hidden."""
    try:
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return [pid]


def _cpu_list(text: str) -> list[int]:
    # Documentation/admin-guide/cputopology.rst: "0-3,7"
    ranges = [part.partition("-") for part in text.strip().split(",") if part]
    return [cpu for low, _, high in ranges for cpu in range(int(low), int(high or low) + 1)]


def _tracefs() -> Path:
    choices = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
    return next((path for path in choices if (path / "events").is_dir()), choices[0])


def as_written(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """The attach point itself."""
    yield attach.text, attach.target


def tracepoints(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """Tracepoints by category and event.

    Raises:
        NoMatchError: none matches.
        MissingProbeError: there is no tracefs.
    """
    category, event = str(attach.target["category"]), str(attach.target["event"])
    if not (node.tracefs / "events").is_dir():
        raise MissingProbeError(attach.text, f"no tracefs at {node.tracefs} (mount -t tracefs nodev {node.tracefs})")
    names = [(category, event)]
    if is_wildcard(category) or is_wildcard(event):
        categories, events = pattern(category).fullmatch, pattern(event).fullmatch
        names = sorted((c, e) for c, e in node.tracepoints() if categories(c) and events(e))
    # Some events have no number: they are for ftrace alone (events/ftrace/function).
    found = [(c, e, number) for c, e in names if (number := node.tracepoint_id(c, e)) is not None]
    if not found:
        raise NoMatchError(attach)
    for c, e, id in found:
        yield f"{attach.provider}:{c}:{e}", {"category": c, "event": e, "id": id}


def functions(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """Functions, addresses and lines of user programs; see binaries/places.py."""
    # Only programs with probes in files pay for the readers of ELF files.
    from kubebpf.agent.binaries import places

    return places.functions(attach, node)


def user_probes(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """Places of usdt probes, as above."""
    from kubebpf.agent.binaries import places

    return places.probes(attach, node)


def number(found: Sequence[tuple[Attach, str, Target]], declared: int) -> list[Point]:
    """Give every place its cookie.

    Args:
        found: attach point, name and target of each place.
        declared: how many attach points the program has; wildcards' cookies start there.
    """
    points, following, given = list[Point](), declared, set[int]()
    for attach, name, target in found:
        # A usdt probe, or a line, has several places without being a wildcard.
        own = not attach.wildcard and attach.probe not in given
        cookie, following = (attach.probe, following) if own else (following, following + 1)
        given.add(cookie)
        points.append(Point(attach, name, target, cookie))
    return points
