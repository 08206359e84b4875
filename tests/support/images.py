"""Containers with files of their own: a process whose root is a folder, in a mount namespace of its own, in a pod's cgroup.

image = Image(tmp_path / "image")                     # /opt/shop, and nothing else
with Shop(pod, image.mounted(tmp_path / "a")) as shop:     # an overlay mount, as runtimes make it of an image's layers
    shop.sell(5)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.pods import Pod

_SOURCE = Path(__file__).with_name("inside.c")


@cache
def shop_program() -> Path:
    """The compiled program; one for each version of its source."""
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"kubebpf-inside-{os.getuid()}-{key}"
    if not program.exists():
        with tempfile.NamedTemporaryFile(dir=program.parent, prefix=program.name, delete=False) as building:
            new = Path(building.name)
        subprocess.run(["gcc", "-O1", "-g", "-static", "-o", new, _SOURCE], check=True)
        new.chmod(0o755)
        new.rename(program)
    return program


def make_image(folder: Path, name: str = "shop") -> Path:
    """A root with /opt/NAME as a link to the program in /srv: absolute, as packages make them."""
    for part in ("opt", "srv", "proc"):
        (folder / part).mkdir(parents=True)
    shutil.copy(shop_program(), folder / "srv/program")
    (folder / "opt" / name).symlink_to("/srv/program")
    return folder


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """The image as an overlay mount of its own."""
    for part in ("upper", "work", "merged"):
        (folder / part).mkdir(parents=True)
    layers = f"lowerdir={image},upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, folder / "merged"], check=True)
    try:
        yield folder / "merged"
    finally:
        subprocess.run(["umount", "--lazy", folder / "merged"], check=True)


class Shop:
    """A process in a container that sells when it is told to."""

    def __init__(
        self, pod: Pod | None, root: Path, container: str | None = None, name: str = "shop", pause_us: int | None = None
    ) -> None:
        """With `pause_us` it sells all the time, from begin() to end(), with such pauses."""
        argv = ["unshare", "--mount", f"--root={root}", f"/opt/{name}", *([] if pause_us is None else [str(pause_us)])]
        pipe = subprocess.PIPE
        self.process: subprocess.Popen[Any] = (
            pod.run(argv, container, stdin=pipe, stdout=pipe)
            if pod is not None
            else subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        )
        self._expect("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def begin(self) -> None:
        """Let one with pauses start."""
        assert self.process.stdin is not None
        self.process.stdin.write("*")
        self.process.stdin.flush()

    def sell(self, times: int) -> None:
        assert self.process.stdin is not None
        for _ in range(times):
            self.process.stdin.write("*")
            self.process.stdin.flush()
            self._expect("sold")

    def end(self) -> int:
        """Let it end; how often one with pauses has sold."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if self.process.stdin.closed:
            return 0
        self.process.stdin.close()
        said = self.process.stdout.read().split()
        self.process.wait(10)
        self.process.stdout.close()
        return int(said[-1]) if said else 0

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == word, f"the shop said {said!r}, not {word!r}"
