"""The file that an attach point means by a name: a path, a library (`libc`, `libc.so.6`), a program on PATH.

The loader's cache is read directly, so that it can be another file system's too and no `ldconfig` need be installed.
Its form: glibc, sysdeps/generic/dl-cache.h, "glibc-ld.so.cache1.1".
"""

from __future__ import annotations

import platform
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

CACHE = Path("/etc/ld.so.cache")
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = struct.Struct("<20sII20x"), struct.Struct("<iIIIQ")
_FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03}  # FLAG_ELF_LIBC6 and the architecture's bits


def resolve(name: str, cache: Path = CACHE) -> str | None:
    """The path for a name, or None.

    Args:
        name: with a slash: a path, taken as it is (`x.apk!/lib.so` is a member of a zip file). Else a library's soname or its
            start (`libc` is `libc.so.6`), else a program.
        cache: the loader's.
    """
    if "/" in name:
        return name if Path(name.partition("!/")[0]).exists() else None
    return library(name, cache) or shutil.which(name)


def library(name: str, cache: Path = CACHE) -> str | None:
    """The path of a library in the loader's cache, or None; the loader's first choice when there are several."""
    try:
        data = cache.read_bytes()
    except OSError:
        return None
    return next((path for soname, path in _entries(data) if soname == name or soname.startswith(f"{name}.so")), None)


def _entries(data: bytes) -> Iterator[tuple[str, str]]:
    start = data.find(_MAGIC)  # Older caches have the old format in front.
    if start < 0:
        return
    _, count, _ = _HEADER.unpack_from(data, start)
    flags = _FLAGS.get(platform.machine())
    for i in range(count):
        kind, key, value, _, _ = _ENTRY.unpack_from(data, start + _HEADER.size + i * _ENTRY.size)
        if flags is None or kind == flags:
            yield _text(data, start + key), _text(data, start + value)


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode("utf-8", "surrogateescape")
