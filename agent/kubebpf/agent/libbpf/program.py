"""A BPF program of an open or loaded object, and the ways to attach it.

Each attach call gives a Link. The cookie is a number that the program reads with bpf_get_attach_cookie (Linux 5.15; in fentry and
fexit programs 5.19, in raw_tp and tp_btf programs 6.10).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.info import ProgramInfo, program_info
from kubebpf.agent.libbpf.library import check, check_pointer, lib, messages
from kubebpf.agent.libbpf.link import DescriptorLink, Link, PerfLink
from kubebpf.agent.libbpf.pins import pin
from kubebpf.agent.libbpf.syscalls import UPROBE_MULTI, has_uprobe_multi, raw_tracepoint_open, uprobe_multi_link

_PACKET = 64  # bytes of the packet that measured programs are given; the kernel wants an Ethernet header at least
KPROBE_MULTI = 42  # BPF_TRACE_KPROBE_MULTI, enum bpf_attach_type


@dataclass(frozen=True, slots=True)
class Uprobe:
    """Where a user program is probed.

    Args:
        path: the file, as this process sees it.
        offset: in the file, in bytes; with a function, from its start.
        function: the symbol's name; libbpf finds it. "" when `offset` says all.
        returns: fire when the function returns.
        pid: only in this process; -1 for all.
        cookie: for the program.
        semaphore: the file offset of a USDT semaphore; 0 for none.
    """

    path: str
    offset: int = 0
    function: str = ""
    returns: bool = False
    pid: int = -1
    cookie: int = 0
    semaphore: int = 0


class Runnable:
    """A program in the kernel, whoever holds it: what can be asked of it, and done with it, by its descriptor."""

    name: str

    @property
    def fd(self) -> int:
        """Its descriptor."""
        raise NotImplementedError

    @property
    def info(self) -> ProgramInfo:
        """What the kernel tells about it."""
        return program_info(self.fd)

    @property
    def autoload(self) -> bool:
        """Whether it is in the kernel, or will be."""
        return True

    def run(self, context: bytes = b"") -> int:
        """Run a raw_tp program once, here and now (BPF_PROG_TEST_RUN, Linux 5.10).

        Args:
            context: its arguments, u64 each.

        Returns:
            what it returned.

        Raises:
            LibbpfError: not of a type that runs so.
        """
        buffer = ffi.from_buffer(context) if context else ffi.NULL
        fields = {"sz": ffi.sizeof("struct bpf_test_run_opts"), "ctx_in": buffer, "ctx_size_in": len(context)}
        options: Any = ffi.new("struct bpf_test_run_opts *", fields)
        check(lib().bpf_prog_test_run_opts(self.fd, options), "bpf_prog_test_run_opts", subject=self.name)
        return int(options.retval)

    def measure(self, rounds: int) -> int:
        """Run an XDP program many times on an empty packet, here and now.

        Returns:
            how long one run takes on average, in nanoseconds.

        Raises:
            LibbpfError: not of a type that runs so.
        """
        packet = ffi.new("char[]", _PACKET)
        fields = {"sz": ffi.sizeof("struct bpf_test_run_opts"), "data_in": packet, "data_size_in": _PACKET, "repeat": rounds}
        options: Any = ffi.new("struct bpf_test_run_opts *", fields)
        check(lib().bpf_prog_test_run_opts(self.fd, options), "bpf_prog_test_run_opts", subject=self.name)
        return int(options.duration)

    def attach_uprobes(self, places: Sequence[Uprobe]) -> Link:
        """Run at many places of one file, by one link.

        Args:
            places: with offsets and without functions; file, process and kind are those of the first.

        Raises:
            LibbpfError: the file cannot be read, or an offset is no instruction; it is attached to none then.
        """
        first = places[0]
        rows = [(place.offset, place.semaphore, place.cookie) for place in places]
        return DescriptorLink(uprobe_multi_link(self.fd, first.path, rows, first.returns, max(first.pid, 0), self.name))

    def pin(self, path: Path) -> None:
        """Keep the program beyond this process, as a file in a bpffs.

        Raises:
            LibbpfError: it exists, or is no place in a bpffs.
        """
        pin(self.fd, path)


class PinnedProgram(Runnable):
    """A program taken up from its pin; whoever opened it closes it."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self.name = fd, name
        self.for_uprobes = has_uprobe_multi()  # as it was loaded by the process that pinned it

    @property
    def fd(self) -> int:
        """Its descriptor, owned by this."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor; pins and links hold the program on."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Program(Runnable):
    """One program of an object. It lives as long as its object."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self.name = text(lib().bpf_program__name(pointer))
        self.for_uprobes = False  # loaded for attach_uprobes
        self.section = text(lib().bpf_program__section_name(pointer))

    @property
    def type(self) -> int:
        """enum bpf_prog_type."""
        return int(lib().bpf_program__type(self._pointer))

    @property
    def attach_type(self) -> int:
        """enum bpf_attach_type that it is loaded for."""
        return int(lib().bpf_program__expected_attach_type(self._pointer))

    @attach_type.setter
    def attach_type(self, wanted: int) -> None:
        check(lib().bpf_program__set_expected_attach_type(self._pointer, wanted), "set_expected_attach_type", subject=self.name)

    def become(self, type: int, attach_type: int) -> None:
        """Be loaded as a program of another type than its section says.

        Args:
            type: enum bpf_prog_type.
            attach_type: enum bpf_attach_type.

        Raises:
            LibbpfError: it is loaded already.
        """
        check(lib().bpf_program__set_type(self._pointer, type), "bpf_program__set_type", subject=self.name)
        self.attach_type = attach_type

    def set_target(self, name: str, program: int = 0) -> None:
        """Say what a tracing program is loaded for.

        Args:
            name: of the function or tracepoint.
            program: a descriptor of the BPF program that has the function, which stays the caller's; 0 for the kernel and its
                modules.

        Raises:
            LibbpfError: there is no such thing in BTF, or the program is loaded already.
        """
        if program:  # libbpf notes the number alone, until the load
            program = os.dup(program)
            weakref.finalize(self, os.close, program)
        with messages() as said:
            result = lib().bpf_program__set_attach_target(self._pointer, program, name.encode())
            check(result, "bpf_program__set_attach_target", said, name)

    @property
    def instructions(self) -> tuple[Any, int]:
        """What was loaded: a C array, owned by the object, and its length."""
        return lib().bpf_program__insns(self._pointer), int(lib().bpf_program__insn_cnt(self._pointer))

    @property
    def fd(self) -> int:
        """Its descriptor, owned by the object.

        Raises:
            LibbpfError: it is not loaded.
        """
        return check(lib().bpf_program__fd(self._pointer), "bpf_program__fd", subject=self.name)

    @property
    def autoload(self) -> bool:
        """Whether the object's load takes it along."""
        return bool(lib().bpf_program__autoload(self._pointer))

    @autoload.setter
    def autoload(self, wanted: bool) -> None:
        check(lib().bpf_program__set_autoload(self._pointer, wanted), "bpf_program__set_autoload", subject=self.name)

    def attach_perf_event(self, fd: int, cookie: int = 0) -> Link:
        """Run at each overflow of a perf event, or at each hit of a tracepoint's or uprobe's event.

        Args:
            fd: from open_perf_event. The link owns it from here on; when this fails, it is closed.
            cookie: for the program.

        Raises:
            LibbpfError: it cannot be attached.
        """
        options = ffi.new("struct bpf_perf_event_opts *", {"sz": ffi.sizeof("struct bpf_perf_event_opts"), "bpf_cookie": cookie})
        with ExitStack() as opened:
            opened.callback(os.close, fd)
            event = os.dup(fd)
            opened.callback(os.close, event)
            link = PerfLink(self._attached("bpf_program__attach_perf_event_opts", fd, options), event, fd)
            opened.pop_all()  # both descriptors are the link's now
            return link

    def attach_tracepoint(self, category: str, event: str, cookie: int = 0) -> Link:
        """Run at a tracepoint of tracefs.

        Raises:
            LibbpfError: ENOENT when there is none of this name.
        """
        options = ffi.new("struct bpf_tracepoint_opts *", {"sz": ffi.sizeof("struct bpf_tracepoint_opts"), "bpf_cookie": cookie})
        return self._attach("bpf_program__attach_tracepoint_opts", category.encode(), event.encode(), options)

    def attach_trace(self, cookie: int = 0) -> Link:
        """Run at the place that the program was loaded for (fentry, fexit).

        Raises:
            LibbpfError: it cannot be attached.
        """
        options = ffi.new("struct bpf_trace_opts *", {"sz": ffi.sizeof("struct bpf_trace_opts"), "cookie": cookie})
        return self._attach("bpf_program__attach_trace_opts", options)

    def attach_raw_tracepoint(self, event: str = "", cookie: int = 0) -> Link:
        """Run at a raw tracepoint.

        Args:
            event: its name; "" for a tp_btf program, which was loaded for one.
            cookie: for the program; kernels before 6.10 leave it out.

        Raises:
            LibbpfError: there is none of this name.
        """
        return DescriptorLink(raw_tracepoint_open(self.fd, event, cookie, self.name))

    def attach_iter(self) -> Link:
        """Make an iterator of which readers can be opened.

        Raises:
            LibbpfError: it cannot be attached.
        """
        return self._attach("bpf_program__attach_iter", ffi.NULL)

    def attach_kprobes(self, functions: Sequence[str], cookies: Sequence[int], returns: bool = False) -> Link:
        """Run at many kernel functions, by one link (Linux 5.18). The program was loaded for BPF_TRACE_KPROBE_MULTI.

        Raises:
            LibbpfError: one of them is not there or cannot be traced, or the kernel has no such links.
        """
        names = [ffi.new("char[]", name.encode()) for name in functions]
        options: Any = ffi.new("struct bpf_link_create_opts *", {"sz": ffi.sizeof("struct bpf_link_create_opts")})
        symbols, numbers = ffi.new("const char *[]", names), ffi.new("__u64[]", list(cookies))
        multi = options.kprobe_multi
        multi.flags, multi.cnt, multi.syms, multi.cookies = int(returns), len(names), symbols, numbers
        link = lib().bpf_link_create(self.fd, 0, KPROBE_MULTI, options)
        return DescriptorLink(check(int(link), "bpf_link_create", subject=f"{len(names)} functions"))

    def attach_kprobe(self, function: str, offset: int = 0, returns: bool = False, cookie: int = 0) -> Link:
        """Run at a kernel function.

        Raises:
            LibbpfError: there is none of this name, or it cannot be probed.
        """
        fields = {"sz": ffi.sizeof("struct bpf_kprobe_opts"), "bpf_cookie": cookie, "offset": offset, "retprobe": returns}
        return self._attach("bpf_program__attach_kprobe_opts", function.encode(), ffi.new("struct bpf_kprobe_opts *", fields))

    def attach_uprobe(self, place: Uprobe) -> Link:
        """Run at a user program's instruction, or at a function's return.

        Raises:
            LibbpfError: the file cannot be read, has no such function, or the offset is no instruction.
        """
        function = ffi.new("char[]", place.function.encode()) if place.function else ffi.NULL
        fields = {
            "sz": ffi.sizeof("struct bpf_uprobe_opts"),
            "ref_ctr_offset": place.semaphore,
            "bpf_cookie": place.cookie,
            "retprobe": place.returns,
            "func_name": function,
        }
        options = ffi.new("struct bpf_uprobe_opts *", fields)
        return self._attach("bpf_program__attach_uprobe_opts", place.pid, os.fsencode(place.path), place.offset, options)

    def load_for_uprobes(self) -> None:
        """Before the load: have it loaded for attach_uprobes, and for nothing else; see has_uprobe_multi."""
        call = "bpf_program__set_expected_attach_type"
        check(lib().bpf_program__set_expected_attach_type(self._pointer, UPROBE_MULTI), call, subject=self.name)
        self.for_uprobes = True

    def _attach(self, call: str, *arguments: Any) -> Link:
        return Link(self._attached(call, *arguments))

    def _attached(self, call: str, *arguments: Any) -> Any:
        with messages() as said:
            return check_pointer(getattr(lib(), call)(self._pointer, *arguments), call, said, self.name)
