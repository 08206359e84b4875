"""Helpers about strings and bytes, each against what Python says of the same bytes."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.values import Array, Bytes, Text
from support.programs import result, run, running
from support.victim import victim, victim_program

pytestmark = pytest.mark.kernel
WORDS = ("", "a", "ab", "abcdefg", "abcdefgh", "abcdefghi", "abcdefgh\xff", "abcdefghabcdefghi", "bbbbbbbbbbbbbbbbab", "b" * 40)


def order(a: bytes, b: bytes) -> int:
    """As memcmp(3) of the GNU C library: how far the first bytes that differ are apart."""
    return next((x - y for x, y in zip(a, b, strict=False) if x != y), 0)


def values(declarations: str, *expressions: str) -> list[object]:
    """The values of expressions in one program."""
    printed = "".join(f"print({e});" for e in expressions)
    return list(run(f"begin {{ {declarations} {printed} }}").printed)


def held(text: str) -> str:
    """A string that the compiler knows nothing of: it comes out of a map."""
    return f'@s["{text}"]'


def filled(*texts: str) -> str:
    return "".join(f'{held(t)} = "{t}";' for t in texts)


def test_strlen() -> None:
    asked = [f"strlen({held(w)})" for w in WORDS]
    assert values(filled(*WORDS), *asked) == [len(w.encode()) for w in WORDS]
    assert values("", 'strlen("abc")', 'strlen("")', "strlen(comm)", 'strlen(pton("1.2.3.4"))') == [3, 0, len_of_comm(), 4]


def len_of_comm() -> int:
    return len(Path("/proc/self/comm").read_bytes()) - 1


def opened(path: bytes, *expressions: str, config: str = "", first: str = "") -> list[object]:
    """The values of expressions about `args.filename` when this process tries to open a file that is not there."""
    printed = "".join(f"print({e});" for e in expressions)
    event = f"tracepoint:syscalls:sys_enter_openat /pid == {os.getpid()} && args.flags == {os.O_PATH | os.O_CLOEXEC}/"
    text = f"{config} {event} {{ {first} {printed} }}"
    with running(text) as session, contextlib.suppress(OSError):
        os.open(path, os.O_PATH)
    return list(result(session).printed)


def test_strlen_of_memory() -> None:
    """A path that a process opens, as a pointer to its memory and as a string."""
    asked = ("strlen(args.filename)", "strlen(str(args.filename))", "strlen(str(args.filename, 5))", "strcap(args.filename)")
    assert opened(b"/nowhere/at all", *asked) == [15, 15, 4, 15]


def test_str() -> None:
    """A length cuts, NUL included; what is longer than max_strlen is cut behind it, and shown as cut."""
    path, n = b"/nowhere/at all", "rand >= 0 ? 5 : 1"
    asked = ("str(args.filename)", "str(args.filename, 5)", f"str(args.filename, {n})", "str(args.filename, 0)")
    assert opened(path, *asked) == ["/nowhere/at all", "/now", "/now", ""]
    cut = ("str(args.filename)", "str(args.filename, 8)", "strlen(str(args.filename))", "$s", "strlen($s)", "sizeof($s)")
    short = "config = { max_strlen = 8 }"
    assert opened(path, *cut, config=short, first="$s = str(args.filename);") == [
        "/nowhere..",
        "/nowher",
        8,
        "/nowhere..",
        8,
        8,
    ]
    assert opened(b"/nowher", "str(args.filename)", config=short) == ["/nowher"]
    trailer = 'config = { max_strlen = 8; str_trunc_trailer = "[cut]" }'
    assert opened(path, "str(args.filename)", config=trailer) == ["/nowhere[cut]"]
    held = '$a = "abcdefgh"; $n = rand >= 0 ? 4 : 1; $m = $n + 100;'
    assert values(held, "str($a, 4)", "str($a, $n)", "str($a, $m)", 'str(pton("65.66.67.68"))') == [
        "abc",
        "abc",
        "abcdefgh",
        "ABC",
    ]


def test_strcap() -> None:
    assert values('$a = str("hello");', "strcap($a)", 'strcap("abc")', "strcap(comm)", 'strcap(pton("::1"))') == [6, 4, 16, 16]


def test_strncmp() -> None:
    rng = random.Random(7)
    cases = [(rng.choice(WORDS), rng.choice(WORDS), rng.choice((0, 1, 7, 8, 9, 16, 17, 40))) for _ in range(40)]
    asked = [f"strncmp({held(a)}, {held(b)}, {n})" for a, b, n in cases]
    assert values(filled(*WORDS), *asked) == [int(a[:n] != b[:n]) for a, b, n in cases]
    assert values("", 'strncmp("one", "one ", 4)', "strncmp(comm, comm, 16)", 'strncmp("abx", "aby", 2)') == [1, 0, 0]


def test_memcmp() -> None:
    rng = random.Random(8)
    cases = [(rng.choice(WORDS[4:]), rng.choice(WORDS[4:]), rng.randrange(9)) for _ in range(30)]
    asked = [f"memcmp({held(a)}, {held(b)}, {n})" for a, b, n in cases]
    expected = [order((a.encode() + bytes(9))[:n], (b.encode() + bytes(9))[:n]) for a, b, n in cases]
    assert values(filled(*WORDS), *asked) == expected
    counts = f"$a = {held('abcdefghi')}; $b = {held('abcdefgh')}; $n = rand >= 0 ? 8 : 0; $m = $n + 1;"
    assert values(filled(*WORDS) + counts, "memcmp($a, $b, $n)", "memcmp($b, $a, $m)", "memcmp($a, $b, $m)") == [0, -105, 105]
    assert values("$p = curtask;", "memcmp($p, $p, 8)", "memcmp((uint32)1, (uint32)1, 4)") == [0, 0]


def test_strstr_and_strcontains() -> None:
    texts, needles = WORDS, ("", "b", "ab", "gh", "hab", "hi", "bbbbbbbbbbbbbbbbbbbbbba", "abcdefghabcdefghi")
    pairs = [(t, n) for t in texts for n in needles]
    asked = [f"strstr({held(t)}, {held(n)})" for t, n in pairs]
    assert values(filled(*texts, *needles), *asked[:40]) == [t.encode().find(n.encode()) for t, n in pairs[:40]]
    assert values(filled(*texts, *needles), *asked[40:]) == [t.encode().find(n.encode()) for t, n in pairs[40:]]
    asked = [f"strcontains({held(t)}, {held(n)})" for t, n in pairs[8:40]]
    assert values(filled(*texts, *needles), *asked) == [n in t for t, n in pairs[8:40]]


def test_strings_of_full_length() -> None:
    """1024 bytes and more: nothing is cut, and the verifier follows."""
    long = "x" * 1500
    text = (
        "config = { max_strlen = 2048 } "
        f'begin {{ @a = "{long}"; $b = str_concat(@a, "needle"); print(strlen($b)); print(strstr($b, "needle")); '
        f"print(strncmp($b, @a, 1500)); print(strncmp($b, @a, 1501)); print(strcontains($b, $b)); }}"
    )
    assert run(text).printed == [1506, 1500, 0, 1, True]


def test_str_concat() -> None:
    text = """begin {
        $log = "log"; $path = str_concat("var", "/"); $path = str_concat("/", $path); $path = str_concat($path, "log/");
        $path = str_concat($path, $log); print($path); print(str_concat(comm, "!") == str_concat(comm, "!"));
        @keys[str_concat($log, "s")] = 1; print(@keys["logs"]);
    }"""
    assert run(text).printed == ["/var/log/log", True, 1]
    long = "y" * 700
    cut = run(f'begin {{ @a = "{long}"; print(strlen(str_concat(@a, @a))); }}').printed
    assert cut == [1023]


def test_strings_in_a_uprobe() -> None:
    """Where a program can be interrupted, and its memory is the process's."""
    asked = (
        "strlen(str(arg0))", 'strstr(str(arg0), "words")', 'strncmp(str(arg0), "some", 4)', 'strcontains(str(arg0), "none")',
        'str_concat(str(arg0), "!")', "strlen((int8 *)arg0)", "buf(arg0, 4)", 'memcmp(str(arg0), "some", 4)',
    )  # fmt: skip
    printed = "".join(f"print({e});" for e in asked)
    with victim() as process:
        with running(f"uprobe:{victim_program()}:text /pid == {process.pid} && arg0/ {{ {printed} }}") as session:
            process.go()
        seen = result(session).printed
    assert seen == [10, 5, 0, False, "some words!", 10, Bytes(b"some"), 0]


def test_bytes_of_struct_members() -> None:
    """A char array may hold zeros; a flexible one has no length."""
    text = """struct net { unsigned char v4[4]; char mac[6]; char name[8]; int words[2]; };
    begin {
        @n = (struct net *)0; $n = @n; print(ntop($n->v4)); print(macaddr($n->mac)); print(buf($n->mac)); print(buf($n->words));
        print(strlen($n->name)); print(strcap($n->name)); print(is_array($n->v4)); print(sizeof(buf($n->words)));
    }"""
    zeros = [Text("0.0.0.0", "inet"), Text("00:00:00:00:00:00", "macaddr"), Bytes(bytes(6)), Bytes(bytes(8)), 0, 8, True, 12]
    assert run(text).printed == zeros


def test_bswap() -> None:
    asked = ("bswap((int8)0x12)", "bswap($a)", "bswap($b)", "bswap($c)", "bswap(0x12345678)", "sizeof(bswap($a))")
    declared = "$a = (uint16)0x1234; $b = (uint32)0x12345678; $c = (uint64)0x1122334455667788;"
    assert values(declared, *asked) == [0x12, 0x3412, 0x78563412, 0x8877665544332211, 0x78563412, 2]


def test_buf() -> None:
    asked = ('buf("Hello\\0", 6)', "buf($s, $n)", "buf($s)", 'buf(pton("1.2.3.4"))', 'buf(pton("1.2.3.4"), 2)', "buf($s, 0)")
    declared = '$s = "abcdef"; $n = rand >= 0 ? 3 : 1;'
    wanted = [b"Hello\0", b"abc", b"abcdef\0", b"\1\2\3\4", b"\1\2", b""]
    assert values(declared, *asked) == [Bytes(w) for w in wanted]
    ran = run('begin { $a = buf("ok", 2); printf("%r|%rx|%rh", $a, $a, $a); @[$a] = 1; print(@[buf("ok", 2)]); }')
    assert (ran.lines, ran.printed) == (["ok|\\x6f\\x6b|6f 6b"], [1])


def test_buf_of_memory() -> None:
    asked = ("buf(args.filename, 8)", "buf(args.filename, rand >= 0 ? 4 : 1)", "buf(str(args.filename), 3)")
    assert opened(b"/nowhere/at all", *asked) == [Bytes(b"/nowhere"), Bytes(b"/now"), Bytes(b"/no")]


def test_ntop_and_pton() -> None:
    asked = ('ntop(pton("127.0.0.1"))', 'ntop(pton("2001:db8::1"))', "ntop(0x0100007f)", 'ntop($f, pton("fe80::1"))')
    inet = [Text(t, "inet") for t in ("127.0.0.1", "2001:db8::1", "127.0.0.1", "fe80::1")]
    assert values("$f = rand >= 0 ? 10 : 2;", *asked) == inet
    assert values('$p = pton("1.2.3.4");', "$p[3]", "sizeof($p)", 'sizeof(pton("::"))') == [4, 4, 16]


def test_macaddr() -> None:
    """The bytes of a process's string as an address: upper case, and above 0x7f, too."""
    name = b"\xabABC\xff12"
    assert opened(name, "macaddr(args.filename)") == [Text("AB:41:42:43:FF:31", "macaddr")]


def test_questions_about_types() -> None:
    asked = (
        "is_array($p)", "is_array($s)", "is_str($s)", "is_str(1)", "is_ptr(curtask)", "is_ptr(1)", "is_integer(pid)",
        "is_integer($s)", "is_unsigned_integer(pid)", "is_unsigned_integer(-1)", "is_literal(-1)", "is_literal($s)",
        "is_scalar(@m)", "is_scalar(@s)", "is_err((int8 *)(int64)-1)", "is_err((int8 *)(int64)-4096)", "is_err(curtask)",
    )  # fmt: skip
    declared = '$p = pton("1.2.3.4"); $s = "a"; @m[1] = 1; @s = 1; static_assert(sizeof($p) == 4, "four"); assert_str($s);'
    expected = [True, False, True, False, True, False, True, False, True, False, True, False, False, True, True, False, False]
    assert values(declared, *asked) == expected


def test_config_and_default_str_length() -> None:
    text = (
        "config = { max_strlen = 100 } begin { print(default_str_length); print(config().max_strlen); print(config().license); }"
    )
    assert run(text).printed == [100, 100, "GPL"]


def test_pointers_to_strings() -> None:
    """A string cast to a pointer: the program's own memory, which stays where it is while the program runs."""
    declarations = '$s = "hello"; @m = "map"; $p = (int8*)"abc"; $q = (uint8*)comm; $r = (int8*)$s; $t = (int8*)@m;'
    asked = ("*$p", "$p[2]", "str($r + 1)", "str($q) == comm", "str($t)")
    assert values(declarations, *asked) == [97, 99, "ello", True, "map"]


def test_bytes_of_numbers() -> None:
    asked = ("(int16[4])$n", "(int8[8])(int8)-5", "(int32[2])(uint64)8589934593")
    assert values("$n = (uint8)200;", *asked) == [Array((200, 0, 0, 0)), Array((-5, 0, 0, 0, 0, 0, 0, 0)), Array((1, 2))]


def test_ternary_statements() -> None:
    assert values('$n = 0; pid ? $n++ : printf("no"); !pid ? print(1) : clear(@m); @m[1] = 1;', "$n") == [1]
