"""What this kernel does for traces: each feature is tried out, none is concluded from a version.

    features(Trying(pins=Path("/sys/fs/bpf/kubebpf")))
    -> [Feature("ring-buffer", True), Feature("kprobe", False, "Operation not permitted (EPERM) in perf_event_open"), …]

What is attached for a moment is attached to a function and events that hardly ever run, and to a file that nobody maps.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubebpf.agent.libbpf import trials
from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import count_run_time
from kubebpf.agent.libbpf.perf import BREAKPOINT, CPU_CLOCK, HARDWARE, SOFTWARE, TRACEPOINT, PerfEvent, kernel_probe
from kubebpf.agent.libbpf.perf import open_perf_event as opened
from kubebpf.agent.libbpf.syscalls import has_uprobe_multi, raw_tracepoint_open
from kubebpf.agent.libbpf.types import FUNCTION, TYPEDEF, KernelTypes, Place
from kubebpf.agent.session.points import Node, online_cpus

QUIET_FUNCTION = "kernel_halt"  # kernel/reboot.c: exported, and runs once at most
QUIET_EVENT = ("task", "task_rename")  # include/trace/events/task.h: prctl(PR_SET_NAME) and exec
TASKS = "bpf_iter_task"  # kernel/bpf/task_iter.c
_UPROBES = Path("/sys/bus/event_source/devices/uprobe/type")
BTF = Path("/sys/kernel/btf/vmlinux")
_COUNTED = Path("/proc/sys/kernel/bpf_stats_enabled")
# enum bpf_func_id
_LOOP, _COOKIE, _READ_KERNEL, _SIGNAL, _OVERRIDE, _WRITE_USER = 181, 174, 113, 109, 58, 36
_WRITES, _LENGTH = 2, 8  # HW_BREAKPOINT_W; bytes of a watched word
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature; `message` says why it is not there."""

    name: str
    supported: bool
    message: str = ""

    def as_json(self) -> dict[str, object]:
        """The form in BpfNode."""
        said: dict[str, object] = {"name": self.name, "supported": self.supported}
        return said | ({"message": self.message[:512]} if self.message else {})


class LackingError(Exception):
    """A feature is not there, for a reason that no call has told."""


@dataclass(frozen=True)
class Trying:
    """What the trials are made with.

    Args:
        btf: the kernel's type information.
        pins: where sessions are pinned; None: nowhere.
        unsafe: whether this agent allows unsafe helpers. The kernel's log gets a warning for each try, so that others do not.
        node: where tracepoints are looked up.
    """

    btf: Path = BTF
    pins: Path | None = None
    unsafe: bool = False
    node: Node = field(default_factory=Node)


def features(trying: Trying) -> list[Feature]:
    """Try everything, in the order of TRIALS."""
    return [_tried(name, trial, trying) for name, trial in TRIALS.items()]


def _tried(name: str, trial: Callable[[Trying], None], trying: Trying) -> Feature:
    try:
        trial(trying)
    except (LibbpfError, LackingError) as error:
        return Feature(name, False, str(error))
    except OSError as error:
        return Feature(name, False, f"{error.filename or name}: {error.strerror or error}")
    return Feature(name, True)


# --- programs, maps, types --------------------------------------------------------------------------------------------


def _programs(trying: Trying) -> None:
    with trials.trial_program(trials.RAW_TRACEPOINT):
        pass


def _types(trying: Trying) -> None:
    if not trying.btf.is_file():
        raise LackingError(f"there is no {trying.btf} (CONFIG_DEBUG_INFO_BTF)")
    trying.btf.open("rb").close()


def _ring_buffer(trying: Trying) -> None:
    trials.make_ring_buffer()


def _run_times(trying: Trying) -> None:
    try:
        os.close(count_run_time())
    except LibbpfError as error:
        if not _is_one(_COUNTED):
            raise LackingError(f"{error}, and {_COUNTED} is not 1") from error


def _pinning(trying: Trying) -> None:
    if trying.pins is None:
        raise LackingError("this agent was told to pin nothing")
    held = next((path for path in (trying.pins, *trying.pins.parents) if path.exists()), Path("/"))
    kind = next((row for row in _mounts() if held.is_relative_to(row[0])), (Path("/"), ""))[1]
    if kind != "bpf":
        raise LackingError(f"{trying.pins} is in no bpffs")
    if not os.access(held, os.W_OK):
        raise LackingError(f"{held} is read-only for this agent")


def _mounts() -> list[tuple[Path, str]]:
    """Mount points and their file systems, the deepest first; of two at one place the later, which covers the other."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted(((Path(row[1]), row[2]) for row in reversed(rows)), key=lambda row: -len(row[0].parts))


def _helper(kind: int, number: int) -> Callable[[Trying], None]:
    def trial(trying: Trying) -> None:
        _programs(trying)
        if said := trials.lacks_helper(kind, number):
            raise LackingError(said)

    return trial


def _write_user(trying: Trying) -> None:
    if not trying.unsafe:
        raise LackingError("not tried, because this agent allows no unsafe helpers")
    _helper(trials.KPROBE, _WRITE_USER)(trying)


# --- places to attach to ----------------------------------------------------------------------------------------------


@contextmanager
def _event(event: PerfEvent, pid: int = -1, cpu: int | None = None) -> Iterator[int]:
    descriptor = opened(event, online_cpus()[0] if cpu is None else cpu, pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _perf_link(trying: Trying) -> None:
    clock = PerfEvent(SOFTWARE, CPU_CLOCK, period=_SECOND)
    with trials.trial_program(trials.PERF_EVENT) as program, _event(clock) as event:
        trials.link_to_event(program, event)


def _tracepoint(trying: Trying) -> None:
    number = trying.node.tracepoint_id(*QUIET_EVENT)
    if number is None:
        raise LackingError(f"{trying.node.tracefs} has no event {':'.join(QUIET_EVENT)}")
    with trials.trial_program(trials.TRACEPOINT) as program, _event(PerfEvent(TRACEPOINT, number, period=1)) as event:
        trials.attach_to_event(program, event)


def _kprobe(trying: Trying) -> None:
    with trials.trial_program(trials.KPROBE) as program, _event(kernel_probe(QUIET_FUNCTION, 0, returns=False)) as event:
        trials.attach_to_event(program, event)


def _kprobe_multi(trying: Trying) -> None:
    with trials.trial_program(trials.KPROBE, trials.KPROBE_MULTI) as program:
        trials.link_kprobes(program, QUIET_FUNCTION)


def _uprobe(trying: Trying) -> None:
    with tempfile.NamedTemporaryFile() as file, trials.trial_program(trials.KPROBE) as program:
        file.write(bytes(4096))
        file.flush()
        probe = PerfEvent(int(_UPROBES.read_text()), 0, period=1, symbol=file.name)
        with _event(probe) as event:
            trials.attach_to_event(program, event)


def _uprobe_multi(trying: Trying) -> None:
    if not has_uprobe_multi():
        raise LackingError("this kernel has no such links, or not yet with a filter for processes")


def _fentry(trying: Trying) -> None:
    with _place(QUIET_FUNCTION, FUNCTION) as place, trials.trial_program(trials.TRACING, trials.FENTRY, place) as program:
        trials.link_tracing(program, trials.FENTRY)


def _raw_tracepoint(trying: Trying) -> None:
    with (
        _place(f"btf_trace_{QUIET_EVENT[1]}", TYPEDEF) as place,
        trials.trial_program(trials.TRACING, trials.RAW_TP, place) as program,
    ):
        os.close(raw_tracepoint_open(program, "", 0, ""))


def _iterator(trying: Trying) -> None:
    with _place(TASKS, FUNCTION) as place, trials.trial_program(trials.TRACING, trials.ITER, place) as program:
        trials.link_tracing(program, trials.ITER)


def _watchpoint(trying: Trying) -> None:
    word = ffi.new("__u64 *")
    watched = PerfEvent(BREAKPOINT, 0, 1, bp_type=_WRITES, bp_address=int(ffi.cast("uintptr_t", word)), bp_length=_LENGTH)
    with _event(watched, pid=0, cpu=-1):
        pass


def _hardware(trying: Trying) -> None:
    with _event(PerfEvent(HARDWARE, 0, period=_SECOND)):
        pass


@contextmanager
def _place(name: str, kind: int) -> Iterator[Place]:
    with KernelTypes() as types:
        found = types.find(name, kind)
        if found is None:
            raise LackingError(f"the kernel's type information has no {name}")
        yield found


def _is_one(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


TRIALS: dict[str, Callable[[Trying], None]] = {
    "programs": _programs,
    "btf": _types,
    "ring-buffer": _ring_buffer,
    "perf-link": _perf_link,
    "tracepoint": _tracepoint,
    "raw-tracepoint": _raw_tracepoint,
    "kprobe": _kprobe,
    "kprobe-multi": _kprobe_multi,
    "fentry": _fentry,
    "iterator": _iterator,
    "uprobe": _uprobe,
    "uprobe-multi": _uprobe_multi,
    "watchpoint": _watchpoint,
    "hardware-event": _hardware,
    "attach-cookie": _helper(trials.KPROBE, _COOKIE),
    "loop": _helper(trials.RAW_TRACEPOINT, _LOOP),
    "read-kernel": _helper(trials.RAW_TRACEPOINT, _READ_KERNEL),
    "signal": _helper(trials.KPROBE, _SIGNAL),
    "override": _helper(trials.KPROBE, _OVERRIDE),
    "write-user": _write_user,
    "run-time-statistics": _run_times,
    "pinning": _pinning,
}
