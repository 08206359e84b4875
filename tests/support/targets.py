"""User programs to be probed, built once for each version of their sources.

targets().app      C, with usdt probes and debug information        targets().stripped   the same without symbols
targets().cpp      C++                                              targets().linked     without symbols, with a .debug file
targets().mini     without symbols, with .gnu_debugdata
"""

from __future__ import annotations

import hashlib
import lzma
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from kubebpf.cli.programs import LocalPrograms
from kubebpf.compiler.kernel.view import KernelView

_C, _CPP = (Path(__file__).with_name(f"targets.{suffix}") for suffix in ("c", "cc"))
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the program's operands are those of x86-64")


@dataclass(frozen=True)
class Targets:
    app: Path
    cpp: Path
    stripped: Path
    linked: Path
    mini: Path


@cache
def targets() -> Targets:
    """The programs."""
    key = hashlib.sha256(_C.read_bytes() + _CPP.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"kubebpf-targets-{os.getuid()}-{key}"
    if not folder.exists():
        building = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
        _build(building)
        building.rename(folder)  # at the end: another test run must not find a half of it
    return Targets(*(folder / name for name in Targets.__dataclass_fields__))


def _build(folder: Path) -> None:
    def run(*words: str | Path) -> None:
        subprocess.run(words, check=True, cwd=folder)

    flags = ("-g", "-O1", "-fno-ipa-modref", "-fno-ipa-sra", "-Wno-unused")
    run("gcc", *flags, "-o", "app", _C)
    run("g++", *flags, "-o", "cpp", _CPP)
    run("objcopy", "--strip-all", "app", "stripped")
    run("objcopy", "--only-keep-debug", "app", "linked.debug")
    run("objcopy", "--strip-all", "--add-gnu-debuglink=linked.debug", "app", "linked")
    run("objcopy", "--remove-section=.note.gnu.build-id", "linked")
    run("objcopy", "--strip-debug", "app", "symbols")
    (folder / "packed").write_bytes(lzma.compress((folder / "symbols").read_bytes()))
    run("objcopy", "--strip-all", "--add-section", ".gnu_debugdata=packed", "app", "mini")


@cache
def view() -> KernelView:
    """This kernel, with the binaries of this machine."""
    found = KernelView.running()
    found.programs = LocalPrograms()
    return found
