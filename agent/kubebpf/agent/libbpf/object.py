"""A BPF object: opened from ELF bytes, changed while open, loaded, closed.

    with open_object(elf, "slow-reads") as obj:
        obj.initial_value(".rodata.kb")[0:8] = (2).to_bytes(8, "little")
        obj.load()
        with obj.programs["probe_0"].attach_tracepoint("sched", "sched_switch") as link:
            …

Descriptors and memory belong to the object and go with it; links are closed before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.library import Messages, check, check_pointer, failure, lib, messages
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.libbpf.program import Program
from kubebpf.agent.libbpf.verifier import refused, unresolved

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, include/uapi/linux/bpf.h


@dataclass(frozen=True, slots=True)
class MapShape:
    """A map before the load: enum bpf_map_type, sizes in bytes, and whether its memory is taken at the load."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    preallocated: bool


class BpfObject:
    """An object that is open; `load` brings it into the kernel."""

    def __init__(self, pointer: Any, name: str) -> None:
        self._pointer, self.name = pointer, name
        self.loaded = False
        self.programs = {program.name: program for program in map(Program, self._each("bpf_object__next_program"))}
        self._maps = {text(lib().bpf_map__name(m)): m for m in self._each("bpf_object__next_map")}

    @property
    def map_names(self) -> tuple[str, ...]:
        """The names of its maps, in the order of the object; data sections are maps too."""
        return tuple(self._maps)

    @property
    def to_be_loaded(self) -> set[str]:
        """The names of the programs that `load` loads."""
        return {name for name, program in self.programs.items() if program.autoload}

    def initial_value(self, name: str) -> memoryview:
        """The bytes that a data section's map starts with, to be written in place before `load`.

        Args:
            name: of the map: `.rodata.kb`.

        Raises:
            KeyError: there is no such map, or it is not a data section.
        """
        size = ffi.new("size_t *")
        start = lib().bpf_map__initial_value(self._maps[name], size)
        if start == ffi.NULL:
            raise KeyError(f"{name} has no initial value")
        return memoryview(ffi.buffer(start, size[0]))

    def shapes(self) -> dict[str, MapShape]:
        """What its maps are to be."""
        return {name: _shape(pointer) for name, pointer in self._maps.items()}

    def set_max_entries(self, name: str, entries: int) -> None:
        """Resize a map before `load`; of a ring buffer, in bytes: a power of two and whole pages.

        Raises:
            KeyError: there is no such map.
            LibbpfError: the object is loaded already.
        """
        check(lib().bpf_map__set_max_entries(self._maps[name], entries), "bpf_map__set_max_entries", subject=name)

    def preallocate(self, name: str) -> None:
        """Have a hash map's memory taken at the load, whatever the object says, so that making a key cannot fail for want of it.

        Raises:
            KeyError: there is no such map.
            LibbpfError: the object is loaded already.
        """
        flags = lib().bpf_map__map_flags(self._maps[name]) & ~NO_PREALLOC
        check(lib().bpf_map__set_map_flags(self._maps[name], flags), "bpf_map__set_map_flags", subject=name)

    def load(self) -> Messages:
        """Make the maps, relocate and verify the programs.

        Returns:
            what libbpf said.

        Raises:
            VerifierError: the kernel refused a program, or lacks a field that one reads.
            SymbolError: it lacks a function or variable.
            LibbpfError: anything else.
        """
        with messages() as said:
            result = int(lib().bpf_object__load(self._pointer))
        if result < 0:
            told = refused(-result, said.text) or unresolved(-result, said.text)
            raise told or failure(-result, "bpf_object__load", said, self.name)
        self.loaded = True
        return said

    @cached_property
    def maps(self) -> dict[str, BpfMap]:
        """The maps of the loaded object."""
        if not self.loaded:
            raise ValueError(f"{self.name} is not loaded")
        return {name: BpfMap(int(lib().bpf_map__fd(pointer)), name) for name, pointer in self._maps.items()}

    def pin_map(self, name: str, path: Path) -> None:
        """Keep a map beyond this process, as a file in a bpffs.

        Raises:
            KeyError: there is no such map.
            LibbpfError: the file exists, or is no place in a bpffs.
        """
        with messages() as said:
            check(lib().bpf_map__pin(self._maps[name], str(path).encode()), "bpf_map__pin", said, str(path))

    def _each(self, function: str) -> Iterator[Any]:
        item = getattr(lib(), function)(self._pointer, ffi.NULL)
        while item != ffi.NULL:
            yield item
            item = getattr(lib(), function)(self._pointer, item)


def _shape(pointer: Any) -> MapShape:
    library = lib()
    return MapShape(
        int(library.bpf_map__type(pointer)),
        int(library.bpf_map__key_size(pointer)),
        int(library.bpf_map__value_size(pointer)),
        int(library.bpf_map__max_entries(pointer)),
        not int(library.bpf_map__map_flags(pointer)) & NO_PREALLOC,
    )


@contextmanager
def open_object(elf: bytes, name: str = "kubebpf", btf: Path | None = None) -> Iterator[BpfObject]:
    """Open an object; it is closed, and unloaded, at the end of the block.

    Args:
        elf: the object file.
        name: what libbpf calls it in its messages and, cut, in the names of data section maps.
        btf: the kernel's type information for CO-RE, where /sys/kernel/btf/vmlinux is not there.

    Raises:
        LibbpfMissingError: libbpf is not installed.
        LibbpfError: the bytes are no BPF object.
    """
    label = ffi.new("char[]", name.encode())
    path = ffi.new("char[]", str(btf).encode()) if btf else ffi.NULL
    fields = {"sz": ffi.sizeof("struct bpf_object_open_opts"), "object_name": label, "btf_custom_path": path}
    options = ffi.new("struct bpf_object_open_opts *", fields)
    data = ffi.from_buffer(elf)
    with messages() as said:
        pointer = check_pointer(lib().bpf_object__open_mem(data, len(elf), options), "bpf_object__open_mem", said, name)
    try:
        yield BpfObject(pointer, name)
    finally:
        lib().bpf_object__close(pointer)


def has_kernel_type(name: str, attach_type: int) -> bool:
    """Whether the kernel's BTF has the target of a tracing program.

    Args:
        name: of the event or function.
        attach_type: enum bpf_attach_type: 23 for tp_btf (BPF_TRACE_RAW_TP), 24 fentry, 25 fexit.
    """
    with messages():
        return bool(lib().libbpf_find_vmlinux_btf_id(name.encode(), attach_type) > 0)
