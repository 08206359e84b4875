"""Entries about the current task, clocks, the machine, and kernel symbols."""

from __future__ import annotations

import os
import pwd
import re
import time
from pathlib import Path

from support.cgroups import cgroup2_mount
from support.entries.case import Case, Told

DATA_SYMBOLS = " runqueues\n"


def own_cgroup() -> str:
    """The cgroup of this process, which its children are in, too, in the v2 hierarchy."""
    return next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")).removeprefix("0::")


def _cgroup(ran: Told) -> bool:
    return int(re.findall(r"\d+", ran.out)[0]) == (cgroup2_mount() / own_cgroup().lstrip("/")).stat().st_ino


def _clocks(ran: Told) -> bool:
    """The clocks of the kernel, read just before."""
    clocks = (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_TAI, time.CLOCK_TAI)
    return all(0 <= time.clock_gettime_ns(c) - int(n) < 10**10 for c, n in zip(clocks, ran.out.split(), strict=True))


def _kaddr(ran: Told) -> bool:
    lines = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    return int(ran.out) == next(int(words[0], 16) for words in lines if words[2] == "vfs_read")


def _jiffies(ran: Told) -> bool:
    """Between two events that are 300 ms apart, at 100 to 1000 ticks a second."""
    return 28 <= int(ran.out) <= 400


def _cgroup_path(ran: Told) -> bool:
    return f"unified:{own_cgroup()}" in ran.out


CASES = (
    Case("cgroup", "CALL { print(cgroup); print(cgroup() == cgroup); }", work="", holds=_cgroup),
    Case(
        "cgroup_path",
        "CALL { print(cgroup_path(cgroup)); }",
        work="",
        holds=_cgroup_path,
        differs="a cgroup id is one of the v2 hierarchy: bpftrace lists every directory of any v1 hierarchy with that inode number, too",
    ),
    Case(
        "cgroup_path",
        'CALL { print(cgroup_path(cgroup, "uni*")); printf("%s\\n", cgroup_path(cgroup, "nothing*")); }',
        work="",
        holds=_cgroup_path,
    ),
    Case(
        "comm",
        "CALL { print(comm); print(comm()); @[comm] = count(); print(sizeof(comm)); }",
        work="",
        says="known name\nknown name\n16\n@[known name]: 1",
        differs="bpftrace does not know comm, a macro, inside of sizeof",
    ),
    Case("comm", "CALL { print(comm((uint32)pid)); print(sizeof(comm((uint32)1))); }", work="", says="known name\n64"),
    Case("cpu", "CALL { print(cpu < ncpus); print(cpu() == cpu); }", work="", says="true\ntrue"),
    Case(
        "curtask",
        "CALL { print(curtask.tgid); print(curtask().comm); print(((struct task_struct *)curtask).pid); }",
        work="",
        says="<pid>\nknown name\n<pid>",
    ),
    Case(
        "elapsed",
        "begin { @a = elapsed; } interval:ms:50 { print(elapsed - @a >= 40000000); print(elapsed() - @a < 9000000000); clear(@a); exit(); }",
        says="true\ntrue",
    ),
    Case("gid", "CALL { print((gid, gid())); }", work="", says="(<gid>, <gid>)"),
    Case("uid", "CALL { print((uid, uid())); }", work="", says="(<uid>, <uid>)"),
    Case("jiffies", "begin { @j = jiffies; } interval:ms:300 { print(jiffies() - @j); clear(@j); exit(); }", holds=_jiffies),
    Case("kaddr", 'begin { print(kaddr("vfs_read")); }', holds=_kaddr),
    Case("kaddr", 'begin { print(kaddr("no_such_symbol_at_all")); }', refused="no_such_symbol_at_all"),
    Case("kaddr", "begin { print(kaddr(comm)); }", refused="literal"),
    Case(
        "percpu_kaddr",
        """begin { $first = (struct rq *)percpu_kaddr("runqueues", 0); print($first.cpu);
        print(percpu_kaddr("runqueues", 100000) == 0); $own = (struct rq *)percpu_kaddr("runqueues"); print($own.cpu == cpu); }""",
        says="0\ntrue\ntrue",
        kernel="symbols of variables",
        peer="""begin { $first = (struct rq *)percpu_kaddr("runqueues", 0); if ($first != 0) { print($first.cpu); }
        print(percpu_kaddr("runqueues", 100000) == 0); $own = (struct rq *)percpu_kaddr("runqueues"); print($own.cpu == cpu); }""",
    ),
    Case("leader_comm", "CALL { print(leader_comm); print(leader_comm(curtask)); }", work="", says="known name\nknown name"),
    Case("leader_tid", "CALL { print(leader_tid); print(leader_tid(curtask)); }", work="", says="<pid>\n<pid>"),
    Case(
        "nsecs",
        """begin { print(nsecs); print(nsecs(monotonic)); print(nsecs(boot)); print(nsecs(tai)); print(nsecs(sw_tai)); }""",
        holds=_clocks,
    ),
    Case("nsecs", "begin { print(nsecs(lunar)); }", refused="lunar"),
    Case("numaid", "begin { print(numaid < 64); print(numaid() == numaid); }", says="true\ntrue"),
    Case(
        "pcomm",
        "CALL { print(pcomm); print(pcomm()); print(pcomm(curtask)); }",
        work="",
        says="known name\nknown name\nknown name",
        differs="bpftrace 0.27 gives the name of the parent; the documentation says group_leader",
    ),
    Case(
        "pid",
        "CALL { print((pid, pid(), pid(curr_ns), pid(init), sizeof(pid))); }",
        work="",
        says="(<pid>, <pid>, <pid>, <pid>, 4)",
    ),
    Case("pid", "begin { print(pid(other)); }", refused="other"),
    Case(
        "tid",
        "CALL { print((tid, tid(), tid(curr_ns), tid(init), sizeof(tid))); }",
        work="",
        says="(<pid>, <pid>, <pid>, <pid>, 4)",
    ),
    Case(
        "ppid", "CALL { print((ppid == curtask.real_parent.tgid, ppid(), ppid(curtask))); }", work="", says="(true, <own>, <own>)"
    ),
    Case(
        "probe",
        "begin { print(probe()); } interval:ms:1 { print(probe); exit(); } end { @[probe] = 1; }",
        holds=lambda t: t.out.startswith("begin\n") and t.out.endswith("interval:ms:1\n@[end]: 1"),
    ),
    Case(
        "probe",
        "tracepoint:syscalls:sys_enter_getpp* /pid == cpid/ { print(probe); }",
        work="",
        says="tracepoint:syscalls:sys_enter_getppid",
    ),
    Case(
        "probetype",
        "CALL { print(probetype); } begin { print(probetype()); } uprobe:APP:six { print(probetype); }",
        work="",
        says="special\ntracepoint\nuprobe",
    ),
    Case(
        "rand",
        "begin { $a = rand; $b = rand(); $c = rand; print($a != $b || $b != $c); print($a <= 0xffffffff); }",
        says="true\ntrue",
    ),
    Case("reg", 'uprobe:APP:six { print((reg("di"), reg("si"), reg("r9"))); }', work="", says="(1, 2, 6)"),
    Case("reg", 'uprobe:APP:six { print(reg("no_register")); }', refused="no_register"),
    Case("reg", 'begin { print(reg("ip")); }', refused="reg"),
    Case("retval", "uretprobe:APP:six { print((retval, retval())); }", work="", says="(21, 21)"),
    Case("retval", "uprobe:APP:six { print(retval); }", refused="retval"),
    Case(
        "usermode",
        "begin { print(usermode); print(usermode()); print(sizeof(usermode)); }",
        says="1\n1\n1",
        differs="bpftrace does not know usermode, a macro, inside of sizeof",
    ),
    Case(
        "username",
        'CALL { printf("%s\\n", username); print(username()); @[username] = count(); }',
        work="",
        says=f"{(n := pwd.getpwuid(os.getuid()).pw_name)}\n{n}\n@[{n}]: 1",
    ),
    Case(
        "func",
        'uprobe:APP:six { print(func); print(func()); @[func] = count(); } uprobe:APP:text { printf("%s\\n", func); }',
        work="",
        says="text\nsix\nsix\n@[six]: 1",
    ),
    Case(
        "uaddr",
        """uprobe:APP:six { print((*uaddr("word"), *uaddr("tiny"), *uaddr("half"), *uaddr("whole")));
        print((sizeof(*uaddr("word")), sizeof(*uaddr("tiny")), sizeof(*uaddr("half")), sizeof(*uaddr("table"))));
        print(str(*uaddr("greeting"))); }""",
        work="",
        says=f"(77, 7, 300, {1 << 40})\n(4, 1, 2, 8)\na greeting",
    ),
    Case("uaddr", 'uprobe:APP:six { print(uaddr("nothing_of_this_name")); }', work="", refused="nothing_of_this_name"),
    Case("uaddr", 'begin { print(uaddr("word")); }', refused="uaddr"),
)
