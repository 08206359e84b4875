"""The object as bytes: the same for the same text, whatever was compiled before; sections as libbpf wants them; accepted by
bpftool."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.manifest import CONSTANTS, RING, SCOPE, SECTION, SITES
from support.bpfstate import bpftool
from support.programs import compiled

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"

# What the programs look like: each is loaded by bpftool alone, without the project's own loader.
CORPUS = {
    "nothing": "begin { }",
    "count": f"{GETPPID} {{ @ = count(); }}",
    "by_name": f"{GETPPID} {{ @[comm, pid] = count(); }}",
    "latency": """tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; }
        tracepoint:syscalls:sys_exit_read /@start[tid]/ { @us[comm] = hist((nsecs - @start[tid]) / 1000); delete(@start, tid);
        }""",
    "aggregates": """profile:hz:99 { @a = avg(cpu); @b = stats(-5); @c = min(nsecs); @d = max(nsecs); @e = sum(1);
        @f = lhist(cpu, 0, 8, 1);
        @g[pid] = hist(nsecs, 3); } interval:s:1 { if ((int64)@e > 5) { print(@a); clear(@a); zero(@e); } }""",
    "structs": "rawtracepoint:sched_switch { @[args.prev.comm, args.next.real_parent.tgid] = count(); }",
    "strings": 'tracepoint:syscalls:sys_enter_openat { $s = str(args.filename); printf("%s %s\\n", comm, $s); @[$s] = count(); }',
    "exec": "tracepoint:sched:sched_process_exec { print((pid, str(args.filename), cgroup_path(cgroup))); }",
    "uprobe": "uprobe:/bin/sh:main { @[str(arg1, 64), arg0] = count(); } uretprobe:/bin/sh:main { @r = hist(retval); }",
    "software": "software:page-faults:100 { @[comm] = count(); } software:cs:1 { @cs[cpu] = count(); }",
    "control": """begin { $x = 5; if ($x > 3) { print("a") } else { print("b") } unroll(5) { $x *= 2; }
        print($x ? "yes" : "no"); exit(); }
        end { print(len(@m)); @m[1] = 2; }""",
    "sizes": "begin { print(sizeof(struct task_struct)); print(offsetof(struct task_struct, pid)); print(curtask.in_execve); }",
    "division": f"{GETPPID} {{ @ = nsecs / rand; @m = nsecs % cpu; }}",
}


@pytest.fixture
def pins() -> Iterator[Path]:
    folder = Path("/sys/fs/bpf") / f"kubebpf-test-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# `sizes` asks for curtask in a begin probe, which a namespaced trace may not.
KINDS = [(name, False) for name in CORPUS] + [(name, True) for name in CORPUS if name != "sizes"]


@pytest.mark.parametrize(("name", "scoped"), KINDS)
def test_bpftool_loads_it(name: str, scoped: bool, pins: Path, tmp_path: Path) -> None:
    artifact = compiled(CORPUS[name], scoped=scoped, header="context" if scoped else "plain")
    path = tmp_path / "out.o"
    path.write_bytes(artifact.elf)
    bpftool("prog", "loadall", path, pins)
    assert len(list(pins.iterdir())) == len(artifact.manifest.attaches)


def test_equal_texts_give_equal_bytes_in_one_process() -> None:
    for text in CORPUS.values():
        first = compiled(text).elf
        compiled("begin { print(curtask.pid); print(sizeof(struct file)) }")  # what LLVM remembers must not show
        assert compiled(text).elf == first


PRINT_DIGESTS = """
import sys
from support.programs import compiled
for text in sys.stdin.read().split("\\0"):
    print(compiled(text).digest)
"""


def test_equal_texts_give_equal_bytes_in_every_process() -> None:
    texts = list(CORPUS.values())
    expected = [compiled(text).digest for text in texts]
    folders = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": folders, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS],
        input="\0".join(reversed(texts)),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == expected[::-1]


def test_a_second_compilation_gets_relocations_of_its_own() -> None:
    """LLVM's table of CO-RE accesses outlives a module (target.SUFFIX): a second module with the same access used to crash
    in it."""
    from support.core import relocations

    text = "rawtracepoint:sched_switch { @[args.prev.pid] = count(); }"
    objects = [compiled(text).elf for _ in range(5)]
    assert len(set(objects)) == 1
    assert len(relocations(objects[4])) == 1


def test_no_name_of_the_suffix_is_left_in_the_object() -> None:
    elf = compiled("begin { print(curtask.real_parent.tgid) }").elf
    assert b"___kb" not in elf
    assert b"task_struct\0" in elf


def test_the_text_and_its_options_decide_the_bytes() -> None:
    text = CORPUS["count"]
    variants = [
        compiled(text).elf,
        compiled(text + " ").elf,
        compiled(text, scoped=True).elf,
        compiled(text, header="context").elf,
    ]
    assert len(set(variants)) == 4


def symbols(elf: bytes) -> set[str]:
    """Names in the string tables: enough to see which maps are there."""
    return {name.decode(errors="replace") for name in elf.split(b"\0")}


@pytest.mark.parametrize(
    ("text", "options", "there", "absent"),
    [
        ("begin { @x = 1; }", {}, {"AT_x", SECTION, "license"}, {RING, SCOPE, CONSTANTS, "kb_scratch"}),
        ("begin { print(1); }", {}, {RING, SITES}, {SCOPE, "kb_scratch"}),
        (f"{GETPPID} {{ @x = count(); }}", {"scoped": True}, {SCOPE, CONSTANTS}, {RING}),
        ("begin { $s = str(0, 900); @[$s] = 1; }", {}, {"kb_scratch", "AT_"}, {RING}),
    ],
)
def test_only_what_is_needed_is_there(text: str, options: dict[str, Any], there: set[str], absent: set[str]) -> None:
    found = symbols(compiled(text, **options).elf)
    assert there <= found
    assert not absent & found


def test_the_manifest_travels_in_the_object() -> None:
    artifact = compiled("begin { @x[pid] = count(); }")
    assert Artifact.read(artifact.elf).manifest == artifact.manifest
    assert [(s.name, s.symbol, s.storage, s.key_size, s.value_size) for s in artifact.manifest.maps] == [
        ("@x", "AT_x", "percpu_hash", 4, 8)
    ]


def test_attach_points_are_told_as_written() -> None:
    artifact = compiled(
        f"begin {{ }} {GETPPID},t:syscalls:sys_exit_getppid {{ @ = 1; }} i:ms:5 {{ }} uprobe:/bin/sh:main+4 {{ }} s:cs:7 {{ }}"
    )
    assert [(a.provider, a.text, a.target) for a in artifact.manifest.attaches] == [
        ("begin", "begin", {}),
        ("tracepoint", GETPPID, {"category": "syscalls", "event": "sys_enter_getppid"}),
        ("tracepoint", "tracepoint:syscalls:sys_exit_getppid", {"category": "syscalls", "event": "sys_exit_getppid"}),
        ("interval", "interval:ms:5", {"period_ns": 5_000_000}),
        ("uprobe", "uprobe:/bin/sh:main+4", {"path": "/bin/sh", "function": "main", "offset": 4}),
        ("software", "software:cs:7", {"event": "context-switches", "config": 3, "count": 7}),
    ]


def test_verifier_logs_quote_the_text() -> None:
    """The source is embedded in the debug information, as the lines that the kernel prints beside instructions."""
    assert b"@needle = count();" in compiled(f"{GETPPID} {{\n  @needle = count();\n}}").elf


def test_one_text_can_be_run_through_llvm_twice() -> None:
    """As for programs so large that their instructions are counted first."""
    text = "".join(f"tracepoint:syscalls:sys_enter_getppid {{ @a{n}[curtask.tgid, comm] = hist(nsecs); }}\n" for n in range(40))
    assert compiled(text).elf == compiled(text).elf
