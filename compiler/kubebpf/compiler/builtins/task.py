"""Who and where: the current task, its user, the CPU, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, gives, integer, literal_string
from kubebpf.compiler.complaints.helpers import BadMode
from kubebpf.compiler.complaints.typing import UnknownType, WrongProbe
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.emit.registers import register_offset
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.passes.members import find_field
from kubebpf.compiler.probes.functions import saved_registers
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, CLOCK, I32, U8, U32, U64, VOID, Int, Pointer, Space, String

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

TASK_COMM_LEN = 16
NAME_BYTES = 64  # of comm(pid), as upstream
# Initial namespaces have numbers of their own below this, pid's is 0xEFFFFFFC (PROC_DYNAMIC_FIRST, fs/proc/generic.c).
FIRST_NAMESPACE = 0xF0000000
PIDNS_INFO_BYTES = 8  # struct bpf_pidns_info {u32 pid, u32 tgid}
CGROUP = Int(64, False, "cgroup")


# --- pid, tid ---------------------------------------------------------------------------------------------------------


def _check_pid(t: Typing, node: tree.Call) -> typed.Expr:
    mode = _mode(t, node, ("curr_ns", "init"))
    return t.bad(node) if mode is None else call(t, node, U32, extra=mode or "curr_ns")


def _mode(t: Typing, node: tree.Call, modes: tuple[str, ...]) -> str | None:
    """The mode that a call names, "" when it names none, None after a diagnostic."""
    if not node.arguments:
        return ""
    argument = node.arguments[0]
    if isinstance(argument, tree.Identifier) and argument.name in modes:
        return argument.name
    found = argument.name if isinstance(argument, tree.Identifier) else "an expression"
    what = "timestamp mode" if node.name == "nsecs" else "PID namespace mode"
    t.complain(BadMode(span=argument.span, what=what, found=found, wanted=", ".join(modes)))
    return None


def _pid_tgid(code: Code, mode: object) -> tuple[Operand, Operand]:
    """(thread id, process id) in the tracer's pid namespace. Where that is the initial one, the verifier drops the other
    branch."""
    f = code.f
    if mode == "init" or code.module.options.initial_pids:
        return _split(code, code.helper(Helper.GET_CURRENT_PID_TGID))
    tid, tgid = code.register(), code.register()
    namespace = code.load_constant("pidns_ino")
    plain, inner, done = f.label("hostpid"), f.label("nspid"), f.label("pid")
    # One comparison: of two, the verifier leaves one standing, because either leads to both sides.
    number = f.cast("trunc", namespace, "i32")
    f.branch(f.compare("ult", number, const(FIRST_NAMESPACE - (1 << 32), "i32")), plain, inner)
    f.place(plain)
    host_tid, host_tgid = _split(code, code.helper(Helper.GET_CURRENT_PID_TGID))
    f.store(host_tid, tid, align=8)
    f.store(host_tgid, tgid, align=8)
    f.jump(done)
    f.place(inner)
    info = code.slot("pidns", PIDNS_INFO_BYTES)
    code.helper(Helper.GET_NS_CURRENT_PID_TGID, code.load_constant("pidns_dev"), namespace, info, const(PIDNS_INFO_BYTES, "i32"))
    f.store(code.load(U32, info, align=4), tid, align=8)
    f.store(code.load(U32, f.offset(info, 4), align=4), tgid, align=8)
    f.place(done)
    return f.load("i64", tid, align=8), f.load("i64", tgid, align=8)


def _split(code: Code, both: Operand) -> tuple[Operand, Operand]:
    return code.low(both, 32), code.shift_right(both, 32)


def _emit_pid(code: Code, node: typed.Call) -> Operand:
    return _pid_tgid(code, node.extra)[1]


def process_id(code: Code) -> Operand:
    """The current process's id as the tracer sees it: a directory of its /proc."""
    return _pid_tgid(code, "curr_ns")[1]


def _emit_tid(code: Code, node: typed.Call) -> Operand:
    return _pid_tgid(code, node.extra)[0]


# --- comm -------------------------------------------------------------------------------------------------------------


def _check_comm(t: Typing, node: tree.Call) -> typed.Expr:
    """The current task's name, or that of the process with a pid."""
    if not node.arguments:
        return call(t, node, String(TASK_COMM_LEN))
    pid = integer(t, node, 0)
    task = t.view.struct("task_struct")
    name = task and find_field(task, "comm")
    if isinstance(pid, typed.Bad) or task is None or name is None:
        return pid if isinstance(pid, typed.Bad) else t.bad(node, UnknownType(span=node.span, name="struct task_struct"))
    return call(t, node, String(NAME_BYTES), (convert(pid, I32),), (task, name))


def _emit_comm(code: Code, node: typed.Call) -> Operand:
    if node.arguments:
        return _emit_comm_of(code, node)
    code.helper(Helper.GET_CURRENT_COMM, code.destination, const(TASK_COMM_LEN, "i32"))
    return const(0)


def _emit_comm_of(code: Code, node: typed.Call) -> Operand:
    """Only some kernels, and these only in some probes, let programs look a process up: where that is not so the kernel refuses
    the program when it is loaded."""
    assert isinstance(node.extra, tuple)
    f, to = code.f, code.destination
    task, name = node.extra
    pointer = Pointer(task, Space.KERNEL)
    find = code.module.kernel_function("bpf_task_from_pid", pointer, I32)
    release = code.module.kernel_function("bpf_task_release", VOID, pointer)
    code.zero(to, NAME_BYTES)
    pid = f.cast("trunc", code.scalar(node.arguments[0]), "i32")
    found = f.value(f"call ptr {find}({pid})", "ptr")
    there, done = f.label("there"), f.label("named")
    f.branch(f.compare("ne", found, NULL), there, done)
    f.place(there)
    code.read_string(Space.KERNEL, to, TASK_COMM_LEN, code.module.relocations.member(f, found, task, name), padded=False)
    f.do(f"call void {release}({found})")
    f.place(done)
    return const(0)


# --- user mode --------------------------------------------------------------------------------------------------------

PRIVILEGE = 3  # of the code segment on x86: the ring; 3 is user mode
ARM_LEVEL = 0xF  # of the processor state: the exception level; 0 is user mode
OWN = frozenset(("begin", "end", "self", "test", "bench"))  # run by the tracer itself


def _check_usermode(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    provider = t.context.provider
    if provider.name in OWN:
        return typed.Constant(span=node.span, type=U8, value=1)
    if provider.context is not saved_registers:
        return t.bad(node, WrongProbe(span=node.span, name="usermode", provider=provider.name))
    return call(t, node, U8)


def _emit_usermode(code: Code, node: typed.Call) -> Operand:
    """What the interrupted code was allowed to do, as the processor saved it."""
    f = code.f
    arch = code.module.arch
    register, mask, user = ("cs", PRIVILEGE, PRIVILEGE) if arch == "x86_64" else ("pstate", ARM_LEVEL, 0)
    offset = register_offset(arch, register)
    assert offset is not None
    state = f.load("i64", f.offset(f.parameter, offset), align=8)
    return f.cast("zext", f.compare("eq", f.binary("and", state, const(mask)), const(user)), "i64")


# --- cgroupid ---------------------------------------------------------------------------------------------------------


def _check_cgroupid(t: Typing, node: tree.Call) -> typed.Expr:
    """Each node has an id of its own for a path."""
    path = literal_string(t, node, 0)
    return t.bad(node) if path is None else typed.LoadTime(span=node.span, type=CGROUP, kind="cgroupid", arg=path)


# --- the clock --------------------------------------------------------------------------------------------------------

# sw_tai approximates TAI for kernels whose programs cannot ask for it, which are older than 6.1: here it is the clock itself.
CLOCKS = {
    "boot": Helper.KTIME_GET_BOOT_NS,
    "monotonic": Helper.KTIME_GET_NS,
    "tai": Helper.KTIME_GET_TAI_NS,
    "sw_tai": Helper.KTIME_GET_TAI_NS,
}


def _check_nsecs(t: Typing, node: tree.Call) -> typed.Expr:
    mode = _mode(t, node, tuple(CLOCKS))
    # The clock goes with the number, so that strftime() knows what it counts from.
    return t.bad(node) if mode is None else call(t, node, Int(64, False, f"{CLOCK}{mode or 'boot'}"), extra=mode or "boot")


def _emit_nsecs(code: Code, node: typed.Call) -> Operand:
    return code.helper(CLOCKS[str(node.extra)])


def _emit_elapsed(code: Code, node: typed.Call) -> Operand:
    return code.f.binary("sub", code.helper(Helper.KTIME_GET_BOOT_NS), code.load_constant("start_boottime"))


# --- curtask ----------------------------------------------------------------------------------------------------------


def _check_curtask(t: Typing, node: tree.Call) -> typed.Expr:
    task = t.view.struct("task_struct")
    return call(t, node, Pointer(task or VOID, Space.KERNEL))


def _field_of(path: tuple[str, ...]) -> object:
    """A check that types the builtin as a chain of fields from the current task, or from the task given."""

    def check(t: Typing, node: tree.Call) -> typed.Expr:
        place: tree.Expr = node.arguments[0] if node.arguments else tree.Identifier("curtask", span=node.span)  # type: ignore[assignment]
        for name in path:
            place = tree.FieldAccess(place, name, span=node.span)
        return t.expr(place)

    return check


def _helper(name: str, result: Int, helper: Helper, *, bits: int = 64, shift: int = 0, current: bool = True) -> Builtin:
    """A builtin that is one helper's result, or a part of it."""

    def emit(code: Code, node: typed.Call) -> Operand:
        value = code.helper(helper)
        value = code.shift_right(value, shift) if shift else value
        return code.low(value, bits) if bits < 64 else value

    return Builtin(name, check=gives(result), emit=emit, bare=True, reads_current=current)


PID = Builtin("pid", _check_pid, _emit_pid, bare=True, takes=(0, 1), reads_current=True)
TID = Builtin("tid", _check_pid, _emit_tid, bare=True, takes=(0, 1), reads_current=True)
COMM = Builtin("comm", _check_comm, _emit_comm, bare=True, takes=(0, 1), reads_current=True)
NSECS = Builtin("nsecs", _check_nsecs, _emit_nsecs, bare=True, takes=(0, 1))
ELAPSED = Builtin("elapsed", gives(U64), _emit_elapsed, bare=True)
CURTASK = Builtin(
    "curtask", _check_curtask, lambda code, node: code.helper(Helper.GET_CURRENT_TASK), bare=True, reads_current=True
)
UID = _helper("uid", U64, Helper.GET_CURRENT_UID_GID, bits=32)
GID = _helper("gid", U64, Helper.GET_CURRENT_UID_GID, shift=32)
CPU = _helper("cpu", U64, Helper.GET_SMP_PROCESSOR_ID, current=False)
NUMAID = _helper("numaid", U32, Helper.GET_NUMA_NODE_ID, current=False)
CGROUP_ID = _helper("cgroup", CGROUP, Helper.GET_CURRENT_CGROUP_ID)
RAND = _helper("rand", U64, Helper.GET_PRANDOM_U32, bits=32, current=False)
JIFFIES = _helper("jiffies", U64, Helper.JIFFIES64, current=False)
PPID = Builtin("ppid", _field_of(("real_parent", "tgid")), bare=True, takes=(0, 1), reads_current=True)  # type: ignore[arg-type]
PCOMM = Builtin("pcomm", _field_of(("group_leader", "comm")), bare=True, takes=(0, 1), reads_current=True)  # type: ignore[arg-type]
LEADER_COMM = Builtin("leader_comm", _field_of(("group_leader", "comm")), bare=True, takes=(0, 1), reads_current=True)  # type: ignore[arg-type]
LEADER_TID = Builtin("leader_tid", _field_of(("group_leader", "pid")), bare=True, takes=(0, 1), reads_current=True)  # type: ignore[arg-type]
USERMODE = Builtin("usermode", _check_usermode, _emit_usermode, bare=True)
CGROUP_OF = Builtin("cgroupid", _check_cgroupid, takes=(1, 1))
# Only the node knows whether there is a child; where there is none, it refuses the program.
CPID = Builtin("cpid", gives(U32), lambda code, node: code.load_constant("cpid"), bare=True)
HAS_CPID = Builtin("has_cpid", gives(BOOL), lambda code, node: code.load_constant("has_cpid"), bare=True)
NCPUS = Builtin("ncpus", gives(U64), lambda code, node: code.load_constant("ncpus"), bare=True)

ALL = (
    PID,
    TID,
    COMM,
    NSECS,
    ELAPSED,
    CURTASK,
    UID,
    GID,
    CPU,
    NUMAID,
    CGROUP_ID,
    RAND,
    JIFFIES,
    PPID,
    PCOMM,
    LEADER_COMM,
    LEADER_TID,
    USERMODE,
    CGROUP_OF,
    CPID,
    HAS_CPID,
    NCPUS,
)
