"""The smallest programs there are, to try out what this kernel does: loaded, attached, and gone at the end of the block.

with trial_program(KPROBE) as program:
    attach_to_event(program, event)                             # LibbpfError when the kernel refuses
lacks_helper(RAW_TRACEPOINT, LOOP)                              -> "" or what the verifier says
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import check, failure, lib, messages
from kubebpf.agent.libbpf.types import Place
from kubebpf.agent.libbpf.verifier import shorten

# enum bpf_prog_type, enum bpf_attach_type and enum bpf_map_type
KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, TRACING = 2, 5, 7, 17, 26
RAW_TP, FENTRY, ITER, PERF_EVENT_LINK, KPROBE_MULTI = 23, 24, 28, 41, 42
RING_BUFFER = 27

Code = Sequence[tuple[int, int, int]]  # opcode, destination register, immediate

_MOVE, _SHIFT_RIGHT, _CALL, _EXIT = 0xB7, 0x77, 0x85, 0x95
_SET_BPF = 0x40042408  # PERF_EVENT_IOC_SET_BPF
_LOG_BYTES = 1 << 14
_CURRENT_CGROUP_ID = 80  # enum bpf_func_id
# What the verifier has said, over the years, of a helper that it does not have, or not for this kind of program.
_UNKNOWN = ("unknown func", "invalid func", "cannot use helper")

NOTHING: Code = ((_MOVE, 0, 0), (_EXIT, 0, 0))


@contextmanager
def trial_program(kind: int, attach_type: int = 0, place: Place | None = None, code: Code = NOTHING) -> Iterator[int]:
    """A program in the kernel, as its descriptor.

    Args:
        kind: enum bpf_prog_type.
        attach_type: enum bpf_attach_type, where the kind has several.
        place: what a tracing program is loaded for.
        code: its instructions.

    Raises:
        LibbpfError: the kernel refused it; `telling` is the verifier's line, `log` all that it said.
    """
    rows = [{"code": opcode, "registers": register, "imm": immediate} for opcode, register, immediate in code]
    log = ffi.new("char[]", _LOG_BYTES)
    fields = {"sz": ffi.sizeof("struct bpf_prog_load_opts"), "expected_attach_type": attach_type}
    if place is not None:
        fields |= {"attach_btf_id": place.number, "attach_btf_obj_fd": place.object}
    options: Any = ffi.new("struct bpf_prog_load_opts *", fields)
    options.log_buf, options.log_size, options.log_level = log, _LOG_BYTES, 1
    with messages():
        loaded = int(lib().bpf_prog_load(kind, b"kb_trial", b"GPL", ffi.new("struct bpf_insn[]", rows), len(rows), options))
    if loaded < 0:
        said = text(log)
        raise LibbpfError(-loaded, "bpf_prog_load", said, "", shorten(said).message if said.strip() else "")
    try:
        yield loaded
    finally:
        os.close(loaded)


def lacks_helper(kind: int, helper: int) -> str:
    """Whether programs of a kind may call a helper: "", or what the verifier says.

    The call gets the context and zeros, which most helpers do not take; only what is said of the helper itself counts.

    Args:
        kind: enum bpf_prog_type.
        helper: enum bpf_func_id.
    """
    zeros = [(_MOVE, register, 0) for register in range(2, 6)]
    try:
        with trial_program(kind, code=[*zeros, (_CALL, 0, helper), *NOTHING]):
            return ""
    except LibbpfError as error:
        return error.telling if any(words in error.log for words in _UNKNOWN) else ""


def attach_to_event(program: int, event: int) -> None:
    """Set a program on a perf event; it goes with the event.

    Raises:
        LibbpfError: the kernel refuses.
    """
    try:
        fcntl.ioctl(event, _SET_BPF, program)
    except OSError as error:
        raise LibbpfError(error.errno or errno.EINVAL, "PERF_EVENT_IOC_SET_BPF") from error


def link_to_event(program: int, event: int) -> None:
    """The same by a link, which can be pinned (Linux 5.15).

    Raises:
        LibbpfError: the kernel refuses.
    """
    _closed(lib().bpf_link_create(program, event, PERF_EVENT_LINK, ffi.NULL), "bpf_link_create")


def link_tracing(program: int, attach_type: int) -> None:
    """Attach a tracing program to what it was loaded for, and detach it.

    Raises:
        LibbpfError: the kernel refuses.
    """
    _closed(lib().bpf_link_create(program, 0, attach_type, ffi.NULL), "bpf_link_create")


def link_kprobes(program: int, function: str) -> None:
    """Attach to functions by one link, and detach (Linux 5.18).

    Raises:
        LibbpfError: the kernel refuses.
    """
    name = ffi.new("char[]", function.encode())
    names = ffi.new("const char *[]", [name])
    options: Any = ffi.new("struct bpf_link_create_opts *", {"sz": ffi.sizeof("struct bpf_link_create_opts")})
    options.kprobe_multi.syms, options.kprobe_multi.cnt = names, 1
    _closed(lib().bpf_link_create(program, 0, KPROBE_MULTI, options), "bpf_link_create")


def make_ring_buffer() -> None:
    """Make a ring buffer of one page, and release it.

    Raises:
        LibbpfError: the kernel has none (before Linux 5.8).
    """
    with messages():
        _closed(lib().bpf_map_create(RING_BUFFER, b"kb_trial", 0, 0, os.sysconf("SC_PAGE_SIZE"), ffi.NULL), "bpf_map_create")


def own_cgroup_id() -> int:
    """The cgroup v2 id of this process as programs see it.

    Raises:
        LibbpfError: the kernel runs no such program here (BPF_PROG_TEST_RUN of raw_tp, Linux 5.10).
    """
    low = ((_CALL, 0, _CURRENT_CGROUP_ID), (_EXIT, 0, 0))
    high = (low[0], (_SHIFT_RIGHT, 0, 32), low[1])
    return _run(low) | _run(high) << 32


def _run(code: Code) -> int:
    with trial_program(RAW_TRACEPOINT, code=code) as program:
        options: Any = ffi.new("struct bpf_test_run_opts *", {"sz": ffi.sizeof("struct bpf_test_run_opts")})
        check(lib().bpf_prog_test_run_opts(program, options), "bpf_prog_test_run_opts")
        return int(options.retval)


def _closed(descriptor: int, call: str) -> None:
    if descriptor < 0:
        raise failure(-descriptor, call)
    with suppress(OSError):
        os.close(descriptor)
