"""Entries that user space acts on, and what maps hold."""

from __future__ import annotations

import re
import time

from support.entries.case import Case, Told

BAR = "@" * 52
WHEN = "%Y-%m-%d %H:%M:%S"


def _now(ran: Told) -> bool:
    """Every line is a time of now, in this machine's zone."""
    lines = ran.out.splitlines()
    return bool(lines) and all(abs(time.mktime(time.strptime(line, WHEN)) - time.time()) < 10 for line in lines)


def _parts(ran: Told) -> bool:
    """%f is what %N would be in microseconds."""
    return re.fullmatch(r"\d{6}", ran.out) is not None


CASES = (
    Case("assert", 'begin { assert(1 == 1, "fine"); print("behind"); }', says="behind"),
    Case(
        "assert",
        'begin { $a = rand >= 0; assert(!$a, "not so"); print("never"); }',
        says="",
        remarks="ERROR: assert failed: not so",
        code=1,
    ),
    Case(
        "cat",
        'CALL { cat("/proc/%d/comm", pid); cat("/proc/%s/%s", "self", "nothing"); }',
        work="",
        says="known name",
        remarks="ERROR: failed to open file '/proc/self/nothing': No such file or directory",
    ),
    Case("cat", 'config = { max_cat_bytes = 4 } begin { cat("/proc/self/stat"); }', like=r"\d.{0,3}"),
    Case(
        "clear",
        'begin { @a[1] = 1; @a[2] = 2; @n = count(); clear(@a); clear(@n); print("cleared"); @b = 1; }',
        says="cleared\n@b: 1",
        peer='begin { @a[1] = 1; @a[2] = 2; @n = count(); clear(@a); clear(@n); print("cleared"); @b = 1; exit(); }',
    ),
    Case(
        "delete",
        """begin { @a[1] = 1; @a[2] = 2; print(delete(@a, 1)); print(delete(@a, 7)); if (delete(@a, 9)) { print("no"); }
        @t[1, "x"] = 5; delete(@t, (1, "x")); @s = 3; delete(@s); @o["k"] = 1; delete(@o["k"]); @p[1, 2] = 1; delete(@p[1, 2]); }""",
        says="true\nfalse\n@a[2]: 2",
    ),
    Case(
        "delete",
        "begin { @a[1] = 1; delete(@a, 2); }",
        says="@a[1]: 1",
        remarks="WARNING: Can't delete map element because it does not exist",
    ),
    Case("delete", "begin { @a[1, 2] = 1; delete(@a); }", refused="delete|key"),
    Case("delete", "begin { @a[1, 2] = 1; delete(@a, 1); }", refused="key|type|mismatch"),
    Case(
        "errorf",
        'BEGIN { errorf("Something bad with args: %d, %s", 10, "arg2"); }',
        says="",
        remarks=r"\Astdin:1:9-62: ERROR: Something bad with args: 10, arg2\Z",
    ),
    Case(
        "warnf",
        'BEGIN { warnf("Something kinda bad with args: %d, %s", 10, "arg2"); }',
        says="",
        remarks=r"\Astdin:1:9-67: WARNING: Something kinda bad with args: 10, arg2\Z",
    ),
    Case("exit", 'begin { print(1); if (rand >= 0) { exit(); } print(2); } end { print("end"); }', says="1\nend"),
    Case("exit", "begin { @left = 5; exit(3); }", says="@left: 5", code=3),
    Case(
        "find",
        "begin { @m[5] = 7; let $found; if (find(@m, 5, $found)) { print($found); } if (find(@m, 6, $found)) { print(0); } else { print($found); } }",
        says="7\n7\n@m[5]: 7",
    ),
    Case(
        "has_key", "begin { @a[1, 2] = 1; print((has_key(@a, (1, 2)), has_key(@a, (1, 3)))); }", says="(true, false)\n@a[1, 2]: 1"
    ),
    Case("has_key", "begin { @scalar = 1; if (has_key(@scalar)) { } }", refused="has_key|key"),
    Case(
        "join",
        'tracepoint:syscalls:sys_enter_execve /pid == cpid/ { join(args.argv); join(args.argv, ", "); }',
        work="one two",
        says="<app> one two\n<app>, one, two",
    ),
    Case(
        "len",
        "begin { print(len(@a)); @a[1] = 1; @a[2] = 1; @a[5] = 1; print(len(@a)); delete(@a, 1); print(len(@a)); clear(@a); }",
        holds=lambda t: t.out.startswith("0\n3\n2"),
    ),
    Case(
        "len", "CALL { print(len(ustack(3))); print(len(ustack(2))); $s = kstack(2); print(len($s)); }", work="", says="3\n2\n2"
    ),
    Case(
        "print",
        """begin { print(123); print("abc"); print((1, "x")); print(true); @m[1] = 2; print(@m); print(@m[1]); @h = hist(3); print(@h); exit(); }""",
        holds=lambda t: t.out.startswith("123\nabc\n(1, x)\ntrue\n") and f"[2, 4)                 1 |{BAR}|" in t.out,
    ),
    Case(
        "print",
        "begin { $i = 11; for $elem : 1..$i { @[$elem] = $elem - 1; } print(@, 2); exit(); }",
        holds=lambda t: t.out.startswith("@[9]: 8\n@[10]: 9\n"),
    ),
    Case(
        "print",
        "begin { @[1] = 10; @[2] = 7; @[3] = 21; print(@, 2, 2); print(@, 0, 10); exit(); }",
        holds=lambda t: t.out.startswith("@[1]: 5\n@[3]: 10\n@[2]: 0\n@[1]: 1\n@[3]: 2\n"),
        differs="bpftrace sorts integers narrower than 64 bits by bytes behind them, too",
    ),
    Case(
        "printf",
        r"""enum custom { CUSTOM_ENUM = 3, };
        begin { printf("%d %u %x %5d|%-5d|%05d|%llx %hhu %c %p %%\n", (int8)-5, 7, 255, 42, 42, 42, (uint64)255, 300, 65, (int8 *)4096);
        printf("%s %10s|%-6s|%.2s\n", "text", "right", "left", "cut"); printf("%d, %s\n", CUSTOM_ENUM, CUSTOM_ENUM); printf("\033[31mRed\033[0m\n"); }""",
        says="-5 7 ff    42|42   |00042|ff 44 A 0x1000 %\ntext      right|left  |cut\n3, CUSTOM_ENUM\n\033[31mRed\033[0m",
        peer=r"""enum custom { CUSTOM_ENUM = 3, };
        begin { printf("%d %u %x %5d|%-5d|%05d|%llx %hhu %c %p %%\n", (int8)-5, 7, 255, 42, 42, 42, (uint64)255, 300, 65, (int8 *)4096);
        printf("%s %10s|%-6s|%.2s\n", "text", "right", "left", "cut"); printf("%d, %s\n", CUSTOM_ENUM, CUSTOM_ENUM); printf("\033[31mRed\033[0m\n"); }""",
    ),
    Case(
        "printf",
        'begin { $r = SKB_DROP_REASON_SOCKET_FILTER; printf("%s %r\\n", $r, buf("ab", 2)); }',
        says="SKB_DROP_REASON_SOCKET_FILTER ab",
    ),
    Case("printf", "begin { $f = comm; printf($f); }", refused="literal|constant"),
    Case("printf", 'begin { printf("%d %d\\n", 1); }', refused="argument"),
    Case(
        "strftime", f'begin {{ printf("%s\\n", strftime("{WHEN}", nsecs)); print(strftime("{WHEN}", nsecs(tai))); }}', holds=_now
    ),
    Case("strftime", 'begin { print(strftime("%f", nsecs)); }', holds=_parts),
    Case("time", f'begin {{ time("{WHEN}\\n"); }}', holds=_now),
    Case("time", "begin { time(); }", like=r"\d\d:\d\d:\d\d"),
    Case("system", 'begin { system("echo %s %d; echo second", "one", 2); }', says="one 2\nsecond"),
    Case(
        "system", 'begin { system("exit 3"); print("on"); }', holds=lambda t: t.out.endswith("on"), remarks="exit code 3", peer=""
    ),
    Case(
        "zero",
        "begin { @a[1] = 5; @a[2] = 7; @n = count(); zero(@a); zero(@n); print(@a); exit(); }",
        holds=lambda t: t.out.splitlines()[:2] == ["@a[1]: 0", "@a[2]: 0"],
    ),
    Case(
        "avg",
        "begin { @x = avg(3); @x = avg(6); @x = avg(9); @neg = avg(-4); @neg = avg(-6); if (@x == 6) { print((int64)@x); } }",
        says=f"{(3 + 6 + 9) // 3}\n@neg: -5\n@x: 6",
    ),
    Case(
        "count",
        'begin { @ = count(); @ = count(); printf("%d\\n", (int64)@); @k[1] = count(); if (@ > 1) { print("more"); } }',
        says="2\nmore\n@: 2\n@k[1]: 1",
    ),
    Case(
        "hist",
        "begin { @ = hist(-1); @ = hist(0); @ = hist(1); @ = hist(2); @ = hist(3); @ = hist(1000); @ = hist(1000); }",
        says="@:\n"
        + "\n".join(
            f"{place:<20} {n:>3} |{'@' * (n * 52 // 2):<52}|"
            for place, n in [
                ("(..., 0)", 1),
                ("[0]", 1),
                ("[1]", 1),
                ("[2, 4)", 2),
                ("[4, 8)", 0),
                ("[8, 16)", 0),
                ("[16, 32)", 0),
                ("[32, 64)", 0),
                ("[64, 128)", 0),
                ("[128, 256)", 0),
                ("[256, 512)", 0),
                ("[512, 1K)", 2),
            ]
        ),
    ),
    Case("hist", "begin { @ = hist(5, 2); @[1] = 1; }", refused="map|key|type"),
    Case("hist", "begin { @ = hist(20, 2); @ = hist(27, 2); }", holds=lambda t: "[20, 24)" in t.out and "[24, 28)" in t.out),
    Case("hist", "begin { @ = hist(1, 6); }", refused="5"),
    Case(
        "lhist",
        "begin { @ = lhist(-5, 0, 10, 5); @ = lhist(0, 0, 10, 5); @ = lhist(7, 0, 10, 5); @ = lhist(9, 0, 10, 5); @ = lhist(10, 0, 10, 5); }",
        says="@:\n"
        + "\n".join(
            f"{place:<20} {n:>3} |{'@' * (n * 52 // 2):<52}|"
            for place, n in [("(..., 0)", 1), ("[0, 5)", 1), ("[5, 10)", 2), ("[10, ...)", 1)]
        ),
    ),
    Case("lhist", "begin { @ = lhist(1, 10, 0, 1); }", refused="lhist|max|min"),
    Case(
        "max",
        "begin { @x = max(3); @x = max(33); @x = max(4); @neg = max(-7); @neg = max(-9); print((int64)@x); }",
        says="33\n@neg: -7\n@x: 33",
    ),
    Case(
        "min",
        "begin { @x = min(3); @x = min(33); @x = min(4); @neg = min(-7); @neg = min(-9); print((int64)@x); }",
        says="3\n@neg: -9\n@x: 3",
    ),
    Case(
        "stats",
        'begin { @["a"] = stats(3); @["a"] = stats(6); @s = stats(10); }',
        says="@[a]: { .count = 2, .average = 4, .total = 9 }\n@s: { .count = 1, .average = 10, .total = 10 }",
    ),
    Case(
        "sum",
        'begin { @ = sum(5); @ = sum(6); printf("%d\\n", (int64)@); @u = sum((uint64)-1); @n = sum(-4); }',
        says=f"11\n@: 11\n@n: -4\n@u: {2**64 - 1}",
    ),
    Case(
        "tseries",
        'begin { @ = tseries(4, 10s, 5); @ = tseries(6, 10s, 5); @m = tseries(4, 1s, 5, "max"); @m = tseries(2, 1s, 5, "max"); }',
        holds=lambda t: bool(re.search(r"@:\n.*\| 6$", t.out, re.M | re.S) or re.search(r"\* 6$", t.out, re.M)) and "4" in t.out,
    ),
    Case("tseries", 'begin { @ = tseries(4, 1s, 5, "median"); }', refused="median|agg"),
)
