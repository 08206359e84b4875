"""The files that cat() reads and skboutput() writes: any in the local mode, on a node of a cluster those that its agent was told
to show, and none but in the folder that it was told to keep packets in.

files = Files(("/proc/loadavg", "/proc/*/cmdline"), root=Path("/proc/1/root"))
files.read("/proc/loadavg", 10240)     -> b"0.35 …"
files.read("/etc/shadow", 10240)       NotShownError

A program's author chooses the path, and need not be somebody whom the node's files are meant for. So a path has to be spelled
plainly, and no link is followed: what is opened is what the list names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path


class NotShownError(Exception):
    """This agent does not show the file."""


class NotKeptError(Exception):
    """This agent does not write the file."""


@dataclass(frozen=True, slots=True)
class Files:
    """See the module.

    Args:
        shown: patterns of absolute paths; a `*` stands for a part between two slashes, or for a piece of one. None: any file, as
            the process itself sees it.
        root: where the node's file system is.
        kept: the folder of packets; None: they are not kept.
        most: bytes that a file of packets has at most; None: any number.
    """

    shown: Sequence[str] | None = None
    root: Path = Path("/")
    kept: Path | None = None
    most: int | None = None

    def of(self, name: str) -> Files:
        """The files of one program, whose packets have a folder of their own."""
        return replace(self, kept=self.kept / name) if self.kept else self

    def create(self, path: str) -> int:
        """Create a file of packets, or empty it.

        Args:
            path: as the program names it: below the folder of packets, or of any file when `shown` says so.

        Returns:
            its descriptor; the caller closes it.

        Raises:
            NotKeptError: this agent does not write there.
            OSError, ValueError: it cannot be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        if self.shown is None:
            return os.open(path, flags, 0o644)
        if self.kept is None:
            raise NotKeptError(f"this node's agent keeps no packets, so it does not write {path} (see --packet-folder)")
        if path in ("", ".", "..") or "/" in path:
            raise NotKeptError(f"{path!r} is not the plain name of a file in this agent's folder of packets")
        self.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self.kept / path, flags | os.O_NOFOLLOW, 0o600)

    def read(self, path: str, limit: int) -> bytes:
        """The start of a file.

        Args:
            path: of the node's file system.
            limit: bytes.

        Raises:
            NotShownError: the file is not among those shown.
            OSError, ValueError: it cannot be read.
        """
        if self.shown is None:
            with Path(path).open("rb") as file:
                return file.read(limit)
        parts = path.split("/")[1:]
        if not any(_matches(pattern, path) for pattern in self.shown) or {"", ".", ".."} & set(parts):
            known = ", ".join(self.shown) or "none"
            raise NotShownError(f"this node's agent does not show {path} (files shown: {known}; see --show-file)")
        descriptor = _open(self.root, parts)
        try:
            return _start(descriptor, limit)
        finally:
            os.close(descriptor)


ANY, NONE = Files(), Files(())


def _matches(pattern: str, path: str) -> bool:
    wanted, found = pattern.split("/"), path.split("/")
    return len(wanted) == len(found) and all(map(fnmatchcase, found, wanted))


def _start(descriptor: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (more := os.read(descriptor, limit - len(data))):
        data += more
    return data


def _open(root: Path, parts: Sequence[str]) -> int:
    """Open a file part by part, so that a link anywhere in the path is an error (ELOOP, ENOTDIR)."""
    *folders, name = parts
    at = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        # Opening must not wait for the other end of a pipe.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        with suppress(OSError):
            os.close(at)
