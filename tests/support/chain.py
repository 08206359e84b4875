"""A C program with a known chain of calls, in every form in which programs come; and the frames that its stack has, computed from
its disassembly.

    program = build("pie", folder)
    with started(program.path) as process: …
    program.frames      -> ["leaf+14", "middle+14", "outer+14", "main+95"]
"""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.victim import Victim

_SOURCE = Path(__file__).with_name("chain.c")
_FLAGS = ("-O0", "-fno-omit-frame-pointer", "-Wall", "-Werror")


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Args:
        path: of it.
        frames: the innermost first, as `name+offset`.
        modules: the files that the frames lie in.
    """

    path: Path
    frames: list[str]
    modules: list[str]


def build(form: str, folder: Path) -> Program:
    """Compile the program: pie, static, shared, stripped, mini."""
    return _FORMS[form](folder)


@contextmanager
def started(path: Path, *arguments: str) -> Iterator[Victim]:
    """A process of it that waits for go(), and is gone behind the block."""
    process = subprocess.Popen([str(path), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Victim(process)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _compile(to: Path, *options: str) -> Path:
    subprocess.run(["gcc", *_FLAGS, *options[:-1], "-o", to, _SOURCE, *options[-1:]], check=True)
    return to


def _one_file(path: Path, disassembled: Path | None = None) -> Program:
    return Program(path, _frames(disassembled or path, ("leaf", "middle", "outer", "main")), [str(path)] * 4)


def _pie(folder: Path) -> Program:
    return _one_file(_compile(folder / "pie", "-pie", "-fPIE"))


def _static(folder: Path) -> Program:
    return _one_file(_compile(folder / "static", "-static", "-no-pie"))


def _shared(folder: Path) -> Program:
    library = _compile(folder / "libchain.so", "-DLIBRARY", "-shared", "-fPIC")
    program = _compile(folder / "shared", "-DPROGRAM", f"-Wl,-rpath,{folder}", str(library))
    frames = _frames(library, ("leaf", "middle", "outer")) + _frames(program, ("main",))
    return Program(program, frames, [str(library)] * 3 + [str(program)])


def _stripped(folder: Path) -> Program:
    """Without symbols; they are in a file beside it, which it names."""
    whole = _compile(folder / "whole", "-g")
    path, debug = folder / "stripped", folder / "stripped.debug"
    subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", whole, path], check=True)
    return _one_file(path, whole)


def _mini(folder: Path) -> Program:
    """Without symbols, but for a compressed table inside."""
    whole = _compile(folder / "whole", "-g")
    path, table = folder / "mini", folder / "table"
    subprocess.run(["objcopy", "--only-keep-debug", "--remove-section=.debug*", whole, table], check=True)
    packed = folder / "table.xz"
    packed.write_bytes(lzma.compress(table.read_bytes()))
    subprocess.run(["objcopy", "--strip-all", f"--add-section=.gnu_debugdata={packed}", whole, path], check=True)
    return _one_file(path, whole)


_FORMS: dict[str, Callable[[Path], Program]] = {
    "pie": _pie,
    "static": _static,
    "shared": _shared,
    "stripped": _stripped,
    "mini": _mini,
}


def _frames(path: Path, functions: tuple[str, ...]) -> list[str]:
    """Where each function goes on: behind the call of the next one, or behind the system call."""
    return [f"{name}+{behind_call(path, name)}" for name in functions]


def behind_call(path: Path, function: str) -> int:
    said = subprocess.run(["objdump", "-d", f"--disassemble={function}", path], capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if re.match(r"\s+[0-9a-f]+:\t", line)]
    start = int(lines[0].split(":")[0], 16)
    wanted = re.compile(r"\tsyscall|\tcall .*<(leaf|middle|outer)(@plt)?>")
    (at,) = (i for i, line in enumerate(lines) if wanted.search(line))
    return int(lines[at + 1].split(":")[0], 16) - start
