"""Looking functions and tracepoints up by name in the kernel's type information: what a tracing program is attached to.

    with KernelTypes() as types:
        types.find("vfs_read", FUNCTION)                    -> Place(number=…, object=0)
        types.find("nf_tables_newtable", FUNCTION, "nf_tables")
        types.find_in_program(program_fd, "my_prog")

The kernel itself is asked first, then a module, if one is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import program_btf
from kubebpf.agent.libbpf.library import check, check_pointer, lib, messages

FUNCTION, TYPEDEF = 12, 8  # BTF_KIND_FUNC, BTF_KIND_TYPEDEF


@dataclass(frozen=True, slots=True)
class Place:
    """What a tracing program is loaded for.

    Args:
        number: of the type in its BTF.
        object: the descriptor of a module's BTF, owned by the KernelTypes; 0 for the kernel's.
        program: the descriptor of the BPF program that is traced, owned by whoever gave it; 0 for functions of the kernel.
    """

    number: int
    object: int = 0
    program: int = 0


class KernelTypes:
    """The kernel's BTF and that of the modules that were asked for, until the block's end.

    Args:
        path: a file with the kernel's BTF; None: as libbpf finds it. There are no modules beside a file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stack = ExitStack()
        self._modules: dict[str, tuple[Any, int] | None] = {}
        self._readable: dict[str, Any] = {}
        self._kernel: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def source(self) -> str:
        """What tells one kernel's BTF from another's; "" for that of the running kernel."""
        return f"{self._path}:{self._path.stat().st_mtime_ns}" if self._path else ""

    def close(self) -> None:
        """Release all BTF."""
        self._stack.close()
        self._modules.clear()
        self._readable.clear()
        self._kernel = None

    def find(self, name: str, kind: int, module: str = "") -> Place | None:
        """The place of a name in the kernel's BTF, or in a module's; None when neither has it.

        Raises:
            LibbpfError: the kernel has no BTF.
        """
        if (number := self._number(self._vmlinux(), name, kind)) > 0:
            return Place(number)
        found = self._module(module) if module else None
        if found and (number := self._number(found[0], name, kind)) > 0:
            return Place(number, found[1])
        return None

    def lookup(self, name: str, kind: int, module: str = "") -> tuple[Any, int] | None:
        """The BTF that has a name, and the number in it. The BTF lives until the block's end.

        Raises:
            LibbpfError: the kernel has no BTF.
        """
        if (number := self._number(self._vmlinux(), name, kind)) > 0:
            return self._vmlinux(), number
        found = self._module(module) if module else None
        if found and (number := self._number(found[0], name, kind)) > 0:
            return found[0], number
        return None

    def each(self) -> Iterator[Any]:
        """The kernel's BTF, and then that of each module which is loaded: only as far as it is asked for.

        Raises:
            LibbpfError: the kernel has no BTF.
        """
        yield self._vmlinux()
        for name in _modules() if self._path is None else ():
            if name not in self._readable:
                with messages():
                    self._readable[name] = lib().btf__load_module_btf(name.encode(), self._vmlinux())
                if self._readable[name] != ffi.NULL:
                    self._stack.callback(lib().btf__free, self._readable[name])
            if self._readable[name] != ffi.NULL:
                yield self._readable[name]

    def find_in_program(self, program: int, name: str) -> Place | None:
        """The place of a function of a BPF program, whose BTF says its full name.

        Raises:
            LibbpfError: the program has no BTF.
        """
        with messages() as said:
            btf = check_pointer(lib().btf__load_from_kernel_by_id(program_btf(program)), "btf__load_from_kernel_by_id", said)
        try:
            number = self._number(btf, name, FUNCTION)
            return Place(number, program=program) if number > 0 else None
        finally:
            lib().btf__free(btf)

    @staticmethod
    def _number(btf: Any, name: str, kind: int) -> int:
        return int(lib().btf__find_by_name_kind(btf, name.encode(), kind))

    def _vmlinux(self) -> Any:
        if self._kernel is None:
            with messages() as said:
                opened = lib().btf__parse(os.fsencode(self._path), ffi.NULL) if self._path else lib().btf__load_vmlinux_btf()
                self._kernel = check_pointer(opened, "btf__load_vmlinux_btf", said, str(self._path or ""))
            self._stack.callback(lib().btf__free, self._kernel)
        return self._kernel

    def _module(self, name: str) -> tuple[Any, int] | None:
        if name not in self._modules:
            self._modules[name] = self._open(name)
        return self._modules[name]

    def _open(self, name: str) -> tuple[Any, int] | None:
        with messages():
            btf = lib().btf__load_module_btf(name.encode(), self._vmlinux())
        if btf == ffi.NULL:
            return None
        self._stack.callback(lib().btf__free, btf)
        descriptor = _module_descriptor(name)
        if descriptor is None:
            return None
        self._stack.callback(os.close, descriptor)
        return btf, descriptor


def _modules() -> list[str]:
    try:
        return sorted(path.name for path in Path("/sys/kernel/btf").iterdir() if path.name != "vmlinux")
    except OSError:
        return []


def _module_descriptor(name: str) -> int | None:
    """A descriptor of a module's BTF in the kernel. Modules' BTF has no other handle than its number, so all are looked at."""
    number = ffi.new("__u32 *", 0)
    while lib().bpf_btf_get_next_id(number[0], number) == 0:
        with suppress(LibbpfError):  # it may have gone meanwhile
            descriptor = check(lib().bpf_btf_get_fd_by_id(number[0]), "bpf_btf_get_fd_by_id")
            if _btf_name(descriptor) == name:
                return descriptor
            os.close(descriptor)
    return None


def _btf_name(descriptor: int) -> str:
    buffer = ffi.new("char[]", 64)  # MODULE_NAME_LEN is 56 on 64-bit kernels
    address = int(ffi.cast("uintptr_t", buffer))
    info: Any = ffi.new("struct bpf_btf_info *", {"name": address, "name_len": 64})
    size = ffi.new("__u32 *", ffi.sizeof("struct bpf_btf_info"))
    if lib().bpf_obj_get_info_by_fd(descriptor, info, size) < 0 or not info.kernel_btf:
        return ""
    return text(buffer)
