"""Stacks and symbols: kstack, ustack, ksym, usym, func, username. The kernel keeps addresses, the node makes names of them.

    kstack(perf, 3)  ->  {u32 0, u32 0, u64 count, u64 address[3]} of the type kstack_perf_3
    ustack           ->  {u32 pid, u32 0, u64 count, u64 address[127]} of the type ustack_bpftrace_127

The frames lie in the value itself: two stacks are equal when all of their frames are, and none can be lost between the event and
the map that counts it (docs/design/2026-11-22-stacks.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin, Check, Emit
from kubebpf.compiler.builtins.shapes import call, gives, literal_integer, wrong_argument
from kubebpf.compiler.builtins.task import process_id
from kubebpf.compiler.complaints.probes import NoFunctionHere
from kubebpf.compiler.complaints.stacks import (
    BadStackLimit,
    BuildIdOfKernel,
    NoDwarfUnwinding,
    UnknownStackMode,
)
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.processes import announce
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.passes.members import find_field
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I64, U64, Field, Pointer, Resolved, Space, Struct

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

AddressSpace = tuple[Struct, Field]

MODES = ("bpftrace", "perf", "raw", "build_id")
DEFAULT_LIMIT = 127  # the default of the sysctl kernel.perf_event_max_stack
LARGEST_LIMIT = 1024
HEADER_BYTES = 16  # u32 pid, u32 0, u64 count
ADDRESS_BYTES, BUILD_ID_BYTES = 8, 32  # struct bpf_stack_build_id {s32 status, u8 id[20], u64 offset or address}
BPF_F_USER_STACK, BPF_F_USER_BUILD_ID = 1 << 8, 1 << 11
KSYM, USYM, USERNAME = Resolved("ksym", 8), Resolved("usym", 16), Resolved("username", 8)


# --- kstack, ustack ---------------------------------------------------------------------------------------------------


def _check_stack(t: Typing, node: tree.Call) -> typed.Expr:
    shape = _shape(t, node)
    if shape is None:
        return t.bad(node)
    mode, limit = shape
    if mode == "build_id" and node.name == "kstack":
        return t.bad(node, BuildIdOfKernel(span=node.span))
    named = node.name == "ustack" and mode in ("bpftrace", "perf")
    return call(t, node, stack_type(node.name, mode, limit), extra=_address_space(t) if named else None)


def _address_space(t: Typing) -> AddressSpace | None:
    """What tells the address spaces of processes apart; None where nobody is to keep the symbols of ended processes."""
    task = t.view.struct("task_struct")
    mm = find_field(task, "mm") if task and t.settings.cache_user_symbols != "NONE" else None
    return (task, mm) if task and mm else None


def _owner(code: Code, node: typed.Call) -> Operand:
    """The current process's id; the node is told when it is a new one."""
    pid = process_id(code)
    match node.extra:
        case (Struct() as task, Field() as mm):
            announce(code, pid, task, mm)
    return pid


def stack_type(kind: str, mode: str, limit: int) -> Resolved:
    """The type of a stack.

    Args:
        kind: kstack or ustack.
        mode: one of MODES.
        limit: the most frames.
    """
    frame = BUILD_ID_BYTES if mode == "build_id" else ADDRESS_BYTES
    return Resolved(kind, HEADER_BYTES + limit * frame, (mode, limit))


def _shape(t: Typing, node: tree.Call) -> tuple[str, int] | None:
    """Mode and limit of a call; None after a diagnostic."""
    mode, limit = t.settings.stack_mode, DEFAULT_LIMIT
    if mode == "build_id" and node.name == "kstack":
        mode = "bpftrace"  # the setting is about what can have build ids
    rest = list(range(len(node.arguments)))
    if rest and (len(rest) == 2 or isinstance(node.arguments[0], tree.Identifier)):
        named = _mode(t, node, node.arguments[rest.pop(0)])
        if named is None:
            return None
        mode = named
    if rest:
        given = literal_integer(t, node, rest[0])
        if given is None or not _possible(t, node, given):
            return None
        limit = given
    return mode, limit


def _mode(t: Typing, node: tree.Call, argument: tree.Expr | tree.TypeSyntax) -> str | None:
    if isinstance(argument, tree.Identifier) and argument.name in MODES:
        return argument.name
    found = f"'{argument.name}'" if isinstance(argument, tree.Identifier) else "a value"
    t.complain(UnknownStackMode(span=argument.span, name=node.name, found=found, modes=", ".join(MODES)))
    return None


def _possible(t: Typing, node: tree.Call, limit: int) -> bool:
    if 0 <= limit <= LARGEST_LIMIT:
        return True
    t.complain(BadStackLimit(span=node.span, name=node.name, found=limit, most=LARGEST_LIMIT))
    return False


def _emit_stack(code: Code, node: typed.Call) -> Operand:
    """The header and the frames, straight into the key, variable or event that wants them."""
    f, to = code.f, code.destination
    assert isinstance(node.type, Resolved)
    mode, limit = node.type.params
    user, frame = node.type.kind == "ustack", BUILD_ID_BYTES if mode == "build_id" else ADDRESS_BYTES
    f.store(_owner(code, node) if user else const(0), to, align=8)
    flags = BPF_F_USER_STACK * user | BPF_F_USER_BUILD_ID * (mode == "build_id")
    count = _captured(code, node, f.offset(to, HEADER_BYTES), int(limit) * frame, flags) if limit else const(0)
    f.store(f.binary("lshr", count, const(frame.bit_length() - 1)), f.offset(to, 8), align=8)
    return const(0)


def _captured(code: Code, node: typed.Call, to: Operand, size: int, flags: int) -> Operand:
    """Have the kernel write frames; gives their bytes.

    It clears what is behind them, and everything when it fails (__bpf_get_stack, kernel/bpf/stackmap.c)."""
    f = code.f
    taken = code.register()
    result = code.helper(Helper.GET_STACK, f.parameter, to, const(size, "i32"), const(flags))
    f.store(result, taken, align=8)
    failed, done = f.label("nostack"), f.label("stack")
    f.branch(f.compare("slt", result, const(0)), failed, done, likely=False)
    f.place(failed)
    f.store(const(0), taken, align=8)
    code.count_failure(code.module.site("stack", node.span, "get_stack"), result)
    f.place(done)
    return f.load("i64", taken, align=8)


def is_stack(t: object) -> bool:
    """Whether a type is that of a stack."""
    return isinstance(t, Resolved) and t.kind in ("kstack", "ustack")


def depth(code: Code, stack: typed.Expr) -> Operand:
    """The number of frames of a stack."""
    return code.load(I64, code.f.offset(code.address(stack), 8), align=8)


# --- ksym, usym, func -------------------------------------------------------------------------------------------------


def _symbol(result: Resolved) -> Check:
    def check(t: Typing, node: tree.Call) -> typed.Expr:
        value = t.value(node.arguments[0])
        if isinstance(value, typed.Bad):
            return value
        extra = _address_space(t) if result == USYM else None
        if isinstance(value.type, Pointer):
            return call(t, node, result, (value,), extra)
        if is_integer(value):
            return call(t, node, result, (convert(value, U64),), extra)
        return t.bad(node, wrong_argument(node, value, "int or pointer"))

    return check


def _check_func(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    provider = t.context.provider
    match provider.function:
        case Space.KERNEL:
            return call(t, node, KSYM)
        case Space.USER:
            return call(t, node, USYM, extra=_address_space(t))
    return t.bad(node, NoFunctionHere(span=node.span, provider=provider.name))


def _store_symbol(address: Emit) -> Emit:
    """Writes an address, and behind a user address whose it is."""

    def emit(code: Code, node: typed.Call) -> Operand:
        to = code.destination
        code.f.store(address(code, node), to, align=8)
        if node.type == USYM:
            code.f.store(_owner(code, node), code.f.offset(to, 8), align=8)
        return const(0)

    return emit


_emit_symbol = _store_symbol(lambda code, node: code.scalar(node.arguments[0]))
# The function's entry, which the kernel keeps also where the probe is elsewhere in it, or at its return.
_emit_func = _store_symbol(lambda code, node: code.helper(Helper.GET_FUNC_IP, code.f.parameter))


# --- username, dw_ustack ----------------------------------------------------------------------------------------------


def _emit_username(code: Code, node: typed.Call) -> Operand:
    to = code.destination
    code.f.store(code.low(code.helper(Helper.GET_CURRENT_UID_GID), 32), to, align=8)
    return const(0)


def _check_dwarf(t: Typing, node: tree.Call) -> typed.Expr:
    hint = "Use ustack, with binaries that keep frame pointers (-fno-omit-frame-pointer)."
    return t.bad(node, NoDwarfUnwinding(span=node.span, help=(hint,)))


ALL = (
    Builtin("kstack", _check_stack, _emit_stack, bare=True, takes=(0, 2), reads_current=True),
    Builtin("ustack", _check_stack, _emit_stack, bare=True, takes=(0, 2), reads_current=True),
    Builtin("dw_ustack", _check_dwarf, bare=True, takes=(0, 2)),
    Builtin("ksym", _symbol(KSYM), _emit_symbol, takes=(1, 1)),
    Builtin("usym", _symbol(USYM), _emit_symbol, takes=(1, 1), reads_current=True),
    Builtin("func", _check_func, _emit_func, bare=True),
    Builtin("username", gives(USERNAME), _emit_username, bare=True, reads_current=True),
)
