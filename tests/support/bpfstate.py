"""Which BPF objects exist in the kernel now, so that a test can say "nothing is left behind".

    mine = held_by(agent.pid) | pinned_below(Path("/sys/fs/bpf/kubebpf"))
    ...
    assert not mine & everything()

Other programs on the machine load BPF, too: a test compares the objects that its own processes held, not totals. Ids are
given out in ascending order and so are not reused within a test.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}[platform.machine()]
_OBJ_GET = 7
_GET_NEXT_ID = {"prog": 11, "map": 12, "link": 31}
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class BpfObjects:
    """Ids of programs, maps and links."""

    prog: frozenset[int] = frozenset()
    map: frozenset[int] = frozenset()
    link: frozenset[int] = frozenset()

    def __or__(self, other: BpfObjects) -> BpfObjects:
        return BpfObjects(self.prog | other.prog, self.map | other.map, self.link | other.link)

    def __and__(self, other: BpfObjects) -> BpfObjects:
        return BpfObjects(self.prog & other.prog, self.map & other.map, self.link & other.link)

    def __sub__(self, other: BpfObjects) -> BpfObjects:
        return BpfObjects(self.prog - other.prog, self.map - other.map, self.link - other.link)

    def __bool__(self) -> bool:
        return bool(self.prog or self.map or self.link)


def everything() -> BpfObjects:
    """All programs, maps and links of this kernel (root)."""
    return BpfObjects(**{kind: frozenset(_ids(command)) for kind, command in _GET_NEXT_ID.items()})


def held_by(pid: int) -> BpfObjects:
    """What a process has open, from /proc/PID/fdinfo."""
    found: dict[str, set[int]] = {"prog": set(), "map": set(), "link": set()}
    for descriptor in Path(f"/proc/{pid}/fdinfo").glob("*"):
        # A descriptor may be closed while we look.
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in descriptor.read_text().splitlines():
                key, _, value = line.partition(":")
                kind = key.removesuffix("_id")
                if kind != key and kind in found:
                    found[kind].add(int(value))
    return BpfObjects(**{kind: frozenset(ids) for kind, ids in found.items()})


def pins(folder: Path) -> list[Path]:
    """Everything pinned below a folder of a bpffs."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir()) if folder.is_dir() else []


def pinned_below(folder: Path) -> BpfObjects:
    """The objects behind those pins."""
    found = BpfObjects()
    for pin in pins(folder):
        descriptor = _open_pin(pin)
        try:
            found |= _of_descriptor(descriptor)
        finally:
            os.close(descriptor)
    return found


def bpftool(*args: str | Path) -> Any:
    """bpftool's JSON; raises if it is not installed or says no."""
    program = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise FileNotFoundError("bpftool is not installed (Debian package: bpftool)")
    command = [program, "--json", *(str(word) for word in args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()} {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def _ids(command: int) -> list[int]:
    class Attributes(ctypes.Structure):
        _fields_ = [("start", ctypes.c_uint32), ("next", ctypes.c_uint32), ("flags", ctypes.c_uint32)]

    found: list[int] = []
    attributes = Attributes()
    while _bpf(command, attributes) == 0:
        found.append(attributes.next)
        attributes.start = attributes.next
    if ctypes.get_errno() != errno.ENOENT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"bpf command {command}")
    return found


def _open_pin(pin: Path) -> int:
    class Attributes(ctypes.Structure):
        _fields_ = [("path", ctypes.c_uint64), ("fd", ctypes.c_uint32), ("flags", ctypes.c_uint32)]

    name = ctypes.create_string_buffer(str(pin).encode())
    descriptor = _bpf(_OBJ_GET, Attributes(path=ctypes.addressof(name)))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(pin))
    return descriptor


def _of_descriptor(descriptor: int) -> BpfObjects:
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    # A link's fdinfo also names its program, which is pinned or held elsewhere or lives by the link alone.
    ids = {kind: frozenset({int(fields[f"{kind}_id"])}) for kind in _GET_NEXT_ID if f"{kind}_id" in fields}
    return BpfObjects(**ids)


def _bpf(command: int, attributes: ctypes.Structure) -> int:
    ctypes.set_errno(0)
    return int(_LIBC.syscall(_SYS_BPF, command, ctypes.byref(attributes), ctypes.sizeof(attributes)))
