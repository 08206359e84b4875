"""Whether the verifier lets a kind of program call a function of the kernel: it is asked, with a program that does nothing else.

kfunc_allowed("kprobe", "bpf_rcu_read_lock")    -> True
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.library import lib, messages
from kubebpf.agent.libbpf.types import FUNCTION, TYPEDEF, KernelTypes

# What libbpf makes of our section names: enum bpf_prog_type.
_TYPES = {"kprobe": 2, "kretprobe": 2, "uprobe": 2, "uretprobe": 2, "tracepoint": 5, "perf_event": 7, "raw_tp": 17}
_TRACING, _RAW_TP = 26, 23  # BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP
_ANY_EVENT = "btf_trace_sched_switch"  # a tracing program is loaded for something
_LOG_BYTES = 1 << 14
_MOVE, _CALL, _EXIT = 0xB7, 0x85, 0x95
_KFUNC = 2 << 4  # BPF_PSEUDO_KFUNC_CALL as the source register


@cache
def kfunc_allowed(section: str, name: str) -> bool:
    """Whether programs of a section may call a function.

    The program passes zeros, which many functions do not take; only what the verifier says of the call itself counts.

    Args:
        section: of the program, up to a slash: `kprobe`, `fentry`, `tp_btf`.
        name: of the function.
    """
    with KernelTypes() as types, messages():
        place, event = types.find(name, FUNCTION), types.find(_ANY_EVENT, TYPEDEF)
        if place is None:
            return False
        kind = _TYPES.get(section, _TRACING)
        code = [(_MOVE, register, 0) for register in range(6)] + [(_CALL, _KFUNC, place.number), (_MOVE, 0, 0), (_EXIT, 0, 0)]
        instructions = ffi.new("struct bpf_insn[]", [{"code": c, "registers": r, "imm": i} for c, r, i in code])
        log = ffi.new("char[]", _LOG_BYTES)
        options: Any = ffi.new("struct bpf_prog_load_opts *", {"sz": ffi.sizeof("struct bpf_prog_load_opts")})
        options.log_buf, options.log_size, options.log_level = log, _LOG_BYTES, 1
        if kind == _TRACING and event:
            options.expected_attach_type, options.attach_btf_id = _RAW_TP, event.number
        loaded = int(lib().bpf_prog_load(kind, b"kubebpf_ask", b"GPL", instructions, len(code), options))
    if loaded >= 0:
        os.close(loaded)
        return True
    said = text(log)
    return bool(said) and "is not allowed" not in said and "not supported" not in said
