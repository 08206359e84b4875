"""The command line without a kernel: help, exit codes, messages, and that it starts fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kubebpf.compiler.artifact.artifact import Artifact
from support.doctored import Doctored

KUBEBPF = str(Path(sys.executable).with_name("kubebpf"))


def kubebpf(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([KUBEBPF, *words], input=text, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", ["", "run", "check", "compile", "fmt", "list", "operator", "agent"])
def test_every_command_has_help(command: str) -> None:
    done = kubebpf(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage: kubebpf" in done.stdout
    assert done.stderr == ""


def test_help_names_examples_and_exit_codes() -> None:
    text = kubebpf("--help").stdout
    assert "kubebpf run -e" in text
    assert "exit(N)" in text


def test_help_loads_no_heavy_library() -> None:
    # Half a second of imports before a help text would be felt at every shell completion.
    code = "import sys; from kubebpf.cli.main import cli; cli(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"llvmlite", "numpy", "cffi", "kubernetes", "kopf", "rich", "yaml", "kubebpf.compiler.pipeline"}


def test_version() -> None:
    assert kubebpf("--version").stdout.startswith("kubebpf 0.")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run",), 2, "Give a program"),
        (("run", "/no/such.bt"), 1, "ERROR: failed to open file '/no/such.bt': No such file or directory"),
        (("run", "--nosuch"), 2, "No such option"),
        (("run", "-e", "begin { }", "--duration", "soon"), 2, "is no duration such as 5, 500ms or 1m30s"),
        (("run", "-e", "begin { }", "--", "-x"), 2, "behind -- stand parameters"),
        (("nosuch",), 2, "No such command 'nosuch'"),
        (("compile", "-e", "begin { }"), 2, "Give -o FILE"),
        pytest.param(
            ("list", "tracepoint:no_such:thing"), 1, "ERROR: nothing matches tracepoint:no_such:thing", marks=pytest.mark.btf
        ),
    ],
)
def test_mistakes_have_a_message_and_a_code(words: tuple[str, ...], code: int, message: str) -> None:
    done = kubebpf(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_all_errors_with_their_places() -> None:
    done = kubebpf("check", "--offline", "-e", "begin { $x = 1 + $y; }\nend { print(@z); }")
    assert done.returncode == 1
    assert "stdin:1:18-20: ERROR" in done.stderr
    assert "stdin:2:" in done.stderr
    assert "~~" in done.stderr


def test_check_in_json() -> None:
    done = kubebpf("check", "--offline", "-f", "json", "-e", "begin { $x = $y; }")
    assert done.returncode == 1
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["severity"], first["line"], first["column"]) == ("error", 1, 14)


def test_check_is_quiet_about_a_good_program(tmp_path: Path) -> None:
    file = tmp_path / "x.bt"
    file.write_text("begin { @x = count(); }")
    done = kubebpf("check", "--offline", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_reads_standard_input_and_manifests(tmp_path: Path) -> None:
    assert kubebpf("check", "--offline", "-", text="begin { exit(); }").returncode == 0
    file = tmp_path / "trace.yaml"
    file.write_text("kind: BpfTrace\nspec:\n  program: |\n    begin { exit(; }\n")
    done = kubebpf("check", "--offline", str(file))
    assert done.returncode == 1
    assert ":1:14-15: ERROR" in done.stderr


def test_a_manifest_without_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "trace.yaml"
    file.write_text("kind: Pod\n")
    assert "must hold one BpfTrace or ClusterBpfTrace; it holds 0" in kubebpf("check", str(file)).stderr


@pytest.mark.btf
def test_compile_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    one, two = tmp_path / "1.o", tmp_path / "2.o"
    program = "interval:s:1 { @[pid] = count(); }"
    for output in (one, two):
        done = kubebpf("compile", "-e", program, "-o", str(output))
        assert done.returncode == 0
        assert done.stdout.startswith("sha256:")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[:4] == b"\x7fELF"


@pytest.mark.btf
def test_compile_dumps_the_manifest() -> None:
    dumped = json.loads(kubebpf("compile", "--dump", "manifest", "-e", "begin { @x = count(); }").stdout)
    assert [m["name"] for m in dumped["maps"]] == ["@x"]


@pytest.mark.btf
def test_compile_dumps_what_llvm_gets_and_gives() -> None:
    assert "define " in kubebpf("compile", "--dump", "ir", "-e", "begin { @x = count(); }").stdout
    assert "exit" in kubebpf("compile", "--dump", "asm", "-e", "begin { @x = count(); }").stdout


def test_compile_for_a_file_that_is_no_btf(tmp_path: Path) -> None:
    file = tmp_path / "x.btf"
    file.write_bytes(b"no")
    done = kubebpf("compile", "--btf", str(file), "-e", "begin { }", "-o", str(tmp_path / "x.o"))
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")


@pytest.mark.btf
def test_another_kernel_is_checked_and_compiled_for(tmp_path: Path) -> None:
    kernel = Doctored.of_this_kernel()
    kernel.rename_member("task_struct", "start_time", "born")
    (tmp_path / "other.btf").write_bytes(kernel.build())
    new = "tracepoint:syscalls:sys_enter_getppid { @ = max(curtask.born); }"
    manifest = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfTrace", "metadata": {"name": "t"}, "spec": {"program": new}}
    (tmp_path / "t.yaml").write_text(json.dumps(manifest))
    other = ("--btf", str(tmp_path / "other.btf"))
    assert kubebpf("check", "-e", new).returncode == 1
    for words in (("-e", new), (str(tmp_path / "t.yaml"),)):
        assert kubebpf("check", *other, *words).returncode == 0
    done = kubebpf("check", *other, "-e", new.replace("born", "start_time"))
    assert done.returncode == 1 and "field named 'start_time'" in done.stderr
    assert kubebpf("compile", *other, "-e", new, "-o", str(tmp_path / "x.o")).returncode == 0
    assert Artifact.read((tmp_path / "x.o").read_bytes()).manifest.attaches


def test_an_internal_error_is_one_line_and_says_how_to_see_more() -> None:
    code = "import kubebpf.cli.check as check, kubebpf.cli.main as main; check.read = lambda *a: 1 / 0; main.main()"
    words = [sys.executable, "-c", code, "check", "-e", "begin { }"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "our fault and not yours: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert "KUBEBPF_DEBUG=1" in done.stderr
