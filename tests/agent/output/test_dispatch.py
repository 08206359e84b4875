"""Records by kind. Those that touch maps are tested with a kernel, through `kubebpf run`."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.ring import Reader
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.decode import PlainResolver
from kubebpf.compiler.artifact.manifest import Argument, Config, Event, Manifest, Place
from kubebpf.compiler.artifact.types import DBuffer, DInt, DString

HEAD = 8
TEXT, NUMBER = DString(64), DInt(64, True)


def said(event: Event, data: bytes, allow_unsafe: bool = False, warnings: bool = True) -> list[tuple[str, str]]:
    """What comes of one record. The session is not opened: it only has the manifest here."""
    manifest = Manifest("stdin", (), events=(event,), config=Config(max_cat_bytes=5))
    lines: list[tuple[str, str]] = []
    output = TextOutput(lambda kind, line: lines.append((kind, line)))
    dispatch = Dispatcher(Session(Artifact(b"", manifest)), PlainResolver(), output, allow_unsafe, warnings)
    dispatch(*Reader(manifest).records([struct.pack("<II", event.id, 0) + data]))
    return lines


def event(kind: str, *types: tuple[int, DString | DInt | DBuffer], format: str = "") -> Event:
    return Event(
        1, kind, HEAD, format, tuple(Argument(HEAD + offset, t) for offset, t in types), place=Place("stdin", 1, 9, 1, 20)
    )


def string(text: str) -> bytes:
    return text.encode().ljust(64, b"\0")


def test_printf() -> None:
    data = struct.pack("<q", -5) + string("ab")
    assert said(event("printf", (0, NUMBER), (8, TEXT), format="%d %s\n"), data) == [("printf", "-5 ab\n")]


def test_messages_have_their_place_and_warnings_can_be_off() -> None:
    data = struct.pack("<q", 7)
    assert said(event("errorf", (0, NUMBER), format="e %d"), data) == [("errorf", "stdin:1:9-20: ERROR: e 7\n")]
    assert said(event("warnf", (0, NUMBER), format="w %d"), data) == [("warnf", "stdin:1:9-20: WARNING: w 7\n")]
    assert said(event("warnf", (0, NUMBER), format="w %d"), data, warnings=False) == []


def test_print_of_a_value() -> None:
    assert said(event("print_value", (0, TEXT)), string("abc")) == [("print", "abc\n")]


def test_join_puts_the_separator_between_the_words() -> None:
    def joined(separator: str, *words: bytes) -> list[tuple[str, str]]:
        data = b"".join(word + b"\0" for word in words)
        return said(event("join", (0, DBuffer(64)), format=separator), struct.pack("<I", len(data)) + data)

    assert joined(" ", b"ls", b"-l", b"", b"a b") == [("join", "ls -l  a b\n")]
    assert joined("", b"a", b"b") == [("join", "ab\n")]
    assert joined(", ") == [("join", "\n")]


def test_time_is_of_now() -> None:
    assert said(event("time", format="%Y\n"), b"") == [("time", time.strftime("%Y\n"))]


def test_cat_reads_no_more_than_configured(tmp_path: Path) -> None:
    file = tmp_path / "file-7"
    file.write_text("0123456789")
    formatted = event("cat", (0, TEXT), (64, NUMBER), format="%s/file-%d")
    assert said(formatted, string(str(tmp_path)) + struct.pack("<q", 7)) == [("cat", "01234")]
    assert said(formatted, string(str(tmp_path)) + struct.pack("<q", 8)) == [
        ("errorf", f"stdin:1:9-20: ERROR: failed to open file '{tmp_path}/file-8': No such file or directory\n")
    ]


def test_system_runs_only_when_allowed(tmp_path: Path) -> None:
    command = event("system", (0, TEXT), format="echo hi > %s/made; echo done")
    [(kind, refused)] = said(command, string(str(tmp_path)))
    assert kind == "errorf"
    assert "system() is unsafe and was not allowed" in refused
    assert not (tmp_path / "made").exists()
    assert said(command, string(str(tmp_path)), allow_unsafe=True) == [("system", "done\n\n")]
    assert (tmp_path / "made").read_text() == "hi\n"


@pytest.mark.parametrize("kind", ["something_old", "something_new"])
def test_what_is_not_known_is_said(kind: str) -> None:
    assert said(event(kind), b"") == [("errorf", f"stdin:1:9-20: ERROR: this agent cannot do {kind}()\n")]


def test_exit_says_nothing() -> None:
    assert said(event("exit"), b"") == []
