"""Files of BPF C that a program imports: compiled by the machine's clang, their functions callable from the program.

    // sum.bpf.c                                    import "sum.bpf.c";
    int sum(int a, int b) { return a + b; }         begin { print(sum((int32)1, (int32)2)); }

clang gives the code as LLVM bitcode, which is linked into the program's own module before it is optimised, and an object whose
BTF tells the functions' types (`FUNC` and `FUNC_PROTO`, Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubebpf.compiler.kernel.btf import Btf, BtfError, Function

SECONDS = 30.0
CLANG = "clang"
# As libbpf's own examples are built; -O2 is what the verifier expects of C.
FLAGS = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wno-unused-function", "-fno-color-diagnostics")
ARCHES = {"x86_64": "__TARGET_ARCH_x86", "aarch64": "__TARGET_ARCH_arm64"}


class BpfCError(Exception):
    """The file cannot be used; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One file.

    Args:
        bitcode: of LLVM.
        functions: what a program can call.
    """

    bitcode: bytes
    functions: tuple[Function, ...]


def compile_file(path: Path, arch: str, folders: Sequence[str]) -> Compiled:
    """Compile a file.

    Args:
        arch: of the nodes, as `uname -m` says.
        folders: searched for its headers, beside its own.

    Raises:
        BpfCError: there is no clang, or it refuses the file.
    """
    clang = shutil.which(CLANG)
    if clang is None:
        raise BpfCError("it is C, and there is no clang on this machine to compile it (Debian's package clang)")
    includes = [word for folder in (str(path.parent), *folders) for word in ("-I", folder)]
    command = [clang, *FLAGS, f"-D{ARCHES.get(arch, '__TARGET_ARCH_x86')}", *includes, "-c", str(path), "-o"]
    with tempfile.TemporaryDirectory(prefix="kubebpf-") as folder:
        bitcode, code = Path(folder, "code.bc"), Path(folder, "code.o")
        _run([*command, str(bitcode), "-emit-llvm"])
        _run([*command, str(code)])
        return Compiled(bitcode.read_bytes(), _functions(code))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BpfCError(f"clang does not compile it: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        raise BpfCError("clang does not compile it: " + "; ".join(errors[:3] or done.stderr.splitlines()[:3]))


def _functions(code: Path) -> tuple[Function, ...]:
    try:
        btf = Btf.read(code)
        found = [btf.function(name) for name in sorted(set(btf.functions()))]
    except BtfError as error:
        raise BpfCError(f"what clang made of it has no types: {error}") from error
    return tuple(function for function in found if function is not None)
