"""Wildcards with arguments, functions of modules, BPF programs, sockets and iterators, as the other tests of this folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kubebpf.agent.session.points import Node
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.text import value_text
from support.programs import compiled

MINE = f"/pid == {os.getpid()}/"
SO_COOKIE = 57  # asm-generic/socket.h
MODULE = "overlay"  # the guest's root needs it


def read(times: int, path: str = "/dev/null") -> None:
    for _ in range(times):
        with Path(path).open("rb", buffering=0) as file:
            file.read(7)


def counted(session: Session) -> dict[str, int]:
    state = session.read("@", PlainResolver())
    assert state.schema.key
    texts = {value_text(decode(state.schema.key, key, PlainResolver())): cell for key, cell in state.rows}
    return {text: cell.count for text, cell in texts.items() if isinstance(cell, Count)}


def test_args_and_retval_of_a_wildcard() -> None:
    """Every system call has the registers as its one argument, and returns a long."""
    text = (
        f"fentry:__x64_sys_rea* {MINE} {{ @[probe, args.regs.dx] = count(); }}"
        f"fexit:__x64_sys_rea* {MINE} {{ @[probe, (uint64)retval] = count(); }}"
    )
    with Session(compiled(text)) as session:
        assert len(session.points) >= 4
        session.start()
        read(5)
        session.finish()
        found = counted(session)
    assert found["(fentry:vmlinux:__x64_sys_read, 7)"] == 5
    assert found["(fexit:vmlinux:__x64_sys_read, 0)"] >= 5


def test_wildcard_whose_first_match_cannot_be_traced() -> None:
    """The kernel refuses programs at migrate_disable. Without ftrace's list it is a match like any other."""
    node = Node()
    node.__dict__["functions"] = {"migrate_disable": "vmlinux", "vfs_read": "vmlinux"}
    with Session(compiled(f"fentry:*_* {MINE} {{ @[probe] = count(); }}"), node=node) as session:
        session.start()
        read(5)
        session.finish()
        assert counted(session)["fentry:vmlinux:vfs_read"] >= 5
        assert [warning.probe for warning in session.warnings] == ["fentry:vmlinux:migrate_disable"]


@pytest.mark.parametrize("provider", ["fentry", "kprobe"])
def test_function_of_a_module(provider: str) -> None:
    """Opening a file of the overlay; a wildcard over modules finds it, too, and another module does not have it."""
    texts = (f"{provider}:{MODULE}:ovl_open", f"{provider}:over*:ovl_ope[n]")
    text = " ".join(f"{place} {MINE} {{ @[{i}] = count(); }}" for i, place in enumerate(texts))
    with Session(compiled(text)) as session:
        session.start()
        read(5, __file__)
        session.finish()
        assert counted(session) == {"0": 5, "1": 5}
    with pytest.raises(Exception, match="ovl_open"):
        Session(compiled("fentry:vmlinux:ovl_open { @[0] = count(); }")).__enter__()


def test_bpf_program() -> None:
    """By name, and by number and name."""
    traced = compiled(f"tracepoint:syscalls:sys_enter_read {MINE} {{ @[0] = count(); }}")
    with Session(traced) as below:
        (program,) = below.loaded.programs.values()
        places = (f"fentry:bpf:{program.name}", f"fexit:bpf:{program.info.id}:{program.name}")
        text = " ".join(f"{place} {MINE} {{ @[{i}] = count(); }}" for i, place in enumerate(places))
        with Session(compiled(text)) as above:
            below.start()
            above.start()
            read(5)
            above.finish()
            below.finish()
            found = counted(above)
    assert found["0"] >= 5
    assert found["1"] >= 5


def test_socket_cookie() -> None:
    """The same number that getsockopt(2) tells."""
    with (
        Session(compiled(f"fentry:udp_sendmsg {MINE} {{ @[socket_cookie(args.sk)] = count(); }}")) as session,
        socket.socket(type=socket.SOCK_DGRAM) as sender,
    ):
        session.start()
        for _ in range(3):
            sender.sendto(b"x", ("127.0.0.1", 9))
        session.finish()
        cookie = int.from_bytes(sender.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
        assert counted(session) == {str(cookie): 3}


def test_comm_of_a_process() -> None:
    with Session(compiled(f"fentry:vfs_read {MINE} {{ @[comm(pid)] = count(); }}")) as session:
        session.start()
        read(5)
        session.finish()
        assert counted(session)[Path("/proc/self/comm").read_text().strip()] >= 5


def test_end_of_an_iterator_is_no_event() -> None:
    with Session(compiled("iter:task { @[ctx.task == 0] = count(); }")) as session:
        session.start()
        session.finish()
        (found,) = counted(session).items()
    assert found[0] in ("0", "false")


def test_pinned_iterator() -> None:
    """It runs when its pin is read; what it prints goes where the program's output goes."""
    pin = Path("/sys/fs/bpf/kubebpf_test")
    with Session(compiled(f'iter:task:{pin.name} /ctx.task.pid == {os.getpid()}/ {{ printf("%d", ctx.task.pid); }}')) as session:
        session.start()
        assert session.poll(0) == []
        assert pin.read_bytes() == b""
        assert len(session.poll(1)) == 1
    assert not pin.exists()
