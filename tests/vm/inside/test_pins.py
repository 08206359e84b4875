"""Links of kprobe, kprobe_multi, fentry, iterators and watchpoints outlive a process that was killed, and count on exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kubebpf.agent.session.pins import Pins, remove_folder
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.text import value_text
from support.bpfstate import everything, held_by, pinned_below
from support.processes import eventually
from support.programs import compiled

FOLDER = Path("/sys/fs/bpf/kubebpf-vm/node/trace")
ITERATOR = Path("/sys/fs/bpf/kubebpf_vm_iterator")

# Who pins: a process that says when it is done, and waits to be killed.
KILLED = """
import sys, time
from pathlib import Path
from kubebpf.agent.session.pins import Pins
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
session = Session(Artifact.read(Path(sys.argv[1]).read_bytes())).__enter__()
session.start()
session.pin(Pins(Path(sys.argv[2])), {"session": "killed"})
print(session.attached, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for path in (FOLDER, FOLDER.parent, FOLDER.parents[1]):
        if path.is_dir():
            remove_folder(path)
    ITERATOR.unlink(missing_ok=True)


def read(times: int) -> None:
    """Reads of seven bytes: nobody else asks for so few."""
    with Path("/dev/null").open("rb", buffering=0) as file:
        for _ in range(times):
            file.read(7)


def counted(session: Session) -> dict[str, int]:
    """Name and key of every count."""
    found = {}
    for schema in session.manifest.maps:
        for key, cell in session.read(schema.name, PlainResolver()).rows:
            text = value_text(decode(schema.key, key, PlainResolver())) if schema.key else ""
            assert isinstance(cell, Count)
            found[f"{schema.name}[{text}]"] = cell.count
    return found


MINE = f"pid == {os.getpid()}"
FUNCTIONS = f"""
kprobe:vfs_read /{MINE} && arg2 == 7/ {{ @kprobe = count(); @in[tid] = count(); }}
kretprobe:vfs_read /{MINE}/ {{ if (has_key(@in, tid)) {{ @kretprobe[probe] = count(); delete(@in, tid); }} }}
kprobe:vfs_rea[dl]* /{MINE} && arg2 == 7/ {{ @multi[probe] = count(); }}
fentry:vfs_read /{MINE} && args.count == 7/ {{ @fentry = count(); }}
fexit:vfs_read /{MINE} && args.count == 7/ {{ @fexit[retval] = count(); }}
fentry:vfs_rea[dl]*, fentry:vfs_writ[e] /{MINE}/ {{ @clones[probe] = count(); }}
"""
EXACT = {"@kprobe[]", "@kretprobe[kretprobe:vfs_read]", "@multi[kprobe:vfs_read]", "@fentry[]", "@fexit[0]"}


def killed_after(artifact: Artifact, times: int, tmp_path: Path) -> int:
    """Pin a program in another process, read so often, kill it. How many probes were attached."""
    elf = tmp_path / "object.o"
    elf.write_bytes(artifact.elf)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(elf), str(FOLDER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        attached = int(process.stdout.readline())
        read(times)
        mine = held_by(process.pid)
        assert mine.link and mine.link <= pinned_below(FOLDER).link
        process.send_signal(signal.SIGKILL)
        process.wait()
    return attached


def test_probes_of_functions_go_on(tmp_path: Path) -> None:
    """One link for a function, one for many, a program that is loaded again for each function of a wildcard."""
    artifact = compiled(FUNCTIONS)
    attached = killed_after(artifact, 5, tmp_path)
    read(7)
    place = Pins(FOLDER)
    with closing(Session(artifact).adopt(place, place.read())) as session:
        assert session.attached == attached > 7
        before = counted(session)["@clones[fentry:vmlinux:vfs_read]"]
        mine = pinned_below(FOLDER)
        read(3)
        session.finish()
        found = counted(session)
    assert {name: count for name, count in found.items() if name in EXACT} == dict.fromkeys(EXACT, 15)
    assert before >= 12 and found["@clones[fentry:vmlinux:vfs_read]"] >= before + 3
    assert not FOLDER.exists()
    eventually(lambda: not mine & everything())


def test_iterators_watchpoints_and_raw_tracepoints_go_on(tmp_path: Path) -> None:
    """A pinned iterator runs whenever its pin is read, also while nobody is there."""
    line = next(line for line in Path("/proc/kallsyms").read_text().splitlines() if line.endswith(" jiffies"))
    artifact = compiled(
        f"iter:task:{ITERATOR.name} /ctx.task.pid == {os.getpid()}/ {{ @tasks = count(); }} "
        f"watchpoint:0x{line.split()[0]}:8:w {{ @ticks = count(); }} "
        f"rawtracepoint:sys_enter /{MINE} && args.id == 110/ {{ @calls = count(); }}"
    )
    killed_after(artifact, 0, tmp_path)
    for n in range(500):
        os.getppid()
        if n % 125 == 0:
            ITERATOR.read_bytes()
    place = Pins(FOLDER)
    with closing(Session(artifact).adopt(place, place.read())) as session:
        before = counted(session)["@ticks[]"]
        ITERATOR.read_bytes()
        for _ in range(250):
            os.getppid()
        eventually(lambda: counted(session)["@ticks[]"] > before)
        session.finish()
        found = counted(session)
    assert (found["@tasks[]"], found["@calls[]"]) == (5, 750)
