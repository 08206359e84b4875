"""kprobe, kretprobe, fentry, fexit, iter, watchpoint and raw tracepoints on a kernel that has all of them.

The work is this process's: reads of /dev/null are calls of vfs_read that return 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.session.errors import AttachError, TooManyProbesError
from kubebpf.agent.session.points import Node
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.text import value_text
from support.programs import compiled

MINE = f"/pid == {os.getpid()}/"


def read(times: int) -> None:
    with Path("/dev/null").open("rb", buffering=0) as file:
        for _ in range(times):
            file.read(7)


def counts(text: str, times: int = 5, node: Node | None = None) -> dict[str, int]:
    """What the keyed map @ counts while this process reads."""
    with Session(compiled(text, unsafe=True), node=node) as session:
        session.start()
        read(times)
        session.finish()
        state = session.read("@", PlainResolver())
        assert state.schema.key
        texts = {value_text(decode(state.schema.key, key, PlainResolver())): cell for key, cell in state.rows}
        return {text: cell.count for text, cell in texts.items() if isinstance(cell, Count)}


@pytest.mark.parametrize("kprobes", [True, False], ids=["kprobe", "as fentry"])
def test_kprobe(kprobes: bool) -> None:
    """Arguments by number, and the function; a kernel without kprobes runs the same object's program as a fentry."""
    text = f"kprobe:vfs_read {MINE} {{ @[arg2 & 0xff, probe] = count(); }}"
    assert counts(text, node=Node(kprobes=kprobes)) == {"(7, kprobe:vfs_read)": 5}


@pytest.mark.parametrize("kprobes", [True, False], ids=["kretprobe", "as fexit"])
def test_kretprobe(kprobes: bool) -> None:
    assert counts(f"kretprobe:vfs_read {MINE} {{ @[retval] = count(); }}", node=Node(kprobes=kprobes)) == {"0": 5}


@pytest.mark.parametrize("kprobes", [True, False], ids=["by one link", "as fentry"])
def test_kprobe_wildcard(kprobes: bool) -> None:
    """Every match knows its name. Attaching reads files, too, but not seven bytes at a time."""
    found = counts(f"kprobe:vfs_rea[dl]* {MINE[:-1]} && arg2 == 7/ {{ @[probe] = count(); }}", node=Node(kprobes=kprobes))
    assert found == {"kprobe:vfs_read": 5}


def test_kretprobe_wildcard() -> None:
    assert counts(f"kretprobe:vfs_rea* {MINE} {{ @[probe, retval] = count(); }}") == {"(kretprobe:vfs_read, 0)": 5}


def test_kprobe_with_offset_or_address() -> None:
    line = next(line for line in Path("/proc/kallsyms").read_text().splitlines() if line.endswith(" T vfs_read"))
    assert counts(f'kprobe:0x{line.split()[0]} {MINE} {{ @[reg("dx")] = count(); }}') == {"7": 5}
    with pytest.raises(AttachError) as caught:
        counts("kprobe:vfs_read+1 { @[0] = count(); }")
    assert "middle of an instruction" in caught.value.missing[0].note


def test_missing_kprobe() -> None:
    with pytest.raises(AttachError, match="No matches for kprobe nothing_of_this_name"):
        counts("kprobe:nothing_of_this_name { @[0] = count(); }")


def test_fentry_and_fexit() -> None:
    both = (
        f"fentry:vfs_read {MINE} {{ @[args.count, 1] = count(); }} fexit:vfs_read {MINE} {{ @[args.count, retval] = count(); }}"
    )
    assert counts(both) == {"(7, 1)": 5, "(7, 0)": 5}


def test_fentry_wildcard() -> None:
    """One program of the object, an instance of it for each function; loops need the types of their callbacks again."""
    text = f"fentry:vfs_rea* {MINE} {{ for ($i : 0..2) {{ @[probe] = count(); }} }}"
    found = counts(text)
    assert list(found) == ["fentry:vmlinux:vfs_read"]
    assert found["fentry:vmlinux:vfs_read"] >= 10  # attaching reads files, too


def test_path() -> None:
    """security_file_permission is one of the functions that bpf_d_path is allowed in; every read calls it."""
    text = f"fentry:security_file_permission {MINE} {{ @[path(args.file.f_path, 64)] = count(); }}"
    assert counts(text)["/dev/null"] >= 5


def test_override_is_a_matter_of_the_kernel() -> None:
    """Debian's kernels have no function error injection: the verifier names the helper."""
    with pytest.raises(LibbpfError, match="bpf_override_return"):
        counts("kprobe:vfs_read { override(-12); @[0] = count(); }")


def test_iter() -> None:
    found = counts("iter:task { @[ctx.task.tgid] = count(); }")
    assert found[str(os.getpid())] >= 1
    assert found["1"] == 1


def test_watchpoint() -> None:
    """jiffies are written at every tick."""
    line = next(line for line in Path("/proc/kallsyms").read_text().splitlines() if line.endswith(" jiffies"))
    with Session(compiled(f"watchpoint:0x{line.split()[0]}:8:w {{ @ = count(); }}")) as session:
        session.start()
        for _ in range(1000):
            if session.read("@", PlainResolver()).rows:
                break
            read(100)
        session.finish()
        assert session.read("@", PlainResolver()).rows


def test_hardware_without_counters() -> None:
    with pytest.raises(AttachError, match="does not count that event"):
        counts("hardware:cache-misses:10 { @[0] = count(); }")


def test_many_probes() -> None:
    with pytest.raises(TooManyProbesError, match="max_probes is 1024"):
        counts("kprobe:_* { @[0] = count(); }")
    assert counts("config = { max_probes = 40000 } kprobe:_* { @[0] = count(); }")["0"] > 0
