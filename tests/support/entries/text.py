"""Entries about strings, bytes, addresses of networks, and tables of names."""

from __future__ import annotations

import errno
import os
import signal
import socket

from support.entries.case import Case

ONE = "$one = rand >= 0 ? 1 : 2;"  # 1, and the compiler does not know it
HELD = '$hay = "one two three"; $null = "";'
STRERROR = {number: os.strerror(number) for number in (errno.EPERM, errno.ENOENT, errno.EACCES, errno.ETIMEDOUT)}
V6 = socket.inet_ntop(socket.AF_INET6, bytes.fromhex("20010db8000000000000000000000001"))


def swapped(number: int, width: int) -> int:
    """The bytes of a number the other way round."""
    return int.from_bytes(number.to_bytes(width, "little"), "big")


CASES = (
    Case(
        "bswap",
        f"""begin {{ $a = (uint8)0x12; $b = (uint16)0x1234; $c = (uint32)0x12345678; $d = (uint64)0x1122334455667788;
        print((bswap($a), bswap($b), bswap($c), bswap($d))); print((sizeof(bswap($a)), sizeof(bswap($b)), sizeof(bswap($c)), sizeof(bswap($d))));
        {ONE} print(bswap((uint16)($one + 1)) == {swapped(2, 2)}); }}""",
        says=f"({0x12}, {swapped(0x1234, 2)}, {swapped(0x12345678, 4)}, {swapped(0x1122334455667788, 8)})\n(1, 2, 4, 8)\ntrue",
    ),
    Case("bswap", 'begin { print(bswap("text")); }', refused="bswap"),
    Case(
        "buf",
        """OPEN { printf("%r %rx %rh\\n", buf(args.filename, 8), buf(args.filename, 2), buf(args.filename, 3));
        printf("%r\\n", buf(pton("1.2.3.4"))); print(buf(args.filename, 4)); }""",
        work="",
        says="/nowhere \\x2f\\x6e 2f 6e 6f\n\\x01\\x02\\x03\\x04\n/now",
    ),
    Case(
        "buf",
        'config = { max_strlen = 4 } OPEN { printf("%r\\n", buf(args.filename, 3)); }',
        work="",
        says="/no",
        differs="the verifier refuses bpftrace's program with so short a max_strlen",
    ),
    Case("buf", 'uprobe:APP:address { printf("%rh\\n", buf(arg0, 6)); }', work="", says="18 c0 4d 08 2e bb"),
    Case(
        "macaddr",
        'uprobe:APP:address { printf("%s\\n", macaddr(arg0)); $m = macaddr(arg0); print($m); }',
        work="",
        says="18:C0:4D:08:2E:BB\n18:C0:4D:08:2E:BB",
        differs="bytes from 0x80 on print as `FFFFFFC0` there",
    ),
    Case(
        "memcmp",
        """begin { $a = "abcd"; $b = "abce"; print((memcmp($a, $b, 3), memcmp($a, $b, 4) < 0, memcmp($b, $a, 4) > 0));
        $x = (1, 2); $y = (1, 3); print((memcmp($x, $x, sizeof($x)), memcmp($x, $y, sizeof($x)) < 0)); }""",
        says="(0, true, true)\n(0, true)",
    ),
    Case(
        "ntop",
        """uprobe:APP:address { $four = (uint8[4]*)arg2; $six = (uint8[16]*)arg1; print(ntop(*$four)); print(ntop(*$six));
        print(ntop(*(uint32*)arg2)); print(ntop(2, *(uint32*)arg2)); print(ntop(10, *$six)); }""",
        work="",
        says=f"127.0.0.1\n{V6}\n127.0.0.1\n127.0.0.1\n{V6}",
    ),
    Case(
        "ntop",
        'begin { printf("%s|%-12s|\\n", ntop(0x0100007f), ntop(pton("10.0.0.1"))); @[ntop(pton("::1"))] = 1; }',
        says="127.0.0.1|10.0.0.1    |\n@[::1]: 1",
    ),
    Case("ntop", 'begin { print(ntop("text")); }', refused="ntop"),
    Case(
        "pton",
        """begin { $a = pton("1.2.3.4"); $b = pton("2001:db8::1"); print(($a[0], $a[3], sizeof($a))); print(($b[0], $b[15], sizeof($b)));
        print(ntop($b)); if ($a == pton("1.2.3.4")) { print("equal"); } }""",
        says=f"(1, 4, 4)\n(32, 1, 16)\n{V6}\nequal",
    ),
    Case("pton", 'begin { print(pton("300.1.1.1")); }', refused="300.1.1.1"),
    Case("pton", "begin { $s = comm; print(pton($s)); }", refused="pton"),
    Case(
        "str",
        """OPEN { print(str(args.filename)); print(str(args.filename, 5)); $s = str(args.filename); print(strlen($s)); }""",
        work="",
        says="/nowhere/at all\n/now\n15",
    ),
    Case(
        "str",
        "config = { max_strlen = 8 } OPEN { print(str(args.filename)); print(str(args.filename, 100)); print(str(args.filename, 8)); }",
        work="",
        says="/nowhere..\n/nowhere..\n/nowher",
    ),
    Case(
        "str",
        "uprobe:APP:text { print(str(arg0)); print(str(arg0, arg1 + 1)); print(str(uptr(arg0), 3)); }",
        work="",
        says="some words\nsome\nso",
    ),
    Case(
        "str",
        "begin { print(str($1)); print(str($2, 3)); }",
        args=("first", "second"),
        says="first\nse",
        differs="a literal text with a length of n has n characters there; the documentation says n - 1",
    ),
    Case(
        "strcap",
        'config = { max_strlen = 64 } begin { $s = "hello"; print((strcap(comm), strcap(pton("::1")), strcap(str(0)) == 64)); }',
        says="(16, 16, true)",
        differs="bpftrace takes bytes (uint8[]) for no string",
    ),
    Case(
        "strcap",
        "OPEN { print(strcap(args.filename)); }",
        work="",
        says="15",
        differs="bpftrace takes a tracepoint's char pointer for no string",
    ),
    Case(
        "strcontains",
        f'begin {{ {HELD} print((strcontains($hay, "two"), strcontains($hay, "four"), strcontains($hay, $null))); }}',
        says="(true, false, true)",
    ),
    Case("strcontains", 'OPEN { if (strcontains(str(args.filename), "here/at")) { print("found"); } }', work="", says="found"),
    Case(
        "strstr",
        f'begin {{ {HELD} print((strstr($hay, "one"), strstr($hay, "three"), strstr($hay, "e t"), strstr($hay, "four"))); }}',
        says=f"({'one two three'.find('one')}, {'one two three'.find('three')}, {'one two three'.find('e t')}, -1)",
        differs="bpftrace gives the kernel's error, -2, where the documentation says -1",
    ),
    Case(
        "strlen",
        'OPEN { print((strlen("abc"), strlen(""), strlen(str(args.filename)), strlen(args.filename), strlen(comm))); }',
        work="",
        says=f"(3, 0, {len('/nowhere/at all')}, {len('/nowhere/at all')}, {len('known name')})",
        differs="bpftrace takes a tracepoint's char pointer for no string",
    ),
    Case("strlen", "begin { print(strlen(5)); }", refused="string-like|string"),
    Case(
        "strncmp",
        """CALL { print((strncmp(comm, "known", 5), strncmp(comm, "known name", 16), strncmp("abc", "abd", 2),
        strncmp("abc", "abd", 3) != 0, strncmp("ab", "abc", 3) != 0)); }""",
        work="",
        says="(0, 0, 0, true, true)",
    ),
    Case(
        "strerror",
        f'begin {{ {ONE} print(strerror(1)); print(strerror($one + 1)); print(strerror(-13)); printf("%s\\n", strerror(110)); }}',
        says="\n".join(STRERROR.values()),
        peer=f'begin {{ {ONE} print(strerror(1)); print(strerror($one + 1)); print(strerror(13)); printf("%s\\n", strerror(110)); }}',
    ),
    Case(
        "syscall_name",
        f"begin {{ {ONE} print(syscall_name(0)); print(syscall_name($one)); print(syscall_name($one + 58)); }}",
        says="read\nwrite\nexecve",
    ),
    Case(
        "syscall_name",
        "tracepoint:raw_syscalls:sys_enter /pid == cpid/ { @[syscall_name(args.id)] = count(); }",
        work="",
        holds=lambda t: "@[getppid]: 1" in t.out and "@[execve]: 1" in t.out,
    ),
    Case(
        "signal_name",
        "begin { print(signal_name(9)); print(signal_name(2)); }",
        says=f"{signal.strsignal(9)}\n{signal.strsignal(2)}",
    ),
    Case(
        "str_concat",
        'CALL { print(str_concat(comm, "!")); print(strlen(str_concat("ab", "cde"))); }',
        work="",
        says="known name!\n5",
    ),
)
