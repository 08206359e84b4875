"""C definitions: what clang reads, what the kernel lends, and which files a program may include."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kubebpf.compiler.cdefs import clang
from kubebpf.compiler.cdefs.definitions import Definitions
from kubebpf.compiler.cdefs.places import is_kernel_header
from kubebpf.compiler.cdefs.reading import read
from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.syntax.parser import parse
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.types.model import Array, Int, Origin, Pointer, Struct


def definitions(text: str, view: KernelView, **options: tuple[str, ...]) -> tuple[Definitions | None, list[str]]:
    """What is read, and the names of the complaints."""
    report = Report([Source("test", text + "\nbegin { }")])
    program = parse(report.sources[0], report)
    found = read(program.c_definitions, view, CompileOptions(**options), report)  # type: ignore[arg-type]
    return found, [complaint.code for complaint in report]


def test_kernel_types_are_lent(small: KernelView) -> None:
    found, said = definitions("struct mine { char c; struct task_struct task; pid_t pid; struct task_struct *next; };", small)
    assert found is not None and said == []
    mine = found.struct("mine")
    assert mine is not None
    character, task, pid, pointer = mine.fields
    kernels = small.struct("task_struct")
    assert kernels is not None
    assert (character.type, task.type, pid.type, pointer.type) == (Int(8, True), kernels, Int(32, True), Pointer(kernels))
    assert isinstance(task.type, Struct) and task.type.origin is Origin.BTF
    assert (task.offset, pid.offset) == (8, 8 + kernels.size)


def test_layouts(small: KernelView) -> None:
    text = """
    struct outer { int a; struct { char b; union { long c; char d[3]; }; }; unsigned e : 5, : 3, f : 9; int rest[]; };
    struct packed { char a; int b; } __attribute__((packed, aligned(2)));
    """
    found, _ = definitions(text, small)
    assert found is not None
    outer, packed = found.struct("outer"), found.struct("packed")
    assert outer is not None and packed is not None
    assert [(f.name, f.bit_offset, f.bit_size) for f in outer.fields] == [
        ("a", 0, 0), ("", 64, 0), ("e", 192, 5), ("f", 200, 9), ("rest", 224, 0),
    ]  # fmt: skip
    assert outer.fields[-1].type == Array(Int(32, True), 0)
    assert (packed.size, [f.offset for f in packed.fields]) == (6, [0, 1])
    assert "/" not in str(outer.fields[1].type)  # clang names it by its file


def test_macros_are_texts(small: KernelView) -> None:
    found, _ = definitions('#define A (1 << 3)\n#define T "a" "b"\n#define C \'\\n\'\n#define F(x) x\n#define SELF SELF', small)
    assert found is not None
    texts = [found.macro(name) for name in ("A", "T", "C", "F", "SELF", "B")]
    assert texts == ["( 1 << 3 )", '"ab"', "10", None, "SELF", None]


def test_headers_of_folders(tmp_path: Path, small: KernelView) -> None:
    (tmp_path / "mine.h").write_text('#include "deeper.h"\n#include <linux/only_in_the_kernel.h>\n')
    (tmp_path / "deeper.h").write_text("#define DEEP 7\n")
    found, said = definitions("#include <mine.h>", small, include_dirs=(str(tmp_path),))
    assert found is not None and said == [] and found.macro("DEEP") == "7"
    assert definitions("#include <mine.h>", small) == (None, ["MissingHeader"])


SECRET = "eyJhbGciOiJSUzI1NiJ9"


@pytest.mark.parametrize(
    "include",
    [
        '#include "{path}"',
        '#define H "{path}"\n#include H',
        '#include "link.h"',
        '#include "../{name}/secret"',
        "#include <link.h>",
    ],
)
def test_a_program_cannot_read_files(include: str, tmp_path: Path, small: KernelView) -> None:
    headers, elsewhere = tmp_path / "headers", tmp_path / "elsewhere"
    headers.mkdir()
    elsewhere.mkdir()
    secret = elsewhere / "secret"
    secret.write_text(SECRET)
    (headers / "link.h").symlink_to(secret)
    text = include.format(path=secret, name=elsewhere.name)
    report = Report([Source("test", text + "\nbegin { }")])
    program = parse(report.sources[0], report)
    assert read(program.c_definitions, small, CompileOptions(include_dirs=(str(headers),)), report) is None
    assert [complaint.code for complaint in report] == ["ForbiddenHeader"]
    assert SECRET not in " ".join(complaint.message for complaint in report)


@pytest.mark.parametrize(
    "question",
    ['__has_include("{path}")', "__has_include(<../{name}>)", '__has_include_next("{path}")', '__has_embed("{path}")'],
)
def test_a_program_cannot_ask_for_files(question: str, tmp_path: Path, small: KernelView) -> None:
    (tmp_path / "headers").mkdir()
    (tmp_path / "there").write_text("")
    asked = question.format(path=tmp_path / "there", name="there")
    found, _ = definitions(f"#if {asked}\n#define THERE 1\n#endif", small, include_dirs=(str(tmp_path / "headers"),))
    assert found is None or found.macro("THERE") is None


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/proc/kmsg", "/proc/self/environ", "/proc/self/fd/0"])
def test_devices_are_not_opened(device: str, small: KernelView) -> None:
    began = time.process_time()
    assert definitions(f'#include "{device}"', small) == (None, ["ForbiddenHeader"])
    assert time.process_time() - began < 2


def test_kernel_headers() -> None:
    assert is_kernel_header("linux/sched.h") and is_kernel_header("net/sock.h") and not is_kernel_header("stdio.h")


@pytest.mark.parametrize("header", ["sys/socket.h", "linux/socket.h", "netinet/in.h", "arpa/inet.h"])
def test_socket_constants_need_no_header_of_the_machine(
    header: str, tmp_path: Path, small: KernelView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image of the operator has no C library's headers."""
    with_system, said = definitions(f"#include <{header}>", small)
    monkeypatch.setattr(clang, "SYSTEM_HEADERS", str(tmp_path))
    without, said_then = definitions(f"#include <{header}>", small)
    assert with_system is not None and without is not None and said == said_then == []
    assert without.macro("AF_INET6") == "10"
    assert with_system.macro("AF_INET6") in ("10", "PF_INET6")
