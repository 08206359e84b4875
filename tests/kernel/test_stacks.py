"""kstack, ustack, ksym, usym: the frames of a program whose chain of calls is known, by the words of the node's resolver."""

from __future__ import annotations

import platform
import re
import subprocess
import time
from pathlib import Path

import pytest

from kubebpf.agent.output.dispatch import map_states
from kubebpf.agent.output.node import NodeResolver
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count, Last
from kubebpf.compiler.artifact.decode import decode
from kubebpf.compiler.artifact.manifest import Manifest
from kubebpf.compiler.artifact.values import Text, Value
from support.chain import build, started
from support.programs import pair, result, run, running

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the chain ends in an instruction of x86_64"),
]
CALL = "tracepoint:syscalls:sys_enter_getppid"


def printed(session: Session, resolver: NodeResolver) -> list[Value]:
    """The values of print() so far, as this node words them; processes are noticed on the way."""
    values: list[Value] = []
    for record in session.poll(1):
        if record.event.kind == "process":
            resolver.notice(int.from_bytes(record.argument(0)[:4], "little"))
        if record.event.kind == "print_value":
            values.append(decode(record.event.arguments[0].type, record.argument(0), resolver))
    return values


def frames(value: Value) -> list[str]:
    assert isinstance(value, Text)
    assert value.text.startswith("\n") and value.text.endswith("\n")
    return value.text[1:-1].split("\n")


@pytest.mark.parametrize("form", ["pie", "static", "shared", "stripped", "mini"])
def test_ustack_of_every_form_of_program(form: str, tmp_path: Path) -> None:
    program = build(form, tmp_path)
    body = "print(ustack(4)); print(ustack(perf, 4)); print(ustack(raw, 4)); print(len(ustack(3)));"
    with started(program.path) as process:
        with running(f"{CALL} /pid == {process.pid}/ {{ {body} }}") as session:
            process.go()
            words, perf, raw, length = printed(session, NodeResolver(session.manifest))
        result(session)
    assert frames(words) == [f"        {frame}" for frame in program.frames]
    wanted = [f"{frame} ({module})" for frame, module in zip(program.frames, program.modules, strict=True)]
    assert [re.sub(r"^\t[0-9a-f]+ ", "", line) for line in frames(perf)] == wanted
    assert frames(raw) == [line.split()[0] for line in frames(perf)]
    assert length == 3


def test_ustack_of_processes_that_ended_is_still_named_and_equal_ones_are_one_key(tmp_path: Path) -> None:
    program = build("pie", tmp_path)
    with running(f'{CALL} /comm == "pie"/ {{ @[ustack(4)] = count(); @h[ustack(4)] = hist(1); }}') as session:
        resolver = NodeResolver(session.manifest)  # records mappings from here on
        for _ in range(2):
            with started(program.path) as process:
                process.go()
        # Nobody has looked at the processes yet.
        states = {state.name: state for state in map_states(session, resolver)}
        apart = {state.name: state for state in map_states(session, resolver, unset=True)}
    result(session)
    (entry,) = states["@"].entries
    assert frames(entry.key[0]) == [f"        {frame}" for frame in program.frames]
    assert entry.cell == Count(2)
    assert len(states["@h"].entries) == 1
    assert [e.cell for e in apart["@"].entries] == [Count(1), Count(1)]


def test_ustack_of_code_that_a_process_wrote_itself(tmp_path: Path) -> None:
    program = build("pie", tmp_path)
    with started(program.path, "jit") as process:
        map_file = Path(f"/tmp/perf-{process.pid}.map")
        try:
            with running(f"{CALL} /pid == {process.pid}/ {{ print(ustack(6)); }}") as session:
                process.go()
                (value,) = printed(session, NodeResolver(session.manifest))
            result(session)
        finally:
            map_file.unlink()
    # 16 bytes up to the end of the call: see chain.c.
    assert frames(value)[:4] == [f"        {frame}" for frame in [*program.frames[:3], "made up at run time+16"]]
    assert [line.split("+")[0].strip() for line in frames(value)[4:]] == ["written", "main"]


def test_ustack_by_build_id(tmp_path: Path) -> None:
    program = build("pie", tmp_path)
    notes = subprocess.run(["readelf", "-n", program.path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Build ID: ([0-9a-f]+)", notes)
    assert found is not None
    with started(program.path) as process:
        with running(f"{CALL} /pid == {process.pid}/ {{ print(ustack(build_id, 4)); }}") as session:
            process.go()
            (value,) = printed(session, NodeResolver(session.manifest))
        result(session)
    symbols = subprocess.run(["nm", program.path], capture_output=True, text=True, check=True).stdout.splitlines()
    starts = {name: int(address, 16) for address, _, name in (line.split() for line in symbols if len(line.split()) == 3)}
    wanted = [starts[name] + int(offset) for name, offset in (frame.split("+") for frame in program.frames)]
    # In a position-independent program of gcc, addresses of code are offsets in the file.
    assert frames(value) == [f"{found[1]} {address:#x}" for address in wanted]


def test_kstack_begins_in_the_system_call(tmp_path: Path) -> None:
    program = build("pie", tmp_path)
    body = (
        "@[kstack] = count(); print(kstack); print(kstack(perf, 2)); print(kstack(raw)); print(len(kstack(2))); print(kstack(0));"
    )
    with started(program.path) as process:
        with running(f"{CALL} /pid == {process.pid}/ {{ {body} }}") as session:
            process.go()
            resolver = NodeResolver(session.manifest)
            words, perf, raw, length, nothing = printed(session, resolver)
            (state,) = map_states(session, resolver)
        result(session)
    names = [line.split("+")[0].strip() for line in frames(words)]
    assert names[-2:] == ["do_syscall_64", "entry_SYSCALL_64_after_hwframe"]
    assert state.entries[0].key[0] == words
    assert [re.sub(r"^\t[0-9a-f]+ ", "        ", line) for line in frames(perf)] == frames(words)[:2]
    assert len(frames(raw)) == len(names) and all(re.fullmatch("ffff[0-9a-f]{12}", line) for line in frames(raw))
    assert (length, nothing) == (2, Text("\n", "kstack"))


def test_stacks_are_values() -> None:
    ran = run(
        "begin { $a = kstack(3); $b = $a; @same = $a == $b; @other = $a == kstack(3); @m = $a; @depth = len(@m); @k[1, $a] = 5; "
        "@found = @k[1, $b]; @t = (1, $a); print(len(kstack(2))); }"
    )
    # The program's own address is the first frame, and every call has another.
    assert [ran.cell(name) for name in ("@same", "@other", "@depth", "@found")] == [Last(v) for v in (True, False, 3, 5)]
    assert ran.printed == [2]


def test_ksym_usym_and_username() -> None:
    ran = run("begin { print((ksym(0), usym(4660))); print(username); @[username] = count(); print((username_t)0); }")
    assert ran.printed == [pair(Text("0", "ksym"), Text("0x1234", "usym")), Text("0", "username"), Text("0", "username")]
    assert NodeResolver(Manifest("stdin", ())).username(0) == "root"


def test_ustack_of_a_kernel_thread_is_empty() -> None:
    """A kernel thread runs for each tick of it: the scheduler's work queue."""
    text = "tracepoint:sched:sched_switch /pid == 0 || curtask.flags & 0x200000/ { @[len(ustack), ustack(2)] = count(); }"
    with running(text) as session:
        time.sleep(0.3)
    keys = list(result(session).maps["@"])
    assert keys == [pair(0, Text("\n", "ustack"))]
