"""`kubebpf run` on this kernel, as a process."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.kernel

KUBEBPF = str(Path(sys.executable).with_name("kubebpf"))
ROOT = Path(__file__).parents[2]


def run(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KUBEBPF, "run", *words], input=text, capture_output=True, text=True, check=False, timeout=60)


def test_output_goes_to_stdout_and_remarks_to_stderr() -> None:
    done = run("-e", 'begin { printf("hi %d\\n", 5); @x = 7; @h = hist(5); } end { printf("bye\\n"); }')
    bar = "@" * 52
    assert done.stdout == f"hi 5\nbye\n\n\n@h:\n[4, 8)                 1 |{bar}|\n\n@x: 7\n"
    assert done.stderr == "Attached 2 probes\n"
    assert done.returncode == 0


def test_quiet_json_and_output_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    done = run("-q", "-f", "json", "-o", str(file), "-e", 'begin { printf("hi\\n"); @x = 7; print((1, "a")); }')
    assert (done.stdout, done.stderr) == ("", "")
    assert file.read_text() == (
        '{"type": "printf", "data": "hi\\n"}\n{"type": "value", "data": [1,"a"]}\n{"type": "map", "data": {"@x": 7}}\n'
    )


def test_an_object_runs_without_its_text_and_without_a_compiler(tmp_path: Path) -> None:
    file = str(tmp_path / "x.o")
    program = 'begin { printf("%s %d\\n", getopt("unit", "ms"), $1); @x = 42; exit(3); }'
    subprocess.run([KUBEBPF, "compile", "-e", program, "-o", file], check=True, capture_output=True)
    missing = "import sys; sys.modules['llvmlite'] = sys.modules['kubebpf.compiler.pipeline'] = None; "
    no_compiler = missing + "from kubebpf.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", no_compiler, "run", file, "7", "--", "--unit=us"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("us 7\n\n\n@x: 42\n", 3)


def test_an_object_needs_unsafe_as_its_text_does(tmp_path: Path) -> None:
    file = str(tmp_path / "x.o")
    subprocess.run([KUBEBPF, "compile", "--unsafe", "-e", 'begin { system("true"); }', "-o", file], check=True)
    done = run(file)
    assert (done.returncode, done.stderr) == (1, f"ERROR: '{file}' uses system: --unsafe is needed\n")
    assert run("/bin/true").stderr == (
        "ERROR: '/bin/true': the object has no section kubebpf.manifest: it was not made by kubebpf\n"
    )


def test_json_names_the_probes() -> None:
    first = run("-f", "json", "-e", "begin { }").stdout.splitlines()[0]
    assert first == '{"type": "attached_probes", "count": 1, "data": {"probes": 1}}'


def test_the_code_of_exit_is_the_process_code() -> None:
    done = run("-e", "begin { exit(3); } end { @e = 1; }")
    assert done.returncode == 3
    assert done.stdout == "\n\n@e: 1\n"


def test_errors_of_the_program_are_diagnostics() -> None:
    done = run("-e", "begin { $x = $y; }")
    assert done.returncode == 1
    assert "stdin:1:14-16: ERROR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_tracepoint() -> None:
    done = run("-e", "tracepoint:no:such { @ = count(); }")
    assert done.returncode == 1
    assert "ERROR" in done.stderr
    assert "no:such" in done.stderr


def test_a_command_is_traced_from_its_first_call_to_its_end(tmp_path: Path) -> None:
    named = tmp_path / "kbchild"
    named.symlink_to(Path(sys.executable).resolve())
    command = f"{named} -c 'import os; [os.getppid() for _ in range(321)]'"
    program = 'tracepoint:syscalls:sys_enter_getppid /comm == "kbchild"/ { @n = count(); } end { @end = 1; }'
    done = run("-c", command, "-e", program)
    assert done.stdout == "\n\n@end: 1\n@n: 321\n"
    assert done.returncode == 0


BUSY_THREADS = """
import threading, time

def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))

threads = [threading.Thread(target=spin, args=(1.5,)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_all_threads_of_the_command_are_sampled() -> None:
    program = "profile:hz:199 { @[pid == cpid, tid != pid] = count(); }"
    done = run("-c", shlex.join([sys.executable, "-c", BUSY_THREADS]), "-f", "json", "-q", "-e", program)
    counts = json.loads(done.stdout.splitlines()[-1])["data"]["@"]
    assert set(counts) <= {"true,true", "true,false"}, counts
    assert counts["true,true"] > 100


def test_cpid_is_the_command(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"import os; open({str(told)!r}, 'w').write(str(os.getpid())); [os.getppid() for _ in range(321)]"
    program = """
        begin { printf("%d %d\\n", cpid, sizeof(cpid())); }
        tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { @n = count(); }
        end { @command = cpid; }
    """
    # A bystander's calls must not count.
    with subprocess.Popen([sys.executable, "-c", "import os\nwhile True: os.getppid()"]) as bystander:
        done = run("-c", shlex.join([sys.executable, "-c", code]), "-e", program)
        bystander.kill()
    pid = told.read_text()
    assert done.stdout == f"{pid} 4\n\n\n@command: {pid}\n@n: 321\n", done.stderr


def test_cpid_without_a_command_is_refused() -> None:
    done = run("-e", "begin { print(cpid); }")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ERROR: the program uses cpid, and there is no child process: give a command (-c)\n"


def test_exit_ends_the_command(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    done = run("-c", f"sh -c 'echo $$ >{told}; exec sleep 47'", "-e", "interval:ms:300 { exit(); }")
    assert done.returncode == 0
    assert not Path(f"/proc/{told.read_text().strip()}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_run_the_end_probes_and_print_the_maps(number: signal.Signals) -> None:
    program = "interval:ms:10 { @n = count(); } end { @end = 1; }"
    with subprocess.Popen([KUBEBPF, "run", "-e", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Attached 2 probes\n"
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert re.fullmatch(r"\n\n@end: 1\n@n: \d+\n", out)
    assert err == ""
    assert process.returncode == 0


def test_a_duration() -> None:
    started = time.monotonic()
    done = run("--duration", "500ms", "-e", "interval:s:100 { @n = count(); } end { @end = 1; }")
    assert done.stdout == "\n\n@end: 1\n"
    assert 0.5 < time.monotonic() - started < 10


def test_print_clear_and_zero_happen_in_their_order() -> None:
    program = """
        begin { @x[1] = 5; @x[2] = 3; @c = count(); print(@x); print(@x, 1, 2); clear(@x); print(@x); zero(@c); print(@c); }
        end { @x[3] = 1; }
    """
    assert run("-e", program).stdout == "@x[2]: 3\n@x[1]: 5\n@x[1]: 2\n@c: 0\n\n\n@c: 0\n@x[3]: 1\n"


def test_a_zeroed_extreme_is_printed_as_zero_and_starts_afresh() -> None:
    program = """
        begin {
          @low = min(-3); @high = max(5); @k[1] = max(-5); @k[2] = max(7); @gone = max(1);
          zero(@low); zero(@high); zero(@k); clear(@gone); print(@k);
        }
        end { @k[2] = max(9); }
    """
    assert run("-e", program).stdout == "@k[1]: 0\n@k[2]: 0\n\n\n@high: 0\n@k[1]: 0\n@k[2]: 9\n@low: 0\n"


def test_maps_that_are_full_say_so_once_with_their_place() -> None:
    done = run("-e", "config = { max_map_keys = 2 } begin { @m[1] = 1; @m[2] = 2; @m[3] = 3; }")
    assert "WARNING: Map full; can't update element." in done.stderr
    assert done.stderr.count("Map full") == 1
    assert "retcode: -7" in done.stderr
    assert "@m[3]" not in done.stdout
    assert "Map full" not in run("--no-warnings", "-e", "config = { max_map_keys = 1 } begin { @m[1] = 1; @m[2] = 2; }").stderr


def test_division_by_zero_is_told() -> None:
    done = run("-q", "-e", "begin { @zero = 0; print(10 % @zero); }")
    assert done.stdout.startswith("1\n")
    assert "WARNING: Divide or modulo by 0 detected." in done.stderr


def test_strings_that_are_no_utf8_come_out_as_they_are() -> None:
    done = subprocess.run([KUBEBPF, "run", "-q", "-e", 'begin { printf("%s\\n", "a\\xffb"); }'], capture_output=True, check=True)
    assert done.stdout == b"a\xffb\n\n\n"


def test_positional_parameters() -> None:
    done = run("-q", "-e", 'begin { printf("%d %d %d\\n", $1, $2, $#); }', "7", "0x10")
    assert done.stdout == "7 16 2\n\n\n"


@pytest.mark.parametrize("program", ["begin { }", "begin { print($1); }"])
def test_an_option_that_the_program_does_not_have_is_refused(program: str) -> None:
    done = run("-q", "-e", program, "--", "--second=1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("ERROR: the program has no option --second; its options: none\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{KUBEBPF} run -e 'interval:ms:1 {{ printf(\"x\\n\"); }}' --duration 20 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "x\n"
    assert "Traceback" not in done.stderr


def test_without_rights_it_says_what_is_needed() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", KUBEBPF, "run", "-e", "begin { }"]
    if not os.access(KUBEBPF, os.X_OK) or os.geteuid() != 0:
        pytest.skip("needs root to give up root")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "needs root, or the capabilities CAP_BPF and CAP_PERFMON" in done.stderr


MANIFEST = """
apiVersion: kubebpf.dev/v1alpha1
kind: BpfTrace
metadata: {name: t}
spec:
  program: |
    begin { @h = hist(5); @c = count(); @l[1] = 4; printf("hello\\n"); }
    interval:ms:100 { exit(EXIT); }
  duration: 20s
"""


def test_a_manifest_prints_its_final_status(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(MANIFEST.replace("EXIT", "0"))
    done = run(str(file))
    assert done.returncode == 0, done.stderr
    assert "    text: |\n      @c: 1\n      @h:\n      [4, 8)                 1 |@@@" in done.stdout
    status = yaml.safe_load(done.stdout)["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (conditions["Compiled"], conditions["Succeeded"]) == ("True", "True")
    maps = {m["name"]: m["entries"] for m in status["results"]["maps"]}
    assert maps["@c"] == [{"key": [], "count": "1"}]
    assert maps["@h"] == [{"key": [], "slots": [{"slot": 4, "count": "1"}]}]
    assert maps["@l"] == [{"key": [{"int": "1"}], "value": {"int": "4"}, "node": os.uname().nodename}]
    assert [(line["kind"], line["text"]) for line in status["recent"]] == [("printf", "hello")]
    assert status["lost"]["total"] == "0"


def test_a_status_leaves_out_an_extreme_that_is_not_set(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    program = "@high = max(5); @k[1] = min(1); @z = max(0); zero(@high); zero(@k);"
    file.write_text(MANIFEST.replace("@h = hist(5);", program).replace("EXIT", "0"))
    results = yaml.safe_load(run(str(file)).stdout)["status"]["results"]
    maps = {m["name"]: m["entries"] for m in results["maps"]}
    assert (maps["@high"], maps["@k"], maps["@z"]) == ([], [], [{"key": [], "max": "0"}])


def test_a_manifest_whose_program_fails(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(MANIFEST.replace("EXIT", "4"))
    done = run(str(file))
    assert done.returncode == 1
    assert "exit() gave the code 4" in done.stdout
    file.write_text(MANIFEST.replace("count()", "count("))
    done = run(str(file))
    assert done.returncode == 1
    compiled = next(c for c in yaml.safe_load(done.stdout)["status"]["conditions"] if c["type"] == "Compiled")
    assert compiled["status"] == "False"
    assert "program:1:" in compiled["message"]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*")))
def test_examples_run(name: str) -> None:
    done = run(str(ROOT / "examples" / name), "--duration", "1500ms")
    assert done.returncode == 0, done.stderr
    if name.endswith(".yaml"):
        assert "picture" not in done.stdout
        assert yaml.safe_load(done.stdout)["status"]["nodes"]["attached"] == 1


@contextmanager
def reading() -> Iterator[None]:
    """A process that reads all the time: a quiet machine may read nothing for seconds."""
    program = "import time\nwith open('/dev/zero', 'rb', 0) as f:\n while True: f.read(1); time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-c", program]) as reader:
        try:
            yield
        finally:
            reader.kill()


def test_the_first_example_has_real_numbers() -> None:
    with reading():
        done = run(str(ROOT / "examples" / "syscalls.yaml"), "--duration", "2s")
    results = yaml.safe_load(done.stdout)["status"]["results"]
    maps = {m["name"]: m["entries"] for m in results["maps"]}
    assert sum(int(entry["count"]) for entry in maps["@calls"]) > 0
    assert maps["@us"][0]["slots"]
    assert "@us:\n" in results["text"]
    assert json.dumps(maps["@calls"][0]["key"][0]).startswith('{"str"')
