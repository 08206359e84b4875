"""Entries about stacks and the names of addresses."""

from __future__ import annotations

import re

from support.chain import behind_call
from support.entries.case import Case, Told, work_program


def _own(lines: list[str]) -> bool:
    """The innermost frames of the process, with the places behind their calls."""
    wanted = [f"{name}+{behind_call(work_program(), name)}" for name in ("leaf", "middle", "outer")]
    return lines == wanted


def _ustack(ran: Told) -> bool:
    return _own(ran.out.split())


def _perf(ran: Told) -> bool:
    lines = [re.fullmatch(r"\t[0-9a-f]+ (\S+) \((.*)\)", line) for line in ran.out.splitlines() if line]
    return all(lines) and _own([m[1] for m in lines if m]) and {m[2] for m in lines if m} == {str(work_program())}


def _kernel(ran: Told) -> bool:
    names = [line.split("+")[0].strip() for line in ran.out.splitlines() if line.strip()]
    return names[-1] == "entry_SYSCALL_64_after_hwframe"


CASES = (
    Case(
        "ustack",
        "CALL { print(ustack(3)); }",
        work="",
        holds=_ustack,
        differs="bpftrace names no symbols once the process has ended",
    ),
    Case("ustack", "CALL { print(ustack(perf, 3)); }", work="", holds=_perf),
    Case("ustack", "CALL { print(ustack(raw, 2)); }", work="", like=r"\s*[0-9a-f]+\n\s*[0-9a-f]+"),
    Case(
        "ustack",
        "CALL { @[ustack(3)] = count(); } CALL { @[ustack(3)] = count(); }",
        work="",
        like=r"@\[\n(\s+\S+\n){3}\]: 2",
        differs="bpftrace names no symbols once the process has ended",
    ),
    Case("ustack", "begin { print(ustack(nomode, 3)); }", refused="nomode"),
    Case("kstack", "CALL { print(kstack); }", work="", holds=_kernel),
    Case("kstack", "CALL { print(kstack(perf, 1)); }", work="", like=r"\s*[0-9a-f]+ \S+\+\d+"),
    Case(
        "kstack",
        "CALL { print(kstack(raw, 2)); @[kstack(2)] = count(); }",
        work="",
        like=r"\s*ffff[0-9a-f]{12}\n\s*ffff[0-9a-f]{12}\n@\[\n(\s+\S+\n){2}\]: 1",
    ),
    Case(
        "ksym",
        'begin { print(ksym(kaddr("vfs_read"))); printf("%s\\n", ksym(kaddr("vfs_read"))); @[ksym(kaddr("vfs_read"))] = 1; }',
        says="vfs_read\nvfs_read\n@[vfs_read]: 1",
    ),
    Case("ksym", "begin { print(ksym(4660)); }", says="0x1234"),
    Case("usym", 'uprobe:APP:six { print(usym(reg("ip"))); printf("%s\\n", usym(uaddr("leaf"))); }', work="", says="six\nleaf"),
    Case("dw_ustack", "CALL { print(dw_ustack(3)); }", work="", refused="dw_ustack"),
)
