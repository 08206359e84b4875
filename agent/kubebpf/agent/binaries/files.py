"""The files that the path of an attach point means.

    /opt/*/app    relative/app    libc    sh    *  (with -p: all that the process has mapped)

With -p, paths are those of the process: what it sees of another mount namespace is found through /proc/PID/root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kubebpf.agent.binaries import roots
from kubebpf.agent.session.libraries import resolve
from kubebpf.agent.session.wildcards import is_wildcard

_MEMBER = "!/"  # of a zip file
_EXECUTABLE = 2  # where `x` stands in the permissions of /proc/PID/maps


class NoFileError(Exception):
    """Nothing is found by a path."""


def files(name: str, process: int | None = None) -> list[tuple[str, str]]:
    """The files, each with its path as people are shown it and the path to open.

    Args:
        name: a path, a library, a program, a pattern of these; "*" for all files that the process has mapped.
        process: of -p.

    Raises:
        NoFileError: there are none.
    """
    if name == "*":
        if process is None:
            raise NoFileError("`*` is all files of a process: choose one with -p, or name a binary")
        found = list(_mapped(process))
    elif process is not None and (root := roots.process_root(process)):
        found = list(_seen_by(process, root, name))
    elif is_wildcard(name):
        found = [(path, path) for path in _matching(name) if Path(path).is_file()]
    else:
        found = list(_named(name))
    if not found:
        raise NoFileError(f"no file, library or program {name}")
    return found


def _seen_by(process: int, root: str, name: str) -> Iterator[tuple[str, str]]:
    """The files of a process whose root is not that of this one."""
    paths = roots.matching(name, root, process) if is_wildcard(name) else filter(None, [roots.named(name, root, process)])
    for path in paths:
        file, inside, member = path.partition(_MEMBER)
        if (place := roots.inside(root, file)) is not None:
            yield path, place + inside + member


def _named(name: str) -> Iterator[tuple[str, str]]:
    if path := resolve(name):
        yield path, path


def _matching(name: str) -> list[str]:
    if "/" in name:
        start = Path("/") if name.startswith("/") else Path()
        prefix = "./" if name.startswith("./") else ""
        return sorted(f"{prefix}{path}" for path in start.glob(name.lstrip("/").removeprefix("./")))
    folders = os.environ.get("PATH", "").split(":")
    return sorted({path for folder in folders if folder for path in map(str, Path(folder).glob(name))})


def _mapped(process: int) -> Iterator[tuple[str, str]]:
    try:
        lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    except OSError as error:
        raise NoFileError(f"process {process}: {error.strerror}") from error
    root, seen = roots.process_root(process), set[str]()
    for line in lines:
        _, permissions, _, _, _, *rest = line.split(maxsplit=5)
        path = rest[0] if rest else ""
        if permissions[_EXECUTABLE] == "x" and path.startswith("/") and path not in seen:
            seen.add(path)
            # A file that was replaced or removed since is still there under map_files, but not for a probe.
            if place := roots.inside(root, path):
                yield path, place
