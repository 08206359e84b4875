"""The consumer of a BPF ring buffer.

    with RingBuffer(map.fd) as ring:
        for record in ring.poll(timeout_ms=100):
            …

libbpf hands the records to a callback one by one; it only copies them to a list, and whatever is done with them is done after
the call. A record that was handed over is consumed (ringbuf_process_ring moves the consumer's position first), also when the
callback then asks for the end of the batch: nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.library import check, check_pointer, lib, messages

_BATCH = 65536  # records; without a bound a flood would keep one call busy for ever
_FULL = -errno.ENOBUFS


@dataclass
class _Taken:
    records: list[bytes] = field(default_factory=list)
    error: BaseException | None = None


class RingBuffer:
    """Reads one ring buffer map. Used from one thread."""

    def __init__(self, fd: int) -> None:
        """Map the buffer.

        Args:
            fd: the map's descriptor; it stays the caller's.

        Raises:
            LibbpfError: it is no ring buffer, or cannot be mapped.
        """
        self._taken = _Taken()
        self._handle = ffi.new_handle(self._taken)
        with messages() as said:
            pointer = lib().ring_buffer__new(fd, _take, self._handle, ffi.NULL)
            self._pointer = check_pointer(pointer, "ring_buffer__new", said)

    @property
    def epoll_fd(self) -> int:
        """A descriptor that is readable when there are records, for the caller's own event loop."""
        return int(lib().ring_buffer__epoll_fd(self._pointer))

    def poll(self, timeout_ms: int) -> list[bytes]:
        """Wait for records, and take those that are there (65536 at most).

        Args:
            timeout_ms: how long to wait for the first, in milliseconds; -1 without an end.

        Raises:
            LibbpfError: the wait failed. An interrupting signal ends it early, without an error.
        """
        return self._batch(lib().ring_buffer__poll(self._pointer, timeout_ms), "ring_buffer__poll")

    def consume(self) -> list[bytes]:
        """Take the records that are there (65536 at most), without waiting and without asking whether anybody was woken."""
        return self._batch(lib().ring_buffer__consume(self._pointer), "ring_buffer__consume")

    def close(self) -> None:
        """Unmap the buffer. A second call does nothing."""
        pointer, self._pointer = self._pointer, ffi.NULL
        if pointer != ffi.NULL:
            lib().ring_buffer__free(pointer)

    def _batch(self, result: int, call: str) -> list[bytes]:
        if (error := self._taken.error) is not None:
            self._taken.error = None
            raise error
        if result not in (_FULL, -errno.EINTR):
            check(result, call)
        records, self._taken.records = self._taken.records, []
        return records

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _interrupted(kind: Exception, error: Any, trace: Any) -> None:
    """A signal's handler raised (KeyboardInterrupt) while C was above us: keep the record, raise again once C has returned."""
    interrupted = trace.tb_frame.f_locals
    taken: _Taken = ffi.from_handle(interrupted["handle"])
    if len(taken.records) == interrupted.get("before", len(taken.records)):
        taken.records.append(ffi.buffer(interrupted["data"], interrupted["size"])[:])
    taken.error = error


@ffi.callback("int(void *, void *, size_t)", error=-errno.EIO, onerror=_interrupted)
def _take(handle: Any, data: Any, size: int) -> int:
    records: list[bytes] = ffi.from_handle(handle).records
    before = len(records)
    records.append(ffi.buffer(data, size)[:])
    return _FULL if before + 1 >= _BATCH else 0
