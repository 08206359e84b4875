"""The symbols of user processes: what was mapped where, kept for those that ended.

symbols = UserSymbols()
symbols.notice(4711)                       at the first event of a process: its mappings are read, its files opened
symbols.find(4711, 0x5588de0a1190)         -> Place("middle", 19, "/usr/bin/chain"), also after it ended
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kubebpf.agent.symbols.files import Files
from kubebpf.agent.symbols.log import MappingLog
from kubebpf.agent.symbols.mappings import Mapping, Mappings
from kubebpf.agent.symbols.perfmap import PerfMap, read_perf_map
from kubebpf.agent.symbols.place import Place

if TYPE_CHECKING:
    from kubebpf.agent.symbols.elf import Image, Symbols

PROCESSES = 2048  # remembered, living and ended
SNAPSHOTS = 4  # of one process: exec and dlclose replace mappings that earlier events still mean
REFRESH_S = 1.0  # an unknown address makes the mappings be read again, so often at most
DRAIN_S = 0.1
PLACES = 1 << 16  # remembered for one process
VDSO = "[vdso]"


class Process:
    """One process as it was when last looked at.

    Args:
        pid: as this process counts.
        files: shared by all.
    """

    def __init__(self, pid: int, files: Files) -> None:
        self.pid, self._files = pid, files
        self._snapshots: list[Mappings] = []
        self._text = b""
        self._read_at = self._asked_at = 0.0
        self._born = b""
        self._inner = pid
        self._jit, self._jit_seen = PerfMap(), (0, 0)
        self._places: dict[int, Place | None] = {}

    def look(self) -> None:
        """Read its mappings and open what is new among its files; one that has ended stays as it was."""
        self._read_at = time.monotonic()
        try:
            text = Path(f"/proc/{self.pid}/maps").read_bytes()
            born = _born(self.pid)
        except OSError:
            return
        if not text:
            return  # a kernel thread, or a process that is ending
        if self._born and born != self._born:
            self._snapshots.clear()  # another process has the number now
            self._text, self._jit, self._jit_seen = b"", PerfMap(), (0, 0)
        self._born = born
        if text != self._text:
            self._text = text
            self._take(Mappings.parse(text))
        self._look_at_jit()

    def find(self, address: int) -> Place | None:
        """What is known of an address."""
        if address not in self._places:
            if len(self._places) >= PLACES:
                self._places.clear()
            self._places[address] = self._search(address)
        place = self._places[address]
        if place is None and time.monotonic() - self._read_at > REFRESH_S:
            self.look()
            place = self._places[address] = self._search(address)
        return place

    @property
    def asks_log(self) -> bool:
        """Whether it is time to ask (again) what the kernel recorded of it."""
        return time.monotonic() - self._asked_at > REFRESH_S

    def recall(self, programs: list[Mappings]) -> None:
        """Know these mappings, too: it ended before it was looked at, or ran something else before."""
        self._asked_at = time.monotonic()
        known = {mapping for mappings in self._snapshots for mapping in mappings.rows}
        self._snapshots += [mappings for mappings in programs if not known.issuperset(mappings.rows)][:SNAPSHOTS]
        self._places.clear()

    def _take(self, mappings: Mappings) -> None:
        self._snapshots = [mappings, *self._snapshots[: SNAPSHOTS - 1]]
        self._places.clear()
        self._inner = _inner(self.pid)
        for mapping in mappings.rows:
            if mapping.inode:
                self._files.of(mapping, self.pid)

    def _look_at_jit(self) -> None:
        found = read_perf_map(self.pid, self._inner, self._jit_seen)
        if found is not None:
            self._jit, self._jit_seen = found
            self._places.clear()

    def _search(self, address: int) -> Place | None:
        for mappings in self._snapshots:
            mapping = mappings.find(address)
            if mapping is not None:
                return self._in(mapping, address)
        return None

    def _in(self, mapping: Mapping, address: int) -> Place | None:
        if mapping.path == VDSO:
            found = _vdso_find(address - mapping.start)
        elif mapping.inode and (file := self._files.of(mapping, self.pid)) is not None:
            found = file.find(address - mapping.start + mapping.offset) or self._jit.find(address)
        else:
            found = self._jit.find(address)
        return Place(*found, mapping.path) if found else None


class UserSymbols:
    """The symbols of all processes. May be called from any thread."""

    def __init__(self) -> None:
        self._files = Files()
        self._processes: OrderedDict[int, Process] = OrderedDict()
        self._lock = threading.Lock()
        self._log: MappingLog | None = None
        self._watched = False
        self._drained_at = 0.0

    def watch(self) -> None:
        """Have the kernel record from now on what processes map: some end before anybody can look at them."""
        with self._lock:
            if not self._watched:
                self._watched, self._log = True, MappingLog.open()

    def drain(self) -> None:
        """Take over what the kernel recorded; to be called a few times a second."""
        with self._lock:
            now = time.monotonic()
            if self._log is not None and now - self._drained_at > DRAIN_S:
                self._drained_at = now
                self._log.drain()

    def notice(self, pid: int) -> None:
        """A process has made its first event, or runs another program now: look at it while it lives."""
        with self._lock:
            self._process(pid).look()

    def find(self, pid: int, address: int) -> Place | None:
        """The function at an address of a process, living or ended; None when nothing says it."""
        return self.find_all(pid, (address,))[0]

    def find_all(self, pid: int, addresses: Sequence[int]) -> list[Place | None]:
        """As find, of many addresses of one process."""
        with self._lock:
            known = pid in self._processes
            process = self._process(pid)
            if not known:
                process.look()
            places = [process.find(address) for address in addresses]
            if None in places and self._log is not None and process.asks_log:
                process.recall(self._log.mappings(pid))
                places = [process.find(address) for address in addresses]
            return places

    def settle(self) -> None:
        """Read what was only opened so far, and forget what is too much."""
        with self._lock:
            self._files.settle()

    def forget(self) -> None:
        """Keep nothing: what is asked next is read anew."""
        with self._lock:
            self._processes.clear()

    def _process(self, pid: int) -> Process:
        process = self._processes.setdefault(pid, Process(pid, self._files))
        self._processes.move_to_end(pid)
        while len(self._processes) > PROCESSES:
            self._processes.popitem(last=False)
        return process


@cache
def user_symbols() -> UserSymbols:
    """The symbols that all sessions of this process share."""
    return UserSymbols()


def _born(pid: int) -> bytes:
    """When a process started, in clock ticks: what tells two processes of one number apart (proc_pid_stat(5), field 22)."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]


def _inner(pid: int) -> int:
    """The process's id in its own, innermost pid namespace."""
    with suppress(OSError, IndexError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def _vdso_find(offset: int) -> tuple[str, int] | None:
    image, symbols = _vdso()
    address = image.address(offset) if image else None
    return symbols.find(address) if symbols and address is not None else None


@cache
def _vdso() -> tuple[Image | None, Symbols | None]:
    """This process's own vdso: the kernel maps the same one into all."""
    from kubebpf.agent.symbols.elf import BadImageError, Image

    with suppress(OSError, ValueError, BadImageError):
        rows = Mappings.parse(Path("/proc/self/maps").read_bytes()).rows
        row = next(row for row in rows if row.path == VDSO)
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            memory.seek(row.start)
            image = Image(memory.read(row.end - row.start))
        return image, image.symbols()
    return None, None
