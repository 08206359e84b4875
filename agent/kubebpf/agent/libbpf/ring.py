"""The consumer of a BPF ring buffer.

    with RingBuffer(map.fd) as ring:
        for record in ring.poll(timeout_ms=100):
            …

The buffer's memory is read here and not by libbpf, whose callback for each record costs more than all else that happens to it.
What lies where is the kernel's promise (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst): a page with the consumer's
position, a page with the producers', and the data, mapped twice in a row, so that no record is ever in two pieces. A record
begins with a word for its length and two bits.

Nothing is lost and nothing comes twice when a signal's handler raises in the middle: what was read so far is kept with the
position behind it, in one assignment, and the kernel is told only what was kept.

The consumer's position is in the buffer's own memory and outlives this process. With `hold` it moves only when `release` says
that the records were acted on: whoever takes up the buffer of a process that was killed finds those that were not.
"""

from __future__ import annotations

import errno
import mmap
import select
from threading import Lock
from types import TracebackType
from typing import Self

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import map_info

_BATCH = 65536  # records; without a bound a flood would keep one call busy for ever
_STEP = 2048  # records that are copied, and given back to the kernel, at once
_RINGBUF = 27  # enum bpf_map_type
# include/uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ
_BUSY, _DISCARDED, _HEADER = 1 << 31, 1 << 30, 8
_PAGE = mmap.PAGESIZE


# Records of one length in a row: where the first begins, the length of each without its header, where the last ends.
_Run = tuple[int, int, int]


class RingBuffer:
    """Reads one ring buffer map. Used from one thread."""

    def __init__(self, fd: int) -> None:
        """Map the buffer.

        Args:
            fd: the map's descriptor; it stays the caller's.

        Raises:
            LibbpfError: it is no ring buffer, or cannot be mapped.
        """
        info = map_info(fd)
        if info.type != _RINGBUF:
            raise LibbpfError(errno.EINVAL, "mmap", subject=info.name)
        self.fd, self._mask = fd, info.max_entries - 1
        try:
            self._consumer = mmap.mmap(fd, _PAGE)
            self._producer = mmap.mmap(fd, _PAGE + 2 * info.max_entries, prot=mmap.PROT_READ, offset=_PAGE)
        except OSError as error:
            raise LibbpfError(error.errno or errno.EINVAL, "mmap", subject=info.name) from error
        self._consumed = memoryview(self._consumer).cast("Q")
        self._produced = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[_PAGE:]
        self._words = self._data.cast("I")
        self._order = Lock()
        # The position behind what was read, and what was read but not handed out yet.
        self._read: tuple[int, list[bytes]] = (self._consumed[0], [])
        self._most = 0  # bytes that stay in the buffer after they were read
        self._size = info.max_entries

    def hold(self, share: float) -> None:
        """Let records stay in the buffer until `release`.

        Args:
            share: of the buffer that they may fill; beyond it they are given back when they are read, because a full buffer loses
                for certain what the end of this process might lose. 0: none stays, 1: all do.
        """
        self._most = int(self._size * share)
        self._give_back()

    def release(self) -> bool:
        """All records that were handed out have been acted on.

        Returns:
            whether more are there: nobody is woken for those that came in between.
        """
        self._consumed[0] = self._read[0]
        self._barrier()
        at = self._read[0]
        return at < self._produced[0] and not self._words[(at & self._mask) >> 2] & _BUSY

    @property
    def epoll_fd(self) -> int:
        """A descriptor that is readable when there are records, for the caller's own event loop: the map's own."""
        return self.fd

    def poll(self, timeout_ms: int) -> list[bytes]:
        """Wait for records, and take those that are there (65536 at most).

        Args:
            timeout_ms: how long to wait for the first, in milliseconds; -1 without an end.
        """
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        waiting.poll(timeout_ms)
        return self.consume()

    def consume(self) -> list[bytes]:
        """Take the records that are there (65536 at most), without waiting and without asking whether anybody was woken."""
        self._give_back()  # an exception may have come in between
        while len(self._read[1]) < _BATCH and self._take():
            pass
        end, records = self._read
        self._read = end, []
        return records

    def close(self) -> None:
        """Unmap the buffer. A second call does nothing."""
        for view in (self._words, self._data, self._produced, self._consumed):
            view.release()
        self._producer.close()
        self._consumer.close()

    def _take(self) -> bool:
        """Read what there is, but not much; whether there was anything."""
        start, before = self._read
        end, runs = self._scan(start)
        if end == start:
            return False
        offset = start & self._mask
        block = self._data[offset : offset + end - start].tobytes()
        self._barrier()
        self._read = end, before + [block[i : i + length] for first, length, stop in runs for i in _starts(first, length, stop)]
        self._give_back()
        return True

    def _give_back(self) -> None:
        """Tell the kernel what was read, unless it may stay."""
        if not self._most or self._read[0] - self._consumed[0] > self._most:
            self._consumed[0] = self._read[0]

    def _scan(self, start: int) -> tuple[int, list[_Run]]:
        """The position behind the records that are complete, and where they lie behind `start`."""
        at, left, window, before, runs = start, _STEP, 1, 0, list[_Run]()
        produced = self._produced[0]
        self._barrier()
        while at < produced and left > 0:
            word = self._words[(at & self._mask) >> 2]
            if word & _BUSY:
                break
            length = word & ~_DISCARDED
            stride = _stride(length)
            # Often many records are of one length: more and more of them are looked at together.
            window = window * 8 if word == before else 1
            count = self._equal(word, at, min(window, left, (produced - at) // stride))
            window, before, left = count, word, left - count
            if word == length:
                runs.append((at - start, length, at - start + count * stride))
            at += count * stride
        self._barrier()
        return at, runs

    def _equal(self, word: int, at: int, most: int) -> int:
        """How many records from a position on begin with a word, which the first of them does."""
        if most <= 1:
            return 1
        first, step = (at & self._mask) >> 2, _stride(word & ~_DISCARDED) >> 2
        words = self._words[first : first + most * step : step].tolist()
        return most if words.count(word) == most else next(i for i, other in enumerate(words) if other != word)

    def _barrier(self) -> None:
        """What memory is read before happens before what is read or written after, also on processors that would like to differ.

        A lock that is released and taken again orders both sides of it; kernel and reader otherwise share only memory.
        """
        if self._order.locked():
            self._order.release()
        self._order.acquire(blocking=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _stride(length: int) -> int:
    """From one record's header to the next."""
    return (length + _HEADER + 7) & ~7


def _starts(first: int, length: int, stop: int) -> range:
    """Where the data of the records of a run begin."""
    return range(first + _HEADER, stop, _stride(length))
