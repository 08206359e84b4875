"""usdt probes of a program of the tests: operands of all forms, places, semaphores, wildcards, and what is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kubebpf.agent.session import user
from kubebpf.agent.session.errors import AttachError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.values import Value
from support.programs import compiled, pair, result, running
from support.targets import targets, x86

pytestmark = [pytest.mark.kernel, x86]


def printed(text: str, *words: str, options: Options | None = None) -> list[Value]:
    """What probes print while the program runs; `APP` in the text is the program."""
    app = str(targets().app)
    with running(text.replace("APP", app), options=options) as session:
        said = subprocess.run([app, *words], check=True, capture_output=True, text=True).stdout
    return [*result(session).printed, said.strip()]


@pytest.mark.entry("probe:usdt")
def test_operands_of_all_forms() -> None:
    text = "usdt:APP:forms { print((arg0, arg1, arg2, arg3, arg4, arg5, arg6, arg7, arg8, arg9, arg10, arg11)) }"
    assert printed(text) == [pair(-2, 254, -2, 65534, -2, (1 << 32) - 2, -2, -9, 20, 30, 255, 77), "0"]


def test_a_probe_with_several_places_is_one_probe_with_operands_of_each() -> None:
    app = targets().app
    with running(f"usdt:{app}:app:places {{ print(arg0) }} usdt:{app}:app:forms {{ }}") as session:
        assert session.attached == 2
        assert [point.name for point in session.points] == [f"usdt:{app}:app:places"] * 2 + [f"usdt:{app}:app:forms"]
        assert len({point.cookie for point in session.points}) == 3
        subprocess.run([app, "4"], check=True, capture_output=True)
    assert result(session).printed == [4, -5]


def test_semaphores_tell_the_program_that_it_is_watched() -> None:
    assert printed("usdt:APP:app:guarded { print(str(arg0)) }") == ["guarded text", "1"]
    assert printed("usdt:APP:app:places { }")[-1] == "0"


def test_wildcards() -> None:
    app = targets().app
    with running(f"usdt:{app.parent}/ap*:a*:* {{ @ = count(); }} usdt:{app}::pla* {{ @b = count(); }}") as session:
        assert session.attached == 5
        subprocess.run([app], check=True, capture_output=True)
    ran = result(session)
    assert (ran.cell("@"), ran.cell("@b")) == (Count(5), Count(2))


def test_only_of_the_process() -> None:
    """-p, with a path and with the files that the process has mapped."""
    app = str(targets().app)
    for path in (app, "*"):
        gate, go = os.pipe()
        child = subprocess.Popen(["sh", "-c", f"read x; exec {app} 8"], stdin=gate, stdout=subprocess.DEVNULL)
        os.close(gate)
        options = Options(pid=child.pid)
        if path == "*":  # the shell has not become the program yet
            with (
                pytest.raises(AttachError, match="no usdt probe app:places"),
                Session(compiled(f"usdt:{path}:app:places {{ }}"), options),
            ):
                pass
            os.close(go)
            child.wait()
            continue
        with running(f"usdt:{path}:app:places {{ print(arg0) }}", options=options) as session:
            subprocess.run([app, "9"], check=True, capture_output=True)
            os.write(go, b"\n")
            child.wait()
            os.close(go)
        assert result(session).printed == [8, -5]


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        ("usdt:APP:app:none { }", "no usdt probe app:none in"),
        ("usdt:APP:app:floating { print(arg0) }", "arg0: the operand '8f@%xmm0' cannot be read"),
        ("usdt:APP:app:places { print(arg2) }", "the probe has 1 arguments, and arg2 is read"),
        ("usdt:/no/such/file:x { }", "no file, library or program /no/such/file"),
        ("usdt:*:x { }", "choose one with -p"),
    ],
)
def test_what_is_refused(probe: str, why: str) -> None:
    with pytest.raises(AttachError, match=why), Session(compiled(probe.replace("APP", str(targets().app)))):
        pass


def test_an_operand_that_nobody_reads_does_no_harm() -> None:
    assert printed("usdt:APP:floating { print(arg1) }") == [3, "0"]


def test_semaphores_and_places_are_given_back(tmp_path: Path) -> None:
    for _ in range(3):
        assert printed("usdt:APP:app:guarded { }")[-1] == "1"
    assert subprocess.run([targets().app], check=True, capture_output=True, text=True).stdout == "0\n"


def test_kernels_without_links_of_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """One link for each place then, with the same cookies, semaphores and operands."""
    monkeypatch.setattr(user, "has_uprobe_multi", lambda: False)
    app = targets().app
    text = """usdt:APP:places { print(arg0) } usdt:APP:guarded { print(str(arg0)) } uprobe:APP:[ip]*s { @ = count(); }
        uretprobe:APP:ints { print((int32)retval) } uprobe:APP:ints { print(*(int32 *)uaddr("word")) }"""
    with running(text.replace("APP", str(app)), options=Options(missing_probes="error")) as session:
        assert len(session.loaded.links) == len(session.points) == 8
        subprocess.run([app], check=True, capture_output=True)
    ran = result(session)
    assert sorted(map(str, ran.printed)) == sorted(map(str, [77, -294967431, 1, -5, "guarded text"]))
    assert ran.cell("@") == Count(3)
    with (
        pytest.raises(AttachError, match="needs Linux"),
        Session(compiled(f'uretprobe:{app}:ints {{ print(uaddr("word")) }}')),
    ):
        pass


def test_paths_of_a_process_in_another_mount_namespace() -> None:
    """With -p, a path is what the process sees; its libraries are those of its own files."""
    app = targets().app
    script = f"mount --bind {app.parent} /mnt && echo ready && read x && exec /mnt/app 8"
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin and child.stdout
    child.stdout.readline()
    assert not Path("/mnt/app").exists()
    with running("usdt:/mnt/app:app:places { print(arg0); print(probe); }", options=Options(pid=child.pid)) as session:
        child.communicate(b"\n")
    assert result(session).printed == [8, "usdt:/mnt/app:app:places", -5, "usdt:/mnt/app:app:places"]
