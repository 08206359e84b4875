"""Files that processes have mapped, and the symbols of each, read once for all processes.

    files = Files()
    file = files.of(mapping, pid)         opens it, while the process lives
    file.find(0x1190)                     -> ("readline", 25), from then on whether it lives or not

Symbols come from the file itself; from its debug file, found by build id or by debug link, when it was stripped.
"""

from __future__ import annotations

import mmap
import os
import stat
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kubebpf.agent.symbols.mappings import DELETED, Mapping

if TYPE_CHECKING:
    from kubebpf.agent.symbols.elf import Image, Symbols

LIMIT_BYTES = 96 << 20  # of all symbol tables
OPEN = 64  # files at a time
DEBUG = "/usr/lib/debug"


class File:
    """One file. Its symbols are read at the first question or by `load`, and the descriptor is closed then.

    Args:
        fd: of the file; owned from here on.
        path: as the process sees it.
        root: the root directory that the process sees.
    """

    def __init__(self, fd: int, path: str, root: Path) -> None:
        self.path = path
        self._fd, self._root = fd, root
        self._symbols: Symbols | None = None
        self._segments: Image | None = None

    def find(self, offset: int) -> tuple[str, int] | None:
        """The function at a file offset, and the bytes from its start."""
        self.load()
        address = self._segments.address(offset) if self._segments else None
        return self._symbols.find(address) if self._symbols and address is not None else None

    def load(self) -> None:
        """Read the symbols, if that was not done yet."""
        if self._fd < 0:
            return
        # Opening has to be quick, and numpy is not.
        from kubebpf.agent.symbols.elf import BadImageError, Image

        fd, self._fd = self._fd, -1
        try:
            with closing(_map(fd)) as data:
                image = Image(data)
                self._symbols = self._read(image)
                self._segments = image.without_data()
        except (BadImageError, OSError, ValueError):
            self._symbols = None  # no program: a font, a damaged or an empty file
        finally:
            os.close(fd)

    @property
    def bytes(self) -> int:
        """The memory that its symbols take, in bytes."""
        return self._symbols.bytes if self._symbols else 0

    def close(self) -> None:
        """Forget it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, image: Image) -> Symbols:
        symbols = image.symbols()
        return symbols.joined(self._debug(image)) if image.stripped else symbols

    def _debug(self, image: Image) -> Symbols | None:
        """The symbols of the debug file, if there is one that belongs to this file."""
        from kubebpf.agent.symbols.elf import BadImageError, Image

        for path in debug_paths(image, self.path):
            # A container may have its own; the node's serve binaries of the node's distribution.
            for place in (self._root / path.lstrip("/"), Path(path)):
                with suppress(OSError, ValueError, BadImageError):
                    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                    with os.fdopen(fd, "rb"), closing(_map(fd)) as data:
                        other = Image(data)
                        if _same_build(image, other, data):
                            return other.symbols()
        return None


def debug_paths(image: Image, path: str) -> Iterator[str]:
    """Where the debug file of a file may be, in the order in which gdb looks (its manual, "Separate Debug Files")."""
    build_id = image.build_id
    if len(build_id) > 2:
        yield f"{DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
    link = PurePosixPath(image.debug_link).name
    if link:
        folder = str(PurePosixPath(path).parent)
        yield from (f"{folder}/{link}", f"{folder}/.debug/{link}", f"{DEBUG}{folder}/{link}")


def _same_build(image: Image, other: Image, data: mmap.mmap) -> bool:
    if image.build_id or other.build_id:
        return image.build_id == other.build_id
    return image.debug_crc == zlib.crc32(data)


def _map(fd: int) -> mmap.mmap:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)


class Files:
    """Every file once, the longest unused ones forgotten when the symbols take too much memory.

    Args:
        limit: of all symbols together, in bytes.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._files: OrderedDict[tuple[str, int], File | None] = OrderedDict()
        self._fresh: list[File] = []

    def of(self, mapping: Mapping, pid: int) -> File | None:
        """The file behind a mapping of a process; None when nobody can open it (any longer)."""
        if mapping.key not in self._files:
            file = _opened(mapping, pid) or _found(mapping)
            if file is None and not Path(f"/proc/{pid}").exists():
                return None  # another process may still show it
            self._files[mapping.key] = file
            if file is not None:
                self._fresh.append(file)
            if len(self._fresh) > OPEN:
                self.settle()
        self._files.move_to_end(mapping.key)
        return self._files[mapping.key]

    def settle(self) -> None:
        """Read the symbols of what was opened since the last call, and keep to the limit: no file of a container stays open."""
        fresh, self._fresh = self._fresh, []
        for file in fresh:
            file.load()
        total = sum(file.bytes for file in self._files.values() if file)
        while total > self._limit and len(self._files) > 1:
            _, oldest = self._files.popitem(last=False)
            if oldest is not None:
                total -= oldest.bytes
                oldest.close()


def _opened(mapping: Mapping, pid: int) -> File | None:
    root = Path(f"/proc/{pid}/root")
    # map_files leads to the very file, deleted or not, but asks for CAP_CHECKPOINT_RESTORE (proc_map_files_get_link).
    with suppress(OSError):
        return File(_open(Path(f"/proc/{pid}/map_files/{mapping.range}")), mapping.path, root)
    if mapping.path.endswith(DELETED) or not mapping.path.startswith("/"):
        return None
    try:
        fd = _open(root / mapping.path.lstrip("/"))
    except OSError:
        return None
    if not _is(fd, mapping):
        os.close(fd)
        return None
    return File(fd, mapping.path, root)


def _found(mapping: Mapping) -> File | None:
    """The file of a process that ended, by its path: here or on the node."""
    for root in (Path("/"), Path("/proc/1/root")):
        with suppress(OSError):
            fd = _open(root / mapping.path.lstrip("/"))
            # By path and inode it is the very file. The device does not tell: see _is.
            if os.fstat(fd).st_ino == mapping.inode:
                return File(fd, mapping.path, root)
            os.close(fd)
    return None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _is(fd: int, mapping: Mapping) -> bool:
    """Whether a file is the mapped one. Overlays show another device in maps than in stat; there the path has to do."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    return device != mapping.device or status.st_ino == mapping.inode
