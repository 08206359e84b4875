"""The files that cat() reads: any in the local mode, on a node of a cluster those that its agent was told to show.

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
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


class NotShownError(Exception):
    """This agent does not show the file."""


@dataclass(frozen=True, slots=True)
class Files:
    """See the module.

    Args:
        shown: patterns of absolute paths; a `*` stands for a part between two slashes, or for a piece of one. None: any file, as
            the process itself sees it.
        root: where the node's file system is.
    """

    shown: Sequence[str] | None = None
    root: Path = Path("/")

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
