"""Sessions that outlive who made them: every kind of link is pinned, taken up again, and gone after the end."""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kubebpf.agent.libbpf.pins import write_note
from kubebpf.agent.session.pins import Kept, Pins, StalePinsError, remove_folder
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Cell, Count
from kubebpf.compiler.artifact.decode import PlainResolver
from support.bpfstate import everything, held_by, pinned_below, pins
from support.processes import eventually
from support.programs import compiled
from support.targets import targets
from support.workload import Workload, make_calls

pytestmark = pytest.mark.kernel
RESOLVER = PlainResolver()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder of the bpffs, removed with everything in it."""
    path = Path("/sys/fs/bpf") / f"kubebpf-test-{secrets.token_hex(4)}"
    yield path / "node" / "trace"
    for inner in sorted(path.rglob("*"), key=lambda found: -len(found.parts)) if path.is_dir() else []:
        if inner.is_dir() and not inner.is_symlink():
            remove_folder(inner)
    for left in (path / "node", path):
        if left.is_dir():
            left.rmdir()


def cells(session: Session) -> dict[str, Cell]:
    return {state.schema.name: cell for state in session.maps(RESOLVER) for _, cell in state.rows}


def pinned(text: str, folder: Path) -> tuple[Session, Pins]:
    session = Session(compiled(text)).__enter__()
    session.start()
    place = Pins(folder)
    session.pin(place, {"session": "s-1"})
    return session, place


def test_every_kind_of_link_counts_on_without_a_process(folder: Path) -> None:
    work = Workload.start("--getppid", 300)
    text = f"""begin {{ @begun = count(); }}
        tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{ @t = count(); printf("%d\\n", 7); }}
        rawtracepoint:sys_enter /pid == {work.pid} && args.id == 110/ {{ @r = count(); }}
        interval:ms:50 {{ @i = count(); }} profile:hz:50 {{ @p = count(); }} software:cs:1 {{ @c = count(); }}
        uprobe:{targets().app}:places {{ @u = count(); }}
        end {{ @ended = count(); }}"""
    session, place = pinned(text, folder)
    mine = held_by(os.getpid())
    assert oct((folder.parent).stat().st_mode & 0o777) == oct(folder.stat().st_mode & 0o777) == "0o700"
    assert session.attached == 8
    session.leave()
    assert mine.prog <= everything().prog and mine.link <= everything().link
    assert work.go() == 300
    subprocess.run([targets().app], check=True, capture_output=True)
    time.sleep(0.2)
    kept = place.read()
    assert kept.note == {"session": "s-1"}
    with closing(Session(compiled(text)).adopt(place, kept)) as session:
        records = session.poll(0.1)
        assert len(records) == 300
        found = cells(session)
        assert (found["@begun"], found["@t"], found["@r"]) == (Count(1), Count(300), Count(300))
        assert all(found[name].count > 0 for name in ("@i", "@p", "@c", "@u"))  # type: ignore[union-attr]
        assert session.attached == 8
        assert session.probe_name(1) == "tracepoint:syscalls:sys_enter_getppid"
        session.finish()
        assert cells(session)["@ended"] == Count(1)
    assert pins(folder.parent) == [] and not folder.exists()
    eventually(lambda: not mine & everything())


def test_what_was_pinned_is_not_believed_when_it_is_something_else(folder: Path) -> None:
    text = "tracepoint:syscalls:sys_enter_getppid { @ = count(); }"
    session, place = pinned(text, folder)
    assert pinned_below(folder).link
    session.leave()
    with pytest.raises(StalePinsError, match="does not have"):
        Session(compiled("interval:s:9 { @ = count(); }")).adopt(place, Kept(points=[(7, "x", {}, 7)]))
    session, place = pinned(text, folder.with_name("again"))
    session.leave()
    kept = place.read()
    path = place.path / "map_0"
    path.unlink()
    with pytest.raises(StalePinsError, match="map_0"):
        Session(compiled(text)).adopt(place, kept)
    session, place = pinned(text, folder.with_name("other"))
    session.leave()
    with pytest.raises(StalePinsError, match="another object"):
        Session(compiled(text)).adopt(place, kept)
    place = Pins(folder.with_name("newer"))
    place.path.mkdir(0o700)
    write_note(place.path / "note", b"\x01")
    with pytest.raises(StalePinsError, match="cannot be read"):
        place.read()


def test_links_and_strangers_folders_are_not_followed(folder: Path) -> None:
    session, place = pinned("tracepoint:syscalls:sys_enter_getppid { @ = count(); }", folder)
    session.leave()
    link = folder.with_name("link")
    link.symlink_to(folder)
    with pytest.raises(StalePinsError):
        Pins(link).read()
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        Pins(link).remove()
    assert pins(folder)
    link.unlink()
    moved = folder / "moved"
    (folder / "map_0").rename(moved)
    (folder / "map_0").symlink_to(moved)
    with pytest.raises(StalePinsError, match="map_0"):
        Session(session.artifact).adopt(place, place.read())
    strange = folder.with_name("strange")
    strange.mkdir()
    os.chown(strange, 65534, 65534)
    session = Session(session.artifact).__enter__()
    with session, pytest.raises(PermissionError):
        session.start()
        session.pin(Pins(strange), {})


def test_a_pin_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with Session(compiled("tracepoint:syscalls:sys_enter_getppid { @ = count(); }")) as session:
        session.start()
        with pytest.raises(OSError, match="bpf_obj_pin"):
            session.pin(Pins(tmp_path / "no" / "bpffs"), {})
        assert not (tmp_path / "no" / "bpffs").exists()
        make_calls(3)
        assert cells(session)


def test_records_that_were_not_acted_on_come_again(folder: Path) -> None:
    work = Workload.start("--getppid", 30)
    text = (
        f"""tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{ @n++; if (@n == 10) {{ clear(@m); }} @m = count(); }}"""
    )
    session, place = pinned(text, folder)
    work.go()
    assert [record.event.kind for record in session.poll(1)] == ["clear"]
    session.leave()  # as kill -9 would, before anything was done
    with closing(Session(compiled(text)).adopt(place, place.read())) as session:
        assert [record.event.kind for record in session.poll(1)] == ["clear"]
        session.clear("@m")
        assert not session.done()
        session.leave()
    with closing(Session(compiled(text)).adopt(place, place.read())) as session:
        assert session.poll(0) == []
        assert "@m" not in cells(session)


def test_a_flood_is_read_to_its_end_although_records_wait_to_be_acted_on(folder: Path) -> None:
    """The kernel wakes nobody for a record that comes while earlier ones are still in the buffer."""
    work = Workload.start("--getppid", 50_000, "--gap-us", 1)
    text = f"""tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{
        printf("%d\\n", 7); if (pid == 0) {{ clear(@m); }} @m = count();
    }}"""
    session, _ = pinned(text, folder)
    with closing(session), select.epoll() as waiting:
        assert session.epoll_fd is not None
        waiting.register(session.epoll_fd, select.EPOLLIN)
        work.begin()
        got, more = 0, False
        while got < 50_000 and (more or waiting.poll(5)):
            got += len(session.poll(0))
            more = session.done()
        assert got + session.counters().lost == 50_000 and session.counters().lost < 1000
        work.end()


def test_a_session_that_was_killed_while_it_ended_is_only_ended(folder: Path) -> None:
    work = Workload.start("--getppid", 10, linger=True)
    text = f"""tracepoint:syscalls:sys_enter_getppid /pid == {work.pid}/ {{ @n = count(); }} end {{ @ended = count(); }}"""
    session, place = pinned(text, folder)
    mine = pinned_below(folder)
    work.go()
    place.end(over=False)
    session.leave()
    with closing(Session(compiled(text)).adopt(place, place.read())) as session:
        assert session.ending and not mine.link & everything().link
        session.finish()
        assert (cells(session)["@n"], cells(session)["@ended"]) == (Count(10), Count(1))
        session.leave()
    with closing(Session(compiled(text)).adopt(place, place.read())) as session:
        session.finish()
        assert cells(session)["@ended"] == Count(1)
    assert pins(folder) == []
    work.end()
