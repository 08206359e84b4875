"""The usdt probes of a binary: its notes of the owner `stapsdt`, as the macros of <sys/sdt.h> write them.

    [p] = probes(binary("/opt/app"))
    p.namespace, p.name, p.address, p.semaphore, p.arguments   ->   "app", "request", 0x1166, 0x402c, "-4@%edi 8@%rdx"

A probe has a note for each place that the compiler copied it to. The layout: SystemTap's wiki, "UserSpaceProbeImplementation".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from kubebpf.agent.binaries.binary import Binary

SECTION, BASE = ".note.stapsdt", ".stapsdt.base"
_OWNER, _KIND = b"stapsdt\0", 3  # NT_STAPSDT


@dataclass(frozen=True, slots=True)
class Usdt:
    """One place of a probe.

    Args:
        namespace, name: of the probe.
        address: virtual, of its instruction.
        semaphore: virtual address of the counter of its users; 0 for none.
        arguments: the operands, as the assembler spells them.
    """

    namespace: str
    name: str
    address: int
    semaphore: int
    arguments: str


@lru_cache(maxsize=64)
def probes(file: Binary) -> tuple[Usdt, ...]:
    """All places of all probes, in the order of the notes."""
    section = file.elf.get_section_by_name(SECTION)
    if section is None:
        return ()
    base = file.elf.get_section_by_name(BASE)
    return tuple(_probe(note, base.header.sh_addr if base else 0) for note in _notes(section.data()))


def _notes(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(data):
        owner, size, kind = struct.unpack_from("<III", data, at)
        start = at + 12 + (owner + 3) // 4 * 4
        if kind == _KIND and data[at + 12 : at + 12 + owner] == _OWNER:
            yield data[start : start + size]
        at = start + (size + 3) // 4 * 4


def _probe(note: bytes, base: int) -> Usdt:
    address, linked_base, semaphore = struct.unpack_from("<QQQ", note)
    # A tool that moves the binary (prelink) leaves the notes as they are; the section `base` moves along.
    moved = base - linked_base if base else 0
    namespace, name, arguments, *_ = (part.decode("utf-8", "surrogateescape") for part in note[24:].split(b"\0"))
    return Usdt(namespace, name, address + moved, semaphore + moved if semaphore else 0, arguments)
