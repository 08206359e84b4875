"""A link: a program attached to one place, until the link is destroyed.

with program.attach_tracepoint("sched", "sched_switch", cookie=1) as link:
    …
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubebpf.agent.libbpf.declarations import ffi
from kubebpf.agent.libbpf.info import LinkInfo, link_info
from kubebpf.agent.libbpf.library import check, check_pointer, lib, messages

_READ_BYTES = 1 << 16


class Link:
    """Owns a `struct bpf_link`. A pinned link goes on after it is closed here; `pinned` is where."""

    pinned: Path | None = None

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._ends: Path | None = None  # a pin that goes with the link

    @classmethod
    def open(cls, path: Path) -> Link:
        """Take up a pinned link.

        Args:
            path: its file in a bpffs.

        Raises:
            LibbpfError: there is none, or it is something else.
        """
        with messages() as said:
            pointer = lib().bpf_link__open(str(path).encode())
            return cls(check_pointer(pointer, "bpf_link__open", said, str(path)))

    @property
    def fd(self) -> int:
        """The link's descriptor, owned by it."""
        return int(lib().bpf_link__fd(self._alive()))

    @property
    def info(self) -> LinkInfo:
        """What the kernel tells about it."""
        return link_info(self.fd)

    def detach(self) -> None:
        """Stop the program here, although other holders (pins) keep the link; not every kind of link can (EOPNOTSUPP).

        Raises:
            LibbpfError: the kernel refused.
        """
        check(lib().bpf_link__detach(self._alive()), "bpf_link__detach")

    def iterate(self) -> None:
        """Run the program of an iterator for everything that there is to iterate over; what it writes is not kept.

        Raises:
            LibbpfError: the kernel cannot open a reader.
            OSError: reading failed.
        """
        reader = check(lib().bpf_iter_create(self.fd), "bpf_iter_create")
        try:
            while os.read(reader, _READ_BYTES):
                pass
        finally:
            os.close(reader)

    def pin(self, path: Path, ends: bool = False) -> None:
        """Let others find the link; it outlives this process.

        Args:
            path: a file to make in a bpffs.
            ends: remove the file when the link is closed here.

        Raises:
            LibbpfError: it exists, or its folder is not in a bpffs.
        """
        with messages() as said:
            check(lib().bpf_link__pin(self._alive(), str(path).encode()), "bpf_link__pin", said, str(path))
        self._ends = path if ends else None

    def unpin(self) -> None:
        """Remove its pin."""
        check(lib().bpf_link__unpin(self._alive()), "bpf_link__unpin")

    def lose_pin(self) -> None:
        """Remove the file that `pinned` names, if any; the link then ends when it is closed."""
        path, self.pinned = self.pinned, None
        if path is not None:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the link up; without a pin the program stops here. A second call does nothing."""
        pointer, self._pointer = self._pointer, ffi.NULL
        if pointer != ffi.NULL:
            if self._ends:
                self._ends.unlink(missing_ok=True)
            lib().bpf_link__destroy(pointer)

    def abandon(self) -> None:
        """Close the descriptors, and nothing more: what is pinned goes on. (libbpf's own close disables perf events first.)"""
        fd, pointer = self.fd, self._alive()
        self._pointer = ffi.NULL
        lib().bpf_link__disconnect(pointer)
        lib().bpf_link__destroy(pointer)
        os.close(fd)

    def release(self) -> int | None:
        """Close the link, and leave what only takes time: a descriptor that the caller closes later, or None."""
        self.close()
        return None

    def _alive(self) -> Any:
        if self._pointer == ffi.NULL:
            raise ValueError("this link is closed")
        return self._pointer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class DescriptorLink(Link):
    """A link that libbpf did not make: a descriptor only."""

    def __init__(self, fd: int) -> None:
        super().__init__(ffi.NULL)
        self._fd, self._pin = fd, Path()

    @property
    def fd(self) -> int:
        """The link's descriptor, owned by it."""
        if self._fd < 0:
            raise ValueError("this link is closed")
        return self._fd

    def detach(self) -> None:
        """As Link.detach."""
        check(lib().bpf_link_detach(self.fd), "bpf_link_detach")

    def pin(self, path: Path, ends: bool = False) -> None:
        """As Link.pin, but the file stays."""
        check(lib().bpf_obj_pin(self.fd, str(path).encode()), "bpf_obj_pin", subject=str(path))
        self._pin = path

    def unpin(self) -> None:
        """Remove its pin."""
        self._pin.unlink()

    def abandon(self) -> None:
        """As Link.abandon."""
        self.close()

    def close(self) -> None:
        """As Link.close."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class PerfLink(Link):
    """A link to a perf event, with a descriptor of the event beside it.

    The kernel ends a tracepoint's perf event under one lock, with grace periods inside (perf_trace_destroy): about 30 ms each,
    measured on Linux 6.18, one after the other. While the event stays open, closing the link stops the program without that lock.
    """

    def __init__(self, pointer: Any, event: int, owned: int) -> None:
        """`owned`: the descriptor that libbpf closes with the link."""
        super().__init__(pointer)
        self._event, self._owned = event, owned

    def abandon(self) -> None:
        """As Link.abandon."""
        super().abandon()
        event, self._event = self._event, -1
        os.close(event)
        os.close(self._owned)

    def release(self) -> int | None:
        """As Link.release; the descriptor is the event's."""
        super().close()
        event, self._event = self._event, -1
        return event if event >= 0 else None

    def close(self) -> None:
        """As Link.close, with the wait."""
        if (event := self.release()) is not None:
            os.close(event)
