"""Actions that user space does, through the whole way: from the text over the kernel to the line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubebpf.agent.session.options import Options
from support.programs import checked, codes, result, running

pytestmark = pytest.mark.kernel
KUBEBPF = str(Path(sys.executable).with_name("kubebpf"))


def ran(program: str, *options: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a run."""
    done = subprocess.run([KUBEBPF, "run", *options, "-e", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_join() -> None:
    words = [f"w{i}" for i in range(20)]
    program = 'tracepoint:syscalls:sys_enter_execve /pid == cpid/ { join(args.argv); join(args.argv, ", "); join(0); }'
    out, _ = ran(program, "-q", "-c", f"/bin/true {' '.join(words)}")
    most = ["/bin/true", *words[:15]]  # as upstream, sixteen words at most
    assert out.splitlines()[:3] == [" ".join(most), ", ".join(most), ""]


def test_join_in_json() -> None:
    out, _ = ran(
        "tracepoint:syscalls:sys_enter_execve /pid == cpid/ { join(args.argv); }", "-qf", "json", "-c", '/bin/true "a b" ä'
    )
    assert out == '{"type": "join", "data": "/bin/true a b ä"}\n'


def test_strftime_knows_the_clock_of_nsecs() -> None:
    formats = "%Y-%m-%d %H:%M:%S %f %k %l"
    clocks = ("nsecs", "nsecs(boot)", "nsecs(tai)", "nsecs(sw_tai)")
    values = "; ".join(f'print(strftime("{formats}", {clock}))' for clock in clocks)
    before = time.time()
    out, _ = ran(f'begin {{ {values}; $t = nsecs(tai); print(strftime("{formats}", $t)); print(strftime("%l", 0)); }}', "-q")
    *lines, _ = out.split("\n\n")[0].splitlines()
    assert len(lines) == 5
    for line in lines:
        day, clock, micro, nano, milli = line.split()
        seconds = time.mktime(time.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S"))
        assert before - 1 <= seconds + int(nano) / 1e9 <= time.time() + 1
        assert (micro, milli) == (nano[:6], nano[:3])


def test_strftime_of_a_clock_without_a_date() -> None:
    assert codes('begin { print(strftime("%H", nsecs(monotonic))); }') == ["WrongArgument"]


def test_fail_words_its_message_at_compile_time() -> None:
    text = 'begin { fail("no %s %d %d %d", "way", 1, -1, false); }'
    (complaint,) = checked(text).report
    assert complaint.message == "no way 1 -1 0"
    assert codes('begin { if comptime (false) { fail("x"); } }') == []
    assert codes('begin { $x = 1; fail("%d", $x); }') == ["NeedsLiteral"]
    assert codes('begin { fail("%d"); }') == ["FormatCount"]


def test_print_of_one_key() -> None:
    program = (
        'begin { @h["a", 300] = hist(5); @h["b", 1] = hist(9); @s[1] = stats(4); @l[(int8)1] = lhist(3, 0, 10, 5); '
        'print(@h["a", 300]); print(@s[1]); print(@s[2]); print(@l[1]); print(@l[2]); clear(@h); clear(@s); clear(@l); }'
    )
    bar = "@" * 52
    assert ran(program, "-q")[0] == (
        f"@h[a, 300]:\n[4, 8)                 1 |{bar}|\n\n"
        "{ .count = 1, .average = 4, .total = 4 }\n{ .count = 0, .average = 0, .total = 0 }\n"
        f"@l[1]:\n[0, 5)                 1 |{bar}|\n\n\n\n"
    )


def test_system_tells_how_its_command_ended() -> None:
    out, err = ran('begin { system("echo %s; exit %d", "hi there", 3); exit(7); }', "-q", "--unsafe", code=7)
    assert out.startswith("hi there\n")
    assert "stdin:1:9-50: ERROR: system(): the command ended with exit code 3" in err


def test_cat(tmp_path: Path) -> None:
    (tmp_path / "f1").write_bytes(b"12345\n\xff" * 3)
    program = f'config = {{ max_cat_bytes = 9 }} begin {{ cat("{tmp_path}/%s%d", "f", 1); cat("{tmp_path}/none"); }}'
    done = subprocess.run([KUBEBPF, "run", "-q", "-e", program], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"12345\n\xff12\n\n"
    assert f"failed to open file '{tmp_path}/none': No such file or directory" in done.stderr.decode()


def test_time() -> None:
    out, _ = ran('begin { time(); time("%Y|%%\\n"); }', "-q")
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\n{time.strftime('%Y')}\|%\n\n\n", out)


ASSERT = 'begin { assert(1 == 1, "never"); assert(@x > 1, "too small"); print("not reached"); } end { @x = 1; }'


def test_assert() -> None:
    out, err = ran(ASSERT, "-q", code=1)
    assert out == "\n\n@x: 1\n"
    assert err.splitlines() == [
        "stdlib/base.bt:6:5-37: ERROR: assert failed: too small",
        "stdin:1:34-61: ERROR: expanded from",
        ASSERT,
        " " * 33 + "~" * 27,
    ]


def test_an_assert_of_the_program_s_own_goes_first() -> None:
    assert ran("macro assert(x) { print(x); } begin { assert(5); }", "-q")[0].startswith("5\n")


def test_messages_of_macros_tell_where_they_were_called() -> None:
    program = 'macro m(x) { warnf("w%d", x); 1 } macro n(x) { m(x) } begin { print(n(2)); }'
    _, err = ran(program, "-q")
    places = [line for line in err.splitlines() if line.startswith("stdin")]
    assert places == [
        "stdin:1:14-29: WARNING: w2",
        "stdin:1:48-52: WARNING: expanded from",
        "stdin:1:69-73: WARNING: expanded from",
    ]


FAULTS = (
    "begin { @a[1] = 2; delete(@a, 6); _ = delete(@a, 7); $b = delete(@a, 8); delete(@a, 1); print(*(uint64*)8); "
    "print(str((uint8*)9)); print(((struct task_struct*)10)->parent->comm); }"
)


def warned(err: str) -> list[str]:
    return [line.partition(": ")[0].removeprefix("stdin:1:") for line in err.splitlines() if "WARNING" in line]


def test_what_failed_in_the_kernel_is_told_with_its_place() -> None:
    def columns(text: str) -> str:
        start = FAULTS.index(text) + 1
        return f"{start}-{start + len(text)}"

    absent = columns("delete(@a, 6)")
    assert warned(ran(FAULTS, "-q")[1]) == [absent]
    reads = [columns(text) for text in ("*(uint64*)8", "str((uint8*)9)", "(struct task_struct*)10)->parent")]
    assert warned(ran(FAULTS, "-q", "-k")[1])[:4] == [absent, *reads]
    assert ran(FAULTS, "-q", "-k", "--no-warnings")[1] == ""
    *_, last = (json.loads(line) for line in ran(FAULTS, "-q", "-k", "-f", "json")[0].splitlines())
    assert last["type"] == "helper_error"
    assert (last["helper"], last["msg"], last["line"]) == ("probe_read_kernel_str", os.strerror(-last["retcode"]), 1)


def test_exit_stops_the_programs_at_once() -> None:
    """However late user space hears of it: the interval would run hundreds of times before that."""
    out, _ = ran(
        'i:us:10 { @n = count(); printf("%d;", 5); exit(4); print(6); } end { print(7); }', "-q", "--no-warnings", code=4
    )
    assert out == "5;7\n\n\n@n: 1\n"
    assert ran("begin { exit(3); } i:us:10 { print(5); } end { print(7); }", "-q", code=3)[0].startswith("7\n")


def test_exit_is_heard_of_when_the_ring_is_full() -> None:
    text = f'begin {{ unroll(8) {{ print("{"x" * 1000}"); }} exit(9); }} interval:s:100 {{ exit(); }}'
    with running(text, options=Options(ring_bytes=4096)) as session:
        pass
    assert result(session).counters.lost > 0
    assert session.exit is not None
    assert session.exit.code == 9


@pytest.mark.parametrize(("buffering", "seen"), [("none", b"half"), ("line", b"half"), ("full", b"")])
def test_when_output_is_written(buffering: str, seen: bytes, tmp_path: Path) -> None:
    """What stands in the file while the program still runs."""
    out = tmp_path / "out"
    program = 'begin { printf("half"); } end { printf(" a line"); }'
    command = [KUBEBPF, "run", "-B", buffering, "-o", str(out), "-e", program + " interval:s:100 { exit(); }"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"Attached 3 probes\n"
        time.sleep(0.5)
        before = out.read_bytes()
        process.terminate()
    assert before == seen
    assert out.read_bytes() == b"half a line\n\n"
