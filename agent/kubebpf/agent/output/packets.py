"""Files of network packets, as tcpdump reads them.

file = PacketFile(os.open("out.pcap", …))
file.write(time_ns=123, data=b"E\\0\\0…", whole=1500)

The format is libpcap's (pcap-savefile(5)) with nanoseconds and link type RAW: every packet begins with its IP header.
"""

from __future__ import annotations

import os
import struct

from kubebpf.agent.session.facts import wall_offset

_NANOSECONDS = 0xA1B23C4D  # magic number; its byte order tells that of all other numbers
_RAW = 101  # LINKTYPE_RAW
_LONGEST = 262144  # tcpdump's own limit
_SECOND = 10**9
_HEADER, _PACKET = struct.Struct("=IHHiIII"), struct.Struct("=IIII")


class FullError(Exception):
    """The file has as many bytes as it may have. Raised for the first packet that finds no room."""


class PacketFile:
    """See the module."""

    def __init__(self, descriptor: int, most: int | None = None) -> None:
        """Begin an empty file.

        Args:
            descriptor: open for writing; this object closes it.
            most: bytes that it may have; None: any number.
        """
        self._descriptor, self._most, self._full = descriptor, most, False
        self._offset = wall_offset()
        self._size = os.write(descriptor, _HEADER.pack(_NANOSECONDS, 2, 4, 0, 0, _LONGEST, _RAW))

    def write(self, time_ns: int, data: bytes | memoryview, whole: int) -> None:
        """Add a packet.

        Args:
            time_ns: CLOCK_BOOTTIME, in nanoseconds.
            data: from the IP header on.
            whole: how many bytes it had, of which these may be the first.

        Raises:
            FullError: it is the first that finds no room; what follows is left out without a word.
            OSError: it cannot be written.
        """
        data = data[:_LONGEST]
        if self._full:
            return
        if self._most is not None and self._size + _PACKET.size + len(data) > self._most:
            self._full = True
            raise FullError
        seconds, nanoseconds = divmod(time_ns + self._offset, _SECOND)
        # In one piece: who reads the file meanwhile finds whole packets.
        self._size += os.write(self._descriptor, _PACKET.pack(seconds, nanoseconds, len(data), whole) + data)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
