"""Objects as the compiler would make them, written by hand: getppid calls counted by cgroup, with the scope predicate in front.

    elf = counting()                     tracepoint:syscalls:sys_enter_getppid { @[cgroup] = count(); @all = count(); }
    elf = counting(then=PRINT)           … printf("call %d\\n", 7); }
    elf = counting(then=EXIT)            … exit(3); }
    elf = counting(event="no_such")      cannot be attached

So the agent is tested before and apart from the compiler.
"""

from __future__ import annotations

from kubebpf.compiler.artifact.manifest import Argument, Attach, Constant, Event, Manifest, MapSchema
from kubebpf.compiler.artifact.types import DAggregate, DInt
from support.bpfobjects import HASH, PERCPU_ARRAY, PERCPU_HASH, RINGBUF, Code, Map, Source

COUNT = DAggregate("count", False, 8)
PRINT, EXIT = "printf", "exit"

_SLOTS = """
%key = alloca i64, align 8
%zero = alloca i32, align 4
%one = alloca i64, align 8
%record = alloca [4 x i64], align 8
%cgroup = call i64 inttoptr (i64 80 to ptr)()
store i64 0, ptr %one, align 8
store i32 0, ptr %zero, align 4
store i64 %cgroup, ptr %key, align 8
"""

# Its own cgroup first, then the ancestors at the two levels where pods are.
_SCOPE = """
%own = call ptr inttoptr (i64 1 to ptr)(ptr @kb_scope, ptr %key)
%mine = icmp ne ptr %own, null
br i1 %mine, label %in, label %up
up:
%low = load volatile i64, ptr @constants, align 8
%low32 = trunc i64 %low to i32
%lower = call i64 inttoptr (i64 123 to ptr)(i32 %low32)
store i64 %lower, ptr %key, align 8
%at_low = call ptr inttoptr (i64 1 to ptr)(ptr @kb_scope, ptr %key)
%hit_low = icmp ne ptr %at_low, null
br i1 %hit_low, label %in, label %upper
upper:
%place = getelementptr i8, ptr @constants, i64 8
%high = load volatile i64, ptr %place, align 8
%high32 = trunc i64 %high to i32
%higher = call i64 inttoptr (i64 123 to ptr)(i32 %high32)
store i64 %higher, ptr %key, align 8
%at_high = call ptr inttoptr (i64 1 to ptr)(ptr @kb_scope, ptr %key)
%hit_high = icmp ne ptr %at_high, null
br i1 %hit_high, label %in, label %out
in:
"""

_COUNT = """
store i64 %cgroup, ptr %key, align 8
%old = call ptr inttoptr (i64 1 to ptr)(ptr @AT_, ptr %key)
%absent = icmp eq ptr %old, null
br i1 %absent, label %new, label %found
new:
%made = call i64 inttoptr (i64 2 to ptr)(ptr @AT_, ptr %key, ptr %one, i64 1)
%cell = call ptr inttoptr (i64 1 to ptr)(ptr @AT_, ptr %key)
%full = icmp eq ptr %cell, null
br i1 %full, label %all, label %add
found:
br label %add
add:
%slot = phi ptr [ %cell, %new ], [ %old, %found ]
%n = load i64, ptr %slot, align 8
%n1 = add i64 %n, 1
store i64 %n1, ptr %slot, align 8
br label %all
all:
%total = call ptr inttoptr (i64 1 to ptr)(ptr @AT_all, ptr %zero)
%none = icmp eq ptr %total, null
br i1 %none, label %then, label %sum
sum:
%t = load i64, ptr %total, align 8
%t1 = add i64 %t, 1
store i64 %t1, ptr %total, align 8
%flag = getelementptr i8, ptr %total, i64 8
store i64 1, ptr %flag, align 8
br label %then
then:
"""

# {u32 id 0, u32 cpu, u64 boot time, u64 cgroup}, then one argument.
_SEND = """
store i64 0, ptr %record, align 8
%when = call i64 inttoptr (i64 125 to ptr)()
%p1 = getelementptr i8, ptr %record, i64 8
store i64 %when, ptr %p1, align 8
%p2 = getelementptr i8, ptr %record, i64 16
store i64 %cgroup, ptr %p2, align 8
%p3 = getelementptr i8, ptr %record, i64 24
store i64 ARGUMENT, ptr %p3, align 8
%sent = call i64 inttoptr (i64 130 to ptr)(ptr @kb_ring, ptr %record, i64 32, i64 0)
"""

_END = """
br label %out
out:
ret i32 0
"""

# What no verifier takes: a pointer made of a number.
REFUSED = """
%wild = inttoptr i64 4096 to ptr
%bad = load volatile i64, ptr %wild, align 8
"""


def counting(event: str = "sys_enter_getppid", scoped: bool = True, then: str = "", body: str = "") -> bytes:
    """The object file.

    Args:
        event: of the category syscalls.
        then: what to do after counting: PRINT, EXIT or nothing.
        body: IR put before everything, REFUSED for example.
    """
    send = _SEND.replace("ARGUMENT", "7" if then == PRINT else "3") if then else ""
    code = Code("count", f"tracepoint/syscalls/{event}", _SLOTS + body + (_SCOPE if scoped else "") + _COUNT + send + _END)
    maps = [Map("AT_", PERCPU_HASH, 8, 8, 4096), Map("AT_all", PERCPU_ARRAY, 4, 16, 1), Map("kb_scope", HASH, 8, 8, 4096)]
    maps += [Map("kb_ring", RINGBUF, 0, 0, 1 << 18)] if then else []
    manifest = _manifest(event, scoped, then).to_json().encode()
    return Source(maps=tuple(maps), programs=(code,), rodata=16, manifest=manifest).elf()


def _manifest(event: str, scoped: bool, then: str) -> Manifest:
    target: dict[str, str | int] = {"category": "syscalls", "event": event}
    arguments = (Argument(24, DInt(64, False)),)
    sent = Event(0, then, 32, "call %d\n" if then == PRINT else "", arguments)
    return Manifest(
        source_name="test",
        attaches=(Attach(0, "count", "tracepoint", f"tracepoint:syscalls:{event}", target),),
        maps=(
            MapSchema("@", "AT_", "percpu_hash", DInt(64, False, "cgroup"), COUNT, 8, 8, None, 4096),
            MapSchema("@all", "AT_all", "percpu_array", None, COUNT, 4, 16, 8, 1),
        ),
        events=(sent,) if then else (),
        constants=(Constant("scope_level_lo", 0, 8), Constant("scope_level_hi", 8, 8)),
        header="context",
        scoped=scoped,
    )
