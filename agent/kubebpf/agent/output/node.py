"""What this machine knows about raw numbers: symbols, users, cgroups, clocks. The resolver of the local mode.

resolver = NodeResolver(manifest)
resolver.ksym(0xffffffff81234567)   -> "do_nanosleep"
resolver.cgroup_path(1, "")         -> Cgroup(1, path="/", as_path=True)
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Sequence
from dataclasses import replace
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
    from kubebpf.agent.symbols.kernel import KernelSymbols
    from kubebpf.agent.symbols.place import Place
    from kubebpf.agent.symbols.processes import UserSymbols

_CLOCKS = {"boot": time.CLOCK_BOOTTIME, "monotonic": time.CLOCK_MONOTONIC, "tai": time.CLOCK_TAI, "sw_tai": time.CLOCK_TAI}


class NodeResolver(PlainResolver):
    """Answers from /proc, the user database and the cgroup v2 mount.

    Args:
        manifest: of the program.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.strings, manifest.config.str_trunc_trailer)
        # Ready before the first event: what is imported then, a short-lived process does not wait for.
        if any(event.kind == "process" for event in manifest.events):
            self._user.watch()
        self._demangles = manifest.config.cpp_demangle
        self._paths: dict[int, str] = {}

    def ksym(self, address: int) -> str:
        """The name of the kernel function or object that holds the address, or the number."""
        place = self._kernel.find(address)
        return place.name if place else super().ksym(address)

    def usym(self, address: int, pid: int, probe: int) -> str:
        """The name of the function of a process that holds the address, or the number."""
        (place,) = self._user_places(pid, (address,))
        return place.name if place else super().usym(address, pid, probe)

    def stack(self, kind: str, mode: str, addresses: Sequence[int], pid: int, probe: int) -> str:
        """The frames of a stack; what no symbol is known of stays a number."""
        if mode == "raw":
            return stack_lines(mode, addresses, [""] * len(addresses))
        user = kind == "ustack"
        places = self._user_places(pid, addresses) if user else [self._kernel.find(address) for address in addresses]
        frame = _frame_with_module if user and mode == "perf" else _frame
        return stack_lines(mode, addresses, [frame(a, place) for a, place in zip(addresses, places, strict=True)])

    def notice(self, pid: int) -> None:
        """A process made its first event: its mappings are read while they are there."""
        self._user.notice(pid)

    def drain(self) -> None:
        """Take over what the kernel recorded of processes; to be called a few times a second."""
        if "_user" in self.__dict__:
            self._user.drain()

    def settle(self) -> None:
        """Read the symbols of files that were only opened so far, so that none of a container's stays open."""
        if "_user" in self.__dict__:
            self._user.settle()

    def username(self, uid: int) -> str:
        """The user's name, or an empty string."""
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return ""

    def owner(self, kind: str, id: int) -> str:
        """Without a cluster a pod is a cgroup, named by its path, and the node is this machine."""
        match kind:
            case "pod":
                return self._path(id)
            case "node":
                return os.uname().nodename
            case _:
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

    def _user_places(self, pid: int, addresses: Sequence[int]) -> list[Place | None]:
        places = self._user.find_all(pid, addresses)
        return [self._readable(place) if place and place.name.startswith(("_Z", "_R")) else place for place in places]

    def _readable(self, place: Place) -> Place:
        if not self._demangles:
            return place
        from kubebpf.agent.symbols.names import readable

        return replace(place, name=readable(place.name))

    # numpy is for programs with symbols.
    @cached_property
    def _kernel(self) -> KernelSymbols:
        from kubebpf.agent.symbols.kernel import kernel_symbols

        return kernel_symbols()

    @cached_property
    def _user(self) -> UserSymbols:
        from kubebpf.agent.symbols.processes import user_symbols

        return user_symbols()


def _frame(address: int, place: Place | None) -> str:
    return f"{place.name}+{place.offset}" if place else hex(address)


def _frame_with_module(address: int, place: Place | None) -> str:
    return f"{_frame(address, place)} ({place.module if place else '[unknown]'})"


def _inode(directory: Path) -> int:
    try:
        return directory.stat().st_ino
    except OSError:
        return 0
