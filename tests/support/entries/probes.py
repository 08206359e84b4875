"""Probe providers: a program for each, and what it has to see."""

from __future__ import annotations

import os

from support.entries.case import Case

SEES = "/pid == cpid/ { @[probe, comm] = count(); }"

CASES = (
    Case(
        "probe:begin",
        'begin { print("first"); } tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { print(2); }',
        work="",
        says="first\n2",
    ),
    Case("probe:end", 'end { print("last"); } begin { print(1); }', says="1\nlast"),
    Case("probe:interval", "interval:ms:20 { @n++; if (@n == 3) { exit(); } }", says="@n: 3"),
    Case("probe:interval", "interval:lightyears:1 { }", refused="lightyears"),
    Case(
        "probe:profile",
        f"profile:hz:99 {{ @[cpu] = count(); }} interval:ms:400 {{ if (len(@) == {os.cpu_count()}) {{ print(1); exit(); }} }}",
        holds=lambda t: t.out.startswith("1\n") and t.out.count("]: ") == os.cpu_count(),
    ),
    Case("probe:software", "software:page-faults:1 /pid == cpid/ { @ = count(); }", work="", like=r"@: [1-9]\d*"),
    Case("probe:software", "software:no-such-event:1 { }", refused="no-such-event"),
    Case(
        "probe:tracepoint",
        f"tracepoint:syscalls:sys_enter_getppid {SEES}",
        work="",
        says="@[tracepoint:syscalls:sys_enter_getppid, known name]: 1",
    ),
    Case("probe:tracepoint", "tracepoint:syscalls:no_such_event { }", refused="no_such_event"),
    Case(
        "probe:rawtracepoint",
        "rawtracepoint:sys_enter /pid == cpid && args.id == 110/ { @[probe, comm] = count(); }",
        work="",
        says="@[rawtracepoint:sys_enter, known name]: 1",
        differs="bpftrace names the module, too: rawtracepoint:vmlinux:sys_enter",
    ),
    Case("probe:uprobe", f"uprobe:APP:six {SEES}", work="", says="@[uprobe:<app>:six, known name]: 1"),
    Case("probe:uprobe", "uprobe:APP:no_such_function { }", refused="no_such_function"),
    Case("probe:uretprobe", f"uretprobe:APP:six {SEES}", work="", says="@[uretprobe:<app>:six, known name]: 1"),
    Case(
        "probe:kprobe",
        f"kprobe:do_sys_openat2 {SEES}",
        work="",
        like=r"@\[kprobe:do_sys_openat2, known name\]: [1-9]",
        kernel="kprobes",
    ),
    Case(
        "probe:kretprobe",
        f"kretprobe:do_sys_openat2 {SEES}",
        work="",
        like=r"@\[kretprobe:do_sys_openat2, known name\]: [1-9]",
        kernel="kprobes",
    ),
    Case(
        "probe:fentry",
        f"fentry:do_sys_openat2 {SEES}",
        work="",
        like=r"@\[fentry:do_sys_openat2, known name\]: [1-9]",
        kernel="kprobes",
    ),
    Case(
        "probe:fexit",
        "fexit:udp_sendmsg /pid == cpid/ { @[args.len, retval] = count(); }",
        work="send",
        says="@[32, 32]: 3",
        kernel="kprobes",
    ),
    Case("probe:iter", "iter:task /ctx.task.tgid == 1/ { @[ctx.task.pid] = count(); }", says="@[1]: 1", kernel="kprobes"),
    Case(
        "probe:watchpoint",
        "begin { @ = 0; } watchpoint:JIFFIES:8:w { @++; if (@ == 3) { exit(); } }",
        says="@: 3",
        kernel="kprobes",
    ),
    Case("probe:asyncwatchpoint", "asyncwatchpoint:0x1000:8:w { }", refused="no longer part of the language"),
    Case("probe:hardware", "hardware:no-such-event:10 { }", refused="no-such-event"),
)
