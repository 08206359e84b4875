"""Which files cat() reads on a node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubebpf.agent.output.files import Files, NotShownError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("proc/1", "proc/2", "etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/1/cmdline").write_text("init")
    (tmp_path / "proc/loadavg").write_text("0.25 0.5")
    (tmp_path / "etc/shadow").write_text("secret")
    (tmp_path / "proc/2/cmdline").symlink_to(tmp_path / "etc/shadow")
    (tmp_path / "proc/3").symlink_to(tmp_path / "etc")
    (tmp_path / "etc/cmdline").write_text("secret")
    os.mkfifo(tmp_path / "proc/pipe")
    return tmp_path


def test_those_shown_are_read(root: Path) -> None:
    files = Files(("/proc/loadavg", "/proc/*/cmdline", "/proc/pipe"), root)
    assert files.read("/proc/loadavg", 4) == b"0.25"
    assert files.read("/proc/1/cmdline", 100) == b"init"
    assert files.read("/proc/pipe", 100) == b""  # nobody writes into it, and nobody waits for that


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "etc/shadow", "/proc/../etc/shadow", "/proc//cmdline", "/proc/1/2/cmdline", "/proc/./cmdline", "", "/"],
)
def test_others_are_not(root: Path, path: str) -> None:
    with pytest.raises(NotShownError, match="does not show"):
        Files(("/proc/loadavg", "/proc/*/cmdline", "/proc/*"), root).read(path, 100)
    with pytest.raises(NotShownError, match="none"):
        Files((), root).read("/proc/loadavg", 100)


def test_no_link_is_followed(root: Path) -> None:
    files = Files(("/proc/*/cmdline",), root)
    for path in ("/proc/2/cmdline", "/proc/3/cmdline"):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            files.read(path, 100)


def test_a_folder_is_no_file_and_nothing_is_left_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("/proc/1", "/proc/9"):
        with pytest.raises(OSError, match="directory"):
            Files(("/proc/*",), root).read(path, 10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
