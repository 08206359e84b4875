"""What a person or the cluster says about one run of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Purpose = Literal["run", "test", "bench"]


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one session.

    Args:
        name: in libbpf's messages.
        args: `$1` and on.
        params: for getopt(): option to value; an option without a value has "".
        pid: uprobes, profile and software events only of this process; None for all.
        child: the process id of `-c CMD`, for `cpid`; None without one.
        missing_probes: error, warn or ignore; None: as the program's config block says.
        scope_levels: the lowest and highest depth of the cgroups in the scope, in the cgroup v2 tree (its root is 0);
            None: as the compiler set it.
        container_level: the depth of containers' cgroups, the greatest where they lie at several; None: not known.
        ring_bytes: of the ring buffer; None: as the config block says, else by this machine's memory.
        unsafe: attach where nobody knows that an instruction of a user program starts.
        purpose: what the session is for: to run the program, its test probes or its bench probes.
        moving: probes of user programs are not looked for; `Session.moving` is told as their files come and go.
        traced: kprobes run as fentry and fexit here; the session sets it.
        max_events: that the programs may send in a second; None: no limit.
        memory_bytes: that the maps may take as soon as they are loaded; None: no limit.
        btf: the kernel's type information, where /sys/kernel/btf/vmlinux is not there.
    """

    name: str = "kubebpf"
    args: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    child: int | None = None
    missing_probes: str | None = None
    scope_levels: tuple[int, int] | None = None
    container_level: int | None = None
    ring_bytes: int | None = None
    unsafe: bool = False
    purpose: Purpose = "run"
    max_events: int | None = None
    memory_bytes: int | None = None
    btf: Path | None = None
    traced: bool = False
    moving: bool = False
