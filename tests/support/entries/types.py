"""Entries about types, constants and parameters: most of them decide something before the program runs."""

from __future__ import annotations

from support.cgroups import cgroup2_mount
from support.entries.case import Case

DEEP = "struct Foo { struct { struct { int pad; struct { int pad; int d; } c; } b; } a; int last; };"

CASES = (
    Case("assert_str", 'begin { assert_str("text"); assert_str(comm); print(1); }', says="1"),
    Case("assert_str", "begin { assert_str(5); }", refused="string"),
    Case(
        "default_str_length",
        "config = { max_strlen = 100 } begin { print(default_str_length); print(default_str_length()); }",
        says="100\n100",
    ),
    Case(
        "default_str_length",
        "begin { print(default_str_length == sizeof(str(0))); }",
        says="true",
        differs="sizeof(str(0)) is 2 there: a pointer known to be 0 is read when it is compiled",
    ),
    Case(
        "fail",
        'begin { if ($1 < 2) { fail("Expected more than 1. Got %d", $1); } print("fine"); }',
        args=("1",),
        refused=r"ERROR: Expected more than 1\. Got 1",
    ),
    Case(
        "fail",
        'begin { if comptime ($1 < 2) { fail("Expected more than 1. Got %d", $1); } print("fine"); }',
        args=("3",),
        says="fine",
    ),
    Case("fail", 'begin { fail("%d", nsecs); }', refused="literal|constant"),
    Case("static_assert", 'begin { static_assert(sizeof((uint32)1) == 4, "four bytes"); print(1); }', says="1"),
    Case("static_assert", 'begin { static_assert(1 == 2, "one is not two"); }', refused="one is not two"),
    Case(
        "getopt",
        """begin { print((getopt("hello", 1), getopt("name", "none"), getopt("flag"), getopt("off", true), getopt("absent"),
        getopt("number", 7), getopt("text", "a default"), getopt("set", false))); }""",
        params=(("hello", "5"), ("name", "bye"), ("flag", ""), ("off", "false"), ("set", "1")),
        says="(5, bye, true, false, false, 7, a default, true)",
    ),
    Case(
        "getopt",
        'begin { print((getopt("aa", 10), getopt("bb", "hello"), getopt("cc"), getopt("dd", false))); }',
        params=(("cc", ""), ("bb", "bye")),
        says="(10, bye, true, false)",
    ),
    Case("getopt", 'begin { $d = 5; print(getopt("aa", $d)); }', refused="literal"),
    Case(
        "is_array",
        'begin { print((is_array(pton("1.2.3.4")), is_array("text"), is_array(1), is_array(curtask.comm))); }',
        says="(true, false, false, false)",
        peer='begin { print((is_array(pton("1.2.3.4")), is_array("text"), is_array(1), is_array(curtask.comm))); }',
    ),
    Case(
        "is_integer",
        'begin { $a = (int8)1; print((is_integer(1), is_integer($a), is_integer(pid), is_integer("1"), is_integer(curtask))); }',
        says="(true, true, true, false, false)",
    ),
    Case(
        "is_literal",
        'begin { $a = 1; print((is_literal(1), is_literal(true), is_literal("hello"), is_literal($a), is_literal(pid))); }',
        says="(true, true, true, false, false)",
    ),
    Case(
        "is_ptr",
        'begin { print((is_ptr(curtask), is_ptr((int8 *)1), is_ptr(1), is_ptr("text"))); }',
        says="(true, true, false, false)",
    ),
    Case(
        "is_str",
        'begin { $s = "a"; print((is_str("text"), is_str($s), is_str(comm), is_str(1), is_str(curtask))); }',
        says="(true, true, true, false, false)",
    ),
    Case(
        "is_unsigned_integer",
        'begin { print((is_unsigned_integer(pid), is_unsigned_integer((uint8)1), is_unsigned_integer((int8)1), is_unsigned_integer("1"))); }',
        says="(true, true, false, false)",
    ),
    Case(
        "is_err",
        "begin { $a = (int64)-1; $b = (int64)-4095; $c = (int64)-4096; print((is_err((int8 *)$a), is_err((int8 *)$b), is_err((int8 *)$c), is_err(curtask))); }",
        says="(true, true, false, false)",
    ),
    Case(
        "kfunc_exist", 'begin { print((kfunc_exist("bpf_task_from_pid"), kfunc_exist("no_such_kfunc"))); }', says="(true, false)"
    ),
    Case(
        "kfunc_exist",
        'begin { if (kfunc_exist("no_such_kfunc")) { print("there"); } else { print("not there"); } }',
        says="not there",
    ),
    Case(
        "kfunc_allowed",
        'CALL { print((kfunc_allowed("no_such_kfunc"), kfunc_allowed("bpf_task_from_pid"))); }',
        work="",
        says="(false, true)",
    ),
    Case(
        "offsetof",
        f"""{DEEP} begin {{ print((offsetof(struct Foo, a.b.c.d), offsetof(struct Foo, a), offsetof(struct Foo, last)));
        $f = (struct Foo *)0; print(offsetof(*$f, a.b.c)); }}""",
        says="(8, 0, 12)\n4",
    ),
    Case(
        "offsetof",
        "begin { $t = (uint64)curtask; print(*(uint32 *)($t + offsetof(struct task_struct, tgid)) == curtask.tgid); }",
        says="true",
    ),
    Case("offsetof", f"{DEEP} begin {{ print(offsetof(struct Foo, nothing)); }}", refused="nothing"),
    Case(
        "sizeof",
        f"""{DEEP} begin {{ print((sizeof(struct Foo), sizeof(int8), sizeof(uint64), sizeof((1, 2000)), sizeof(comm)));
        $p = (struct Foo *)0; print((sizeof(*$p), sizeof($p))); }}""",
        says="(16, 1, 8, 4, 16)\n(16, 8)",
        differs="bpftrace does not know comm, a macro, inside of sizeof",
    ),
    Case(
        "sizeof",
        "begin { print(sizeof(struct task_struct) == sizeof(*curtask)); print(sizeof(struct task_struct) > 1000); }",
        says="true\ntrue",
    ),
    Case("sizeof", "begin { print(sizeof(struct never_heard_of)); }", refused="never_heard_of"),
    Case("kptr", "begin { $p = kptr(curtask); print($p.tgid == pid); print($p == curtask); }", says="true\ntrue"),
    Case(
        "uptr",
        "OPEN { $p = (uint64)args.filename; print(str(uptr((int8 *)$p))); print(strlen(str(kptr((int8 *)$p)))); }",
        work="",
        says="/nowhere/at all\n0",
    ),
    Case(
        "container_of",
        """begin { $node = curtask.tasks.next; $task = container_of($node, typeof(struct task_struct), tasks);
        print(container_of($task.tasks.prev, typeof(struct task_struct), tasks) == curtask.group_leader); }""",
        says="true",
    ),
    Case(
        "typeof",
        "begin { let $a: typeof(pid) = 5; print(sizeof($a)); $b = (typeof((int16)1))70000; print($b); }",
        says=f"4\n{70000 - 65536}",
    ),
    Case(
        "typeinfo",
        "config = { unstable_typeinfo = enable } begin { $t = curtask; print(typeinfo((uint16)1).full_type); print(typeinfo($t).full_type); print(typeinfo(1).base_type); }",
        says="uint16\nstruct task_struct *\nint",
    ),
    Case("config", "config = { max_strlen = 100 } begin { print((config().max_strlen, config().license)); }", says="(100, GPL)"),
    Case("ncpus", "begin { print(ncpus); print(ncpus()); print(cpu < ncpus); }", says="<ncpus>\n<ncpus>\ntrue"),
    Case(
        "cpid",
        "CALL { print((cpid, pid == cpid(), sizeof(cpid))); }",
        work="",
        says="(<pid>, true, 4)",
        differs="bpftrace does not know cpid, a macro, inside of sizeof",
    ),
    Case(
        "has_cpid",
        "begin { print(has_cpid); if (has_cpid()) { print(cpid); } }",
        work="",
        says="true\n<pid>",
        differs="the other way round there",
    ),
    Case(
        "has_cpid",
        'begin { if (has_cpid) { print(cpid); } else { print("no child"); } }',
        says="no child",
        differs="the other way round there",
    ),
    Case("cgroupid", 'begin { print(cgroupid("CGROUPS") + 0); }', holds=lambda t: int(t.out) == cgroup2_mount().stat().st_ino),
    Case("cgroupid", 'begin { print(cgroupid("/no/such/cgroup")); }', refused="/no/such/cgroup"),
)
