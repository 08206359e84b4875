"""perf_event_open(2): the timers and software counters that programs are attached to.

Example: a descriptor that fires a hundred times a second on CPU 0, every process:

    fd = open_perf_event(PerfEvent(SOFTWARE, CPU_CLOCK, frequency=100), cpu=0)
    link = program.attach_perf_event(fd, cookie=3)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.syscalls import perf_event_open

HARDWARE, SOFTWARE, TRACEPOINT, BREAKPOINT = 0, 1, 2, 5  # enum perf_type_id
CPU_CLOCK, DUMMY = 0, 9  # enum perf_sw_ids

# The kind of event that kprobes are; its number is the kernel's to give (dynamic PMU).
KPROBES = Path("/sys/bus/event_source/devices/kprobe")

_CLOEXEC = 8  # PERF_FLAG_FD_CLOEXEC
# Bits of perf_event_attr's flags.
_DISABLED, _INHERIT, _FREQUENCY, _THREADS_ONLY = 1 << 0, 1 << 1, 1 << 10, 1 << 35
_MAPPINGS, _COMM, _TASK, _SAMPLE_ID_ALL, _MAPPINGS_2, _COMM_EXEC = 1 << 8, 1 << 9, 1 << 13, 1 << 18, 1 << 23, 1 << 24
_SAMPLE_TIME = 1 << 2  # PERF_SAMPLE_TIME


@dataclass(frozen=True, slots=True)
class PerfEvent:
    """What to count, and how often to fire.

    Args:
        type: HARDWARE, SOFTWARE, TRACEPOINT, BREAKPOINT.
        config: the event's number within its type; of a tracepoint, the number in its `id` file.
        period: fire after so many; for CPU_CLOCK in nanoseconds (the kernel waits at least 10 us).
        frequency: or fire so many times a second, at most kernel.perf_event_max_sample_rate.
        bp_type, bp_address, bp_length: of a BREAKPOINT.
        symbol: of a kprobe.
        threads: count also in the threads that the task starts later, and in theirs (inherit_thread, Linux 5.13).
    """

    type: int
    config: int
    period: int = 0
    frequency: int = 0
    bp_type: int = 0
    bp_address: int = 0
    bp_length: int = 0
    threads: bool = False
    symbol: str = ""


def kernel_probe(symbol: str, address: int, returns: bool) -> PerfEvent:
    """The event of a kprobe.

    Args:
        symbol: a function; "" when the address says all.
        address: of an instruction, or an offset in the function.
        returns: fire when the function returns.

    Raises:
        FileNotFoundError: this kernel has no kprobes.
    """
    type = int((KPROBES / "type").read_text())
    return PerfEvent(type, int(returns), period=1, symbol=symbol, bp_length=address)


def open_perf_event(event: PerfEvent, cpu: int, pid: int = -1) -> int:
    """Open an event, disabled; attaching a program to it enables it.

    Args:
        event: what to count.
        cpu: which CPU; -1 for every CPU that `pid` runs on.
        pid: which thread; a process's number is that of its first. -1 for all tasks (then cpu is not -1).

    Returns:
        a file descriptor, closed on exec. The caller closes it, or gives it to a link.

    Raises:
        LibbpfError: perf_event_open(2) failed, or this machine's architecture is not known here.
    """
    attributes: Any = ffi.new("struct perf_event_attr *", _attributes(event))
    symbol = ffi.new("char[]", event.symbol.encode())
    if event.symbol:
        attributes.config1 = int(ffi.cast("uintptr_t", symbol))
    return perf_event_open(attributes, pid, cpu, _CLOEXEC, f"perf event {event.type}/{event.config} on CPU {cpu}")


def open_mapping_events(cpu: int) -> int:
    """An event that counts nothing and records what processes map to run, their forks and execs, each with its time.

    Args:
        cpu: whose records; all processes.

    Returns:
        a file descriptor, closed on exec, whose memory is read by symbols/log.py.

    Raises:
        LibbpfError: perf_event_open(2) failed.
    """
    attributes = {
        "type": SOFTWARE,
        "size": ffi.sizeof("struct perf_event_attr"),
        "config": DUMMY,
        "sample_type": _SAMPLE_TIME,
        "flags": _MAPPINGS | _COMM | _TASK | _SAMPLE_ID_ALL | _MAPPINGS_2 | _COMM_EXEC,
    }
    given = ffi.new("struct perf_event_attr *", attributes)
    return perf_event_open(given, -1, cpu, _CLOEXEC, f"mapping events on CPU {cpu}")


def _attributes(event: PerfEvent) -> dict[str, int]:
    threads = _INHERIT | _THREADS_ONLY if event.threads else 0
    return {
        "type": event.type,
        "size": ffi.sizeof("struct perf_event_attr"),
        "config": event.config,
        "sample_period": event.frequency or event.period,
        "flags": _DISABLED | threads | (_FREQUENCY if event.frequency else 0),
        "wakeup_events": 1,
        "bp_type": event.bp_type,
        "config1": event.bp_address,
        "config2": event.bp_length,
    }
