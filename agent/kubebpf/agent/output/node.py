"""What this machine knows about raw numbers: symbols, users, cgroups, clocks. The resolver of the local mode.

resolver = NodeResolver(manifest)
resolver.ksym(0xffffffff81234567)   -> "do_nanosleep"
resolver.cgroup_path(1, "")         -> Cgroup(1, path="/", as_path=True)
"""

from __future__ import annotations

import pwd
import time
from bisect import bisect_right
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.decode import PlainResolver, stack_lines
from kubebpf.compiler.artifact.manifest import Manifest
from kubebpf.compiler.artifact.strftime import format_time
from kubebpf.compiler.artifact.values import Cgroup

if TYPE_CHECKING:
    from kubebpf.agent.pods.cgroups import CgroupMount

_CLOCKS = {"boot": time.CLOCK_BOOTTIME, "monotonic": time.CLOCK_MONOTONIC, "tai": time.CLOCK_TAI, "sw_tai": time.CLOCK_TAI}


class NodeResolver(PlainResolver):
    """Answers from /proc, the user database and the cgroup v2 mount.

    Args:
        manifest: of the program.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.strings, manifest.config.str_trunc_trailer)
        self._paths: dict[int, str] = {}

    def ksym(self, address: int) -> str:
        """The name of the kernel function or object that holds the address, or the number."""
        name, _ = self._symbol(address)
        return name or super().ksym(address)

    def stack(self, kind: str, mode: str, addresses: Sequence[int], pid: int, probe: int) -> str:
        """The frames of a stack; user addresses stay numbers."""
        texts = [self._frame(address) if kind == "kstack" else hex(address) for address in addresses]
        return stack_lines(mode, addresses, texts)

    def username(self, uid: int) -> str:
        """The user's name, or an empty string."""
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return ""

    def cgroup_path(self, id: int, pattern: str) -> Cgroup:
        """The path in the cgroup v2 hierarchy, which a filter calls `unified`; no path when it is gone or filtered out."""
        wanted = not pattern or fnmatchcase("unified", pattern)
        return Cgroup(id, path=self._path(id) if wanted else "", as_path=True)

    def timestamp(self, ns: int, format: str, mode: str) -> str:
        """A moment of one of the kernel's clocks, in local time."""
        return format_time(ns + self._starts.get(mode, 0), format)

    def _path(self, id: int) -> str:
        if id not in self._paths and self._mount:
            from kubebpf.agent.pods.directory import walk

            self._paths |= {_inode(directory): self._mount.path_of(directory) for directory in walk(self._mount.start)}
        return self._paths.setdefault(id, "")

    @cached_property
    def _mount(self) -> CgroupMount | None:
        from kubebpf.agent.pods.cgroups import NoCgroupMountError, find_mount

        try:
            return find_mount()
        except NoCgroupMountError:
            return None

    @cached_property
    def _starts(self) -> dict[str, int]:
        """When each clock was 0, in nanoseconds since 1970."""
        return {mode: time.time_ns() - time.clock_gettime_ns(clock) for mode, clock in _CLOCKS.items()}

    def _frame(self, address: int) -> str:
        name, offset = self._symbol(address)
        return f"{name}+{offset}" if name else hex(address)

    def _symbol(self, address: int) -> tuple[str, int]:
        addresses, names = self._symbols
        index = bisect_right(addresses, address) - 1
        # Below the first symbol lies user space; programs and modules that went lie behind the last one.
        if index < 0 or address - addresses[index] > 1 << 20:
            return "", 0
        return names[index], address - addresses[index]

    @cached_property
    def _symbols(self) -> tuple[list[int], list[str]]:
        lines = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
        # a and A are absolute: offsets inside per-CPU data, no places in memory.
        rows = sorted((int(address, 16), name) for address, kind, name, *_ in lines if kind not in "aA")
        known = [row for row in rows if row[0]]
        return [address for address, _ in known], [name for _, name in known]


def _inode(directory: Path) -> int:
    try:
        return directory.stat().st_ino
    except OSError:
        return 0
