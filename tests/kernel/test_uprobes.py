"""uprobe and uretprobe on a C program of the tests: arguments, results, strings of its memory."""

from __future__ import annotations

import subprocess

import pytest

from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.values import Value
from support.programs import pair, result, running
from support.victim import victim, victim_program

pytestmark = pytest.mark.kernel


def printed(body: str, function: str, kind: str = "uprobe", times: int = 1) -> list[Value]:
    """What a probe's body prints when the victim makes its calls."""
    with victim(times) as process:
        with running(f"{kind}:{victim_program()}:{function} /pid == {process.pid}/ {{ {body} }}") as session:
            process.go()
        return result(session).printed


def test_arguments() -> None:
    assert printed("print((arg0, arg1, arg2, arg3, arg4, arg5))", "six") == [pair(1, 2, 3, 4, 5, 1 << 63)]


def test_results() -> None:
    assert printed("print(retval)", "six", "uretprobe") == [15 + (1 << 63)]
    assert printed("print((int64)retval); print((int32)retval)", "negative", "uretprobe", times=3) == [0, 0, -1, -1, -2, -2]


def test_strings_of_the_process() -> None:
    body = "print(str(arg0)); print(str(arg0, arg1)); print(str(arg0, 3)); @[str(arg0)] = count();"
    assert printed(body, "text") == ["some words", "som", "so", "", "", ""]


def test_a_string_is_the_same_by_every_way() -> None:
    body = (
        '$s = str(arg0); print($s == "some words"); print(str(arg0) == $s); print(str((int8 *)arg0)); print($s[5]); '
        "print(((uint8 *)arg0)[5]); print(*(uint8 *)arg0);"
    )
    assert printed(f"if (arg0) {{ {body} }}", "text") == [True, True, "some words", ord("w"), ord("w"), ord("s")]


def test_strings_as_results() -> None:
    assert printed("print(str(retval))", "choose", "uretprobe", times=2) == ["other", "chosen"]


def test_reading_user_memory_by_casts() -> None:
    body = "$p = arg0; print(*(int32 *)$p); print(*(int64 *)($p + 8)); print(((int64 *)$p)[1]); print(str(*(uint64 *)($p + 16)));"
    assert printed(body, "look") == [-3, 1 << 40, 1 << 40, "a point"]


def test_calls_are_counted_exactly_even_by_many_processes() -> None:
    text = f"uprobe:{victim_program()}:six {{ @n = count(); @by[pid] = count(); @s[str(arg0), pid] = count(); }}"
    with victim(200) as one, victim(300) as two:
        with running(text) as session:
            one.go()
            two.go()
        ran = result(session)
        assert ran.cell("@n") == Count(500)
        assert ran.maps["@by"] == {one.pid: Count(200), two.pid: Count(300)}
        assert ran.maps["@s"] == {pair("", one.pid): Count(200), pair("", two.pid): Count(300)}


def test_large_values_of_programs_that_overtake_each_other() -> None:
    """Uprobes can be preempted by themselves: strings in scratch memory must stay those of their own process."""
    path = victim_program()
    text = f"""uprobe:{path}:text /arg0/ {{
        $s = str(arg0, 200); $t = str(arg0, 150); @ok[pid, $s == $t && $s == "some words"] = count(); @text[$s, $t] = count();
    }}"""
    with victim(3000) as one, victim(3000) as two, victim(3000) as three:
        processes = (one, two, three)
        with running(text) as session:
            for process in processes:
                assert process.process.stdin is not None
                process.process.stdin.write("x")
                process.process.stdin.flush()
            for process in processes:
                process._expect("done")
        ran = result(session)
        assert ran.maps["@ok"] == {pair(p.pid, True): Count(3000) for p in processes}
        assert ran.maps["@text"] == {pair("some words", "some words"): Count(9000)}
        assert ran.counters.lost == 0


def test_offsets_and_addresses() -> None:
    symbols = subprocess.run(["nm", str(victim_program())], capture_output=True, text=True, check=True).stdout.splitlines()
    address = next(int(line.split()[0], 16) for line in symbols if line.endswith(" T negative"))
    path = victim_program()
    with victim(5) as process:
        text = (
            f"uprobe:{path}:{address:#x} /pid == {process.pid}/ {{ @a = count(); "
            f"}} uprobe:{path}:negative+0 /pid == {process.pid}/ {{ @b = count(); }}"
        )
        with running(text) as session:
            process.go()
        assert (result(session).maps["@a"], session.manifest.attaches[0].target["offset"]) == ({None: Count(5)}, address)
