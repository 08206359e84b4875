"""Files below the root of another process: found by the names that they have for it, never by a way out of it.

    process_root(4711)                 -> "/proc/4711/root", or "" when it sees the files that this process sees
    inside("/proc/4711/root", "/lib/libc.so.6")    -> "/proc/4711/root/usr/lib/libc.so.6"

Links are followed as that process would: an absolute one starts at its root. The kernel would start at ours.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kubebpf.agent.session.libraries import CACHE, library

_LINKS = 40  # as the kernel's MAXSYMLINKS
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where musl's loader looks, and glibc's without a cache (man 8 ld.so); the folders of Debian's architectures between them.
_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib", "/lib64", "/usr/lib64")


def process_root(process: int | None) -> str:
    """What stands before the paths of a process; "" when it sees the files that this one sees, or is gone."""
    if process is None or root_key(process) in (None, root_key("self")):
        return ""
    return f"/proc/{process}/root"


def root_key(process: int | str) -> tuple[int, int, int] | None:
    """What two processes that see the same files have in common: mount namespace and root; None for one that is gone."""
    try:
        namespace = Path(f"/proc/{process}/ns/mnt").stat().st_ino
        root = Path(f"/proc/{process}/root/").stat()
    except OSError:
        return None
    return namespace, root.st_dev, root.st_ino


def inside(root: str, path: str) -> str | None:
    """The place of a file below a root, with all links followed; None when there is no regular file.

    Args:
        root: `/proc/PID/root`, or "" for this process's own.
        path: absolute.
    """
    parts, found, links = [part for part in reversed(path.split("/")) if part], list[str](), 0
    while parts:
        part = parts.pop()
        if part == "..":
            del found[-1:]
            continue
        if part == ".":
            continue
        here = "/".join((root, *found, part))
        try:
            target = str(Path(here).readlink())
        except OSError:
            found.append(part)
            continue
        links += 1
        if links > _LINKS:
            return None
        if target.startswith("/"):
            found.clear()
        parts += [part for part in reversed(target.split("/")) if part]
    return _regular("/".join((root, *found)))


def _regular(path: str) -> str | None:
    try:
        return path if stat.S_ISREG(os.lstat(path).st_mode) else None
    except OSError:
        return None


def named(name: str, root: str, process: int) -> str | None:
    """The path that a name has for a process: a path, a library, a program of its PATH; None when there is none."""
    if name.startswith("/"):
        return name
    if "/" in name:
        return _relative(name, process)
    return _library(name, root) or _program(name, root, process)


def matching(pattern: str, root: str, process: int) -> list[str]:
    """The paths, as the process sees them, that match a pattern."""
    if "/" in pattern:
        return sorted(_glob(root, pattern))
    return sorted({path for folder in _search_path(process) for path in _glob(root, f"{folder}/{pattern}")})


def _glob(root: str, pattern: str) -> Iterator[str]:
    for path in Path(root + "/").glob(pattern.lstrip("/")):
        yield str(path)[len(root) :]


def _relative(name: str, process: int) -> str | None:
    try:
        return f"{Path(f'/proc/{process}/cwd').readlink()}/{name}"
    except OSError:
        return None


def _library(name: str, root: str) -> str | None:
    cache = inside(root, str(CACHE))
    found = library(name, Path(cache)) if cache else None
    return found or next((path for folder in _folders(root) for path in _versions(root, folder, name)), None)


def _folders(root: str) -> Iterator[str]:
    for folder in _FOLDERS:
        yield folder
        yield from sorted(f"{folder}/{entry.name}" for entry in Path(root + folder).glob("*-linux-*"))


def _versions(root: str, folder: str, name: str) -> list[str]:
    # musl's own is libc.musl-x86_64.so.1.
    patterns = (name, f"{name}.so", f"{name}.so.*", f"{name}.musl-*.so.*")
    return sorted(f"{folder}/{file.name}" for pattern in patterns for file in Path(root + folder).glob(pattern))


def _program(name: str, root: str, process: int) -> str | None:
    return next((f"{folder}/{name}" for folder in _search_path(process) if inside(root, f"{folder}/{name}")), None)


def _search_path(process: int) -> list[str]:
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        variables = []
    said = next((v.removeprefix(b"PATH=") for v in variables if v.startswith(b"PATH=")), b"").decode(errors="surrogateescape")
    return [folder for folder in (said or _PATH).split(":") if folder.startswith("/")]


def file_key(path: str, process: int | None = None) -> tuple[int, ...]:
    """What two paths of one file have in common, also when two containers see it in the same layer of their images.

    Every overlay mount gives the files of its lower layers a device number of its own, while a uprobe is put on the file below.
    That one is told by its inode number with its times: a change of either layer makes another file.

    Raises:
        OSError: there is no such file.
    """
    status = Path(path).stat()
    if (os.major(status.st_dev), os.minor(status.st_dev)) in _overlays(process):
        return 0, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _overlays(process: int | None) -> set[tuple[int, int]]:
    """The device numbers of overlay mounts that a process sees: mountinfo, proc(5)."""
    try:
        lines = Path(f"/proc/{process or 'self'}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    numbers = [line.split()[2].split(":") for line in lines if line.partition(" - ")[2].startswith("overlay ")]
    return {(int(major), int(minor)) for major, minor in numbers}
