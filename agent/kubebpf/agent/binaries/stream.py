"""A file that is open as long as somebody holds it: what the reader of ELF files wants of a stream.

No mmap: a file that is cut meanwhile would end this process (SIGBUS).
"""

from __future__ import annotations

import os
from collections.abc import Callable


class Stream:
    """A file.

    Args:
        path: of it.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        if size < 0:
            size = max(0, os.fstat(self._descriptor).st_size - self._at)
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._descriptor).st_size if start is None else start)
        return self._at

    def tell(self) -> int:
        """As a file's."""
        return self._at

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of the process the module may be gone before its objects.
        if self._descriptor >= 0:
            close(self._descriptor)
