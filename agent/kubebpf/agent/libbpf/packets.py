"""The consumer of perf buffers, one a CPU: bpf_skb_output copies packets into nothing else.

    with PerfBuffer(map.fd, pages=64) as buffer:
        for record in buffer.consume():
            …

Programs are told when there was no room (ENOSPC), and count it themselves; what the kernel says of it is passed over.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.library import check, check_pointer, lib, messages


class PerfBuffer:
    """Reads one perf event array. Used from one thread."""

    def __init__(self, fd: int, pages: int) -> None:
        """Open and map a buffer for each CPU that is online.

        Args:
            fd: the map's descriptor; it stays the caller's.
            pages: of each buffer, a power of two.

        Raises:
            LibbpfError: it is no such map, or memory may not be locked.
        """
        self._records: list[bytes] = []
        self._handle = ffi.new_handle(self._records)
        with messages() as said:
            pointer = lib().perf_buffer__new(fd, pages, _take, ffi.NULL, self._handle, ffi.NULL)
            self._pointer = check_pointer(pointer, "perf_buffer__new", said)

    @property
    def epoll_fd(self) -> int:
        """A descriptor that is readable when there are records."""
        return int(lib().perf_buffer__epoll_fd(self._pointer))

    def consume(self) -> list[bytes]:
        """Take what is there; a few bytes that mean nothing may follow each record.

        Raises:
            LibbpfError: a buffer holds what is no record.
        """
        check(lib().perf_buffer__consume(self._pointer), "perf_buffer__consume")
        taken = self._records[:]
        self._records.clear()
        return taken

    def close(self) -> None:
        """Unmap the buffers. A second call does nothing."""
        pointer, self._pointer = self._pointer, ffi.NULL
        if pointer != ffi.NULL:
            lib().perf_buffer__free(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@ffi.callback("void(void *, int, void *, __u32)")
def _take(handle: Any, cpu: int, data: Any, size: int) -> None:
    ffi.from_handle(handle).append(ffi.buffer(data, size)[:])
