"""Types that inference finds, told by programs: what a variable, map, key or expression becomes over the whole program."""

from __future__ import annotations

import pytest

from kubebpf.compiler.complaints.render import render_all
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Int
from support.programs import checked, codes


def program(text: str, view: KernelView) -> typed.Program:
    done = checked(text, view)
    assert done.program is not None, render_all(done.report)
    return done.program


def map_types(text: str, view: KernelView) -> dict[str, str]:
    """`{"@a": "int64", "@b[string[4]]": "count_t"}`."""
    return {f"{m.name}[{m.key}]" if m.key else m.name: str(m.value) for m in program(text, view).maps}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # literals take the smallest signed type
        ("0", "int8"), ("127", "int8"), ("128", "int16"), ("-128", "int8"), ("-129", "int16"), ("32767", "int16"),
        ("32768", "int32"),
        ("2147483648", "int64"), ("9223372036854775807", "int64"), ("9223372036854775808", "uint64"),
        ("18446744073709551615", "uint64"),
        ("true", "bool"), ('"abc"', "string[4]"), ('""', "string[1]"), ("1ms", "int32"), ("0xff", "int16"),
        # folding
        ("1 + 1", "int8"), ("100 + 100", "int16"), ("-5 * 100", "int16"), ("1 << 40", "int64"), ("5 == 5", "bool"),
        ("~0", "uint64"),
        ('"a" + "b"', "string[3]"), ("-(-0x8000000000000000)", "uint64"), ("(1, 2).1", "int8"), ("comptime 5", "int8"),
        # arithmetic is done in 64 bits; a difference is signed, other operators are signed when an operand is
        ("$u8 + 1", "uint64"), ("$u8 - 1", "int64"), ("$i8 + 1", "int64"), ("$u64 + $u8", "uint64"), ("$u64 + $i8", "int64"),
        ("$u64 * 2", "uint64"), ("$u64 * -2", "int64"), ("$u64 - $u64", "int64"), ("$u8 & 3", "uint64"), ("$u8 << 3", "uint64"),
        ("-$i8", "int64"), ("-$u8", "uint8"), ("~$u32", "uint32"), ("~$i8", "int64"), ("!$u8", "bool"),
        # comparison and logic
        ("$u8 < 3", "bool"), ("$u8 && $i8", "bool"), ('$s == "x"', "bool"), ("($u8, 1) == (1, 1)", "bool"),
        # casts
        ("(uint16)$u64", "uint16"), ("(int32)$u64", "int32"), ("(bool)$u64", "bool"), ("(int32 *)$u64", "int32*"),
        ("(uint8[8])$u64", "uint8[8]"),
        ("(uint64_t)1", "uint64"), ("(char)1", "int8"), ("(u64)1", "uint64"), ("(pid_t)1", "int32"),
        ("(enum color)1", "enum color"),
        # choices join
        ("$u8 ? 1 : 300", "int16"), ('$u8 ? "a" : "abc"', "string[4]"), ("$u8 ? $u8 : $u32", "uint32"),
        ("$u8 ? $i8 : $u8", "int16"), ("$u8 ? $n : $u64", "uint64"), ("$n + $u64", "uint64"), ("$n * $i8", "int64"),
        ("$u8 ? $u64 : 1", "uint64"), ("$u8 ?: 5", "uint8"), ("if ($u8) { 1 } else { 1000 }", "int16"),
        ("{ let $q = (uint16)1; $q }", "uint16"),
        # builtins
        ("pid", "uint32"), ("tid", "uint32"), ("uid", "uint64"), ("comm", "string[16]"), ("nsecs", "uint64"),
        ("cgroup", "uint64"),
        ("curtask", "struct task_struct*"), ("str(0)", "string[1024]"), ("str(0, 5)", "string[5]"), ("len(@other)", "int64"),
        ("has_key(@other, 1)", "bool"), ("delete(@other, 1)", "bool"),
        # kernel structs
        ("curtask.pid", "int32"), ("curtask.comm", "string[16]"), ("curtask.real_parent", "struct task_struct*"),
        ("curtask.in_execve", "uint32"),
        ("curtask.se.vruntime", "uint64"), ("curtask.se", "struct sched_entity"), ("curtask.numbers", "int32[4]"),
        ("curtask.numbers[1]", "int32"), ("curtask.second", "int32"), ("curtask.real_parent.real_parent.tgid", "int32"),
        ("(*curtask).pid", "int32"),
        ("curtask[0].pid", "int32"), ("curtask + 1", "struct task_struct*"), ("curtask.comm[0]", "int8"),
        ("*(uint16 *)0", "uint16"),
        ("sizeof(struct task_struct)", "uint64"), ("offsetof(struct task_struct, se.vruntime)", "uint64"),
        ("GREEN", "enum color"),
        # tuples and records
        ("(1, \"a\")", "(int8,string[2])"), ("(x = 1, y = true)", "record { .x = int8; .y = bool; }"),
        ("((1, 2), 3).0", "(int8,int8)"),
        ("(1, 2, 3)[2]", "int8"),
    ],
)  # fmt: skip
def test_expressions(expression: str, expected: str, small: KernelView) -> None:
    before = '$n = 1; $u8 = (uint8)1; $i8 = (int8)1; $u32 = (uint32)1; $u64 = (uint64)1; $s = "abc"; @other[1] = 1;'
    text = f"begin {{ {before} @ = ({expression}, 1); }}"
    assert map_types(text, small)["@"] == f"({expected},int8)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a map's value is what all its assignments have in common
        ("begin { @ = 1; @ = 300; }", {"@": "int16"}),
        ("begin { @ = 1; @ = -1; }", {"@": "int8"}),
        ("begin { @ = 1; } end { @ = nsecs; }", {"@": "uint64"}),
        ("begin { @ = -1; } end { @ = nsecs; }", {"@": "int64"}),
        ("begin { @ = (uint8)1; @ = (int8)1; }", {"@": "int16"}),
        ("begin { @ = (uint32)1; @ = (int8)1; }", {"@": "int64"}),
        ("begin { @ = (uint32)1; @ = 1; }", {"@": "uint32"}),
        ('begin { @ = "a"; @ = "abcdef"; }', {"@": "string[7]"}),
        ('begin { @ = (1, "a"); @ = (300, "abc"); }', {"@": "(int16,string[4])"}),
        ("begin { @ = (a = 1, b = 2); @ = (b = 300, a = 1); }", {"@": "record { .a = int8; .b = int16; }"}),
        # so are its keys
        ('begin { @["a"] = 1; @["abc"] = 1; }', {"@[string[4]]": "int8"}),
        ("begin { @[1, 2] = 1; @[1000, -1] = 1; }", {"@[(int16,int8)]": "int8"}),
        ("begin { @[(1, 2)] = 1; @[3, 4] = 1; }", {"@[(int8,int8)]": "int8"}),
        ("begin { @[pid] = 1; @[1] = 1; }", {"@[uint32]": "int8"}),
        ("begin { print(@[1]); } end { @[nsecs] = 1; }", {"@[uint64]": "int8"}),
        # maps learn from each other, in any order
        ("begin { @b = @a; @c = @b; } end { @a = nsecs; }", {"@a": "uint64", "@b": "uint64", "@c": "uint64"}),
        ("begin { @a = @b; @b = @a; @b = 1; @a = 70000; }", {"@a": "int32", "@b": "int32"}),
        ('begin { @a[@b] = @b; @b = "text"; }', {"@a[string[5]]": "string[5]", "@b": "string[5]"}),
        # steps and compound assignments
        ("begin { @++; }", {"@": "int64"}),
        ("begin { @--; @k[1]++; }", {"@": "int64", "@k[int8]": "int64"}),
        ("begin { @ += 1; }", {"@": "int64"}),
        ("begin { @ = (uint64)1; @++; }", {"@": "uint64"}),
        ("begin { @ += nsecs; }", {"@": "int64"}),
        ("begin { @ = 0; @ += nsecs; }", {"@": "uint64"}),
        ("begin { $x = 1; @ = $x; @ = nsecs; }", {"@": "uint64"}),
        # map functions
        ("begin { @a = count(); @b = sum(-1); @c = sum(nsecs); @d = avg(1); }",
         {"@a": "count_t", "@b": "sum_t", "@c": "usum_t", "@d": "avg_t"}),
        ("begin { @a = hist(1); @b = hist(1, 3); @c = lhist(nsecs, 0, 10, 2); }",
         {"@a": "hist_t", "@b": "hist_t(3)", "@c": "ulhist_t(0, 10, 2)"}),
        ("begin { @a = sum(nsecs); @a = sum(-1); }", {"@a": "sum_t"}),
        ("begin { @a = count(); @b = @a + 1; $x = @a; @c = $x; @k[@a] = 1; }",
         {"@a": "count_t", "@b": "int64", "@c": "int64", "@k[int64]": "int8"}),
        # variables: one type over all assignments, scopes of their own
        ("begin { $x = 1; $x = 70000; @ = $x; }", {"@": "int32"}),
        ("begin { $x = 1; @a = $x; $x = nsecs; }", {"@a": "uint64"}),
        ('begin { if (1) { $x = 1; @a = $x; } else { $x = "a"; @b = $x; } }', {"@a": "int8", "@b": "string[2]"}),
        ("begin { let $x: uint16 = 1; $x = 2; @ = $x; }", {"@": "uint16"}),
        ("begin { let $x; $x = 1; @ = $x; }", {"@": "int8"}),
        ("begin { $x = 1; @a = $x; } end { $x = true; @b = $x; }", {"@a": "int8", "@b": "bool"}),
        ("begin { $t = curtask; @ = $t.real_parent.pid; }", {"@": "int32"}),
        # arguments of probes
        ("tracepoint:sched:sched_switch { @a = args.prev_comm; @b = args.prev_pid; @c = args.prev_state; }",
         {"@a": "string[16]", "@b": "int32", "@c": "int64"}),
        ("tracepoint:syscalls:sys_enter_read { @a = args.buf; @b = args.count; @c = args.fd; }",
         {"@a": "int8*", "@b": "uint64", "@c": "uint32"}),
        ("rawtracepoint:sched_switch { @a = args.prev; @b = args.state; @c = arg0; @d = args.prev.comm; }",
         {"@a": "struct task_struct*", "@b": "int32", "@c": "uint64", "@d": "string[16]"}),
        ("uprobe:/bin/sh:main { @a = arg0; @b = str(arg1, 8); } uretprobe:/bin/sh:main { @c = retval; }",
         {"@a": "uint64", "@b": "string[8]", "@c": "uint64"}),
    ],
)  # fmt: skip
def test_maps(text: str, expected: dict[str, str], small: KernelView) -> None:
    assert map_types(text, small) == expected


def test_every_attach_point_has_a_body_of_its_own(small: KernelView) -> None:
    probes = program(
        "tracepoint:syscalls:sys_enter_read,tracepoint:syscalls:sys_exit_read { @ = count(); $x = probe; }", small
    ).probes
    assert [p.target.text for p in probes] == ["tracepoint:syscalls:sys_enter_read", "tracepoint:syscalls:sys_exit_read"]


def test_an_argument_that_one_attach_point_lacks_is_an_error_there(small: KernelView) -> None:
    text = "tracepoint:syscalls:sys_enter_read,tracepoint:syscalls:sys_exit_read { @ = args.ret; }"
    assert codes(text, small) == ["NoSuchField"]


def test_a_long_chain_of_maps_is_followed(small: KernelView) -> None:
    chain = " ".join(f"@m{i} = @m{i + 1};" for i in range(25))
    found = map_types(f"begin {{ {chain} @m25 = nsecs; }}", small)
    assert set(found.values()) == {"uint64"}


def test_constant_conditions_under_comptime_leave_dead_branches_untyped(small: KernelView) -> None:
    assert map_types('begin { if comptime (1 == 1) { @ = 1; } else { @ = "text"; } }', small) == {"@": "int8"}


def test_deep_trees_are_typed(small: KernelView) -> None:
    depth = 190
    chain = " + ".join(["$x"] * depth)
    assert map_types(f"begin {{ $x = nsecs; @ = {chain}; }}", small) == {"@": "uint64"}
    nested = "if ($x) { " * 90 + "@ = 1; " + "}" * 90
    assert map_types(f"begin {{ $x = nsecs; {nested} }}", small) == {"@": "int8"}


def test_unused_declared_maps_are_left_out(small: KernelView) -> None:
    assert map_types("let @unused = hash(5); begin { @ = 1; }", small) == {"@": "int8"}


@pytest.mark.parametrize("text", ["@n = @n + 1", "@n[1] = 2 * (@n[1] - 3)", "@n = @n * 2; @n = nsecs"])
def test_arithmetic_on_the_map_itself_makes_it_a_number(text: str) -> None:
    program = checked(f"begin {{ {text}; }}").program
    assert program is not None
    (info,) = program.maps
    assert isinstance(info.value, Int)


@pytest.mark.parametrize("text", ["@n = @n", "@n = (1, @n)", "@a = @b; @b = @a"])
def test_what_nothing_gives_a_type_is_no_program(text: str) -> None:
    """Such statements were left out silently once."""
    assert codes(f"begin {{ {text}; }}") == ["Unresolved"]
