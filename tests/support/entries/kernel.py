"""Entries that act on processes and in kernel functions; what needs kprobes or fentry runs where there are."""

from __future__ import annotations

import signal

from support.entries.case import Case

# What ended the process: wait(2) gives the same number.
HEARD = "tracepoint:sched:sched_process_exit /pid == cpid/ { print(curtask.exit_code & 0x7f); }"

CASES = (
    Case("signal", f'CALL {{ signal("SIGUSR1"); }} {HEARD}', work="wait", says=str(int(signal.SIGUSR1))),
    Case("signal", f"CALL {{ signal({int(signal.SIGTERM)}); }} {HEARD}", work="wait", says=str(int(signal.SIGTERM))),
    Case("signal", 'CALL { signal("SIGNOTHING"); }', work="", refused="SIGNOTHING"),
    Case("signal", "CALL { signal(100); }", work="", refused="100"),
    Case("signal", 'begin { signal("SIGUSR1"); }', refused="signal"),
    Case("signal_thread", f'CALL {{ signal_thread("SIGUSR2"); }} {HEARD}', work="wait", says=str(int(signal.SIGUSR2))),
    Case("signal_thread", f"CALL {{ signal_thread({int(signal.SIGHUP)}); }} {HEARD}", work="wait", says=str(int(signal.SIGHUP))),
    Case(
        "write_user",
        'OPEN { print(write_user(args.filename, "/elsewhere", 10)); print(str(args.filename)); print(write_user((int8 *)8, "x", 1)); }',
        work="",
        says="true\n/elsewhere" + "/nowhere/at all"[10:] + "\nfalse",
        kernel="no lockdown",
    ),
    Case("func", "kprobe:vfs_open /pid == cpid/ { @[func] = count(); }", work="", like=r"@\[vfs_open\]: \d+", kernel="kprobes"),
    Case(
        "path",
        "fentry:security_file_open /pid == cpid/ { print(path(args.file.f_path)); print(path(args.file.f_path, 5)); exit(); }",
        work="",
        kernel="kprobes",
    ),
    Case(
        "override", "kprobe:vfs_read { override(-12); }", refused="bpf_override_return|error injection|override", kernel="kprobes"
    ),
    Case("override", "tracepoint:syscalls:sys_enter_getppid { override(1); }", refused="override"),
    Case("retval", "fexit:udp_sendmsg /pid == cpid/ { print(retval); }", work="send", says="32\n32\n32", kernel="kprobes"),
    Case(
        "socket_cookie",
        "fentry:udp_sendmsg /pid == cpid/ { @[socket_cookie(args.sk)] = count(); @zero = socket_cookie((struct sock *)0); }",
        work="send",
        like=r"@\[[1-9]\d*\]: 3\n@zero: 0",
        kernel="kprobes",
    ),
)
