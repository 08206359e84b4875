"""User programs: symbols, zip members, instructions, names of files."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from kubebpf.agent.binaries.binary import NotElfError, binary, own_name, without_parameters
from kubebpf.agent.binaries.files import NoFileError, files
from kubebpf.agent.binaries.instructions import length, start_before
from kubebpf.agent.binaries.usdt import probes
from support.targets import targets, x86


@x86
def test_zip_members_are_probed_in_the_zip_file(tmp_path: Path) -> None:
    package = tmp_path / "x.apk"
    with ZipFile(package, "w") as archive:
        archive.writestr("other", b"something")
        archive.write(targets().app, "lib/app.so")
        archive.write(targets().app, "lib/small.so", compress_type=ZIP_DEFLATED)
    member, plain = binary(f"{package}!/lib/app.so"), binary(str(targets().app))
    symbol = member.function("places")
    assert symbol == plain.function("places")
    assert symbol
    offset, original = member.offset(symbol.address), plain.offset(symbol.address)
    assert member.path == str(package)
    assert files(f"{package}!/lib/app.so") == [(f"{package}!/lib/app.so",) * 2]
    assert offset and original
    assert package.read_bytes()[offset : offset + 16] == targets().app.read_bytes()[original : original + 16]
    for name, why in (("lib/small.so", "compressed"), ("lib/none.so", "There is no item")):
        with pytest.raises(NotElfError, match=why):
            binary(f"{package}!/{name}")


@x86
def test_a_binary_is_read_again_when_it_changed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(targets().app.read_bytes())
    first = binary(str(copy))
    assert binary(str(copy)) is first
    copy.write_bytes(targets().cpp.read_bytes())
    assert binary(str(copy)).function("places") is None


@x86
def test_notes() -> None:
    found = probes(binary(str(targets().app)))
    assert [(p.namespace, p.name) for p in found].count(("app", "places")) == 2
    [guarded] = [p for p in found if p.name == "guarded"]
    users = binary(str(targets().app)).symbol("users")
    assert users
    assert guarded.semaphore == users.address


@pytest.mark.parametrize(
    ("full", "plain", "own"),
    [
        ("ns::f(int)", "ns::f", "ns::f"),
        ("long ns::twice<long>(long)", "long ns::twice<long>", "ns::twice<long>"),
        ("ns::A::apply(void (*)(int)) const", "ns::A::apply", "ns::A::apply"),
        ("ns::A::operator new[](unsigned long)", "ns::A::operator new[]", "ns::A::operator new[]"),
        ("(anonymous namespace)::f()", "(anonymous namespace)::f", "(anonymous namespace)::f"),
        ("main", "main", "main"),
    ],
)
def test_names_of_cpp(full: str, plain: str, own: str) -> None:
    assert (without_parameters(full), own_name(full)) == (plain, own)


@x86
def test_lengths_of_instructions_are_those_of_the_disassembler() -> None:
    path = files("libc")[0][1]
    file = binary(path)
    symbol = file.function("qsort_r") or file.function("qsort")
    assert symbol
    end = symbol.address + 60_000
    words = ["objdump", "-d", "--no-show-raw-insn", f"--start-address={symbol.address:#x}", f"--stop-address={end:#x}", path]
    listing = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    starts = [int(m[1], 16) for m in re.finditer(r"^\s+([0-9a-f]+):\t", listing, re.MULTILINE)]
    code = file.bytes_at(symbol.address, 60_100)
    assert len(starts) > 5000
    wrong = [hex(a) for a, b in pairwise(starts) if length(code, a - symbol.address) != b - a]
    assert wrong == []


@pytest.mark.parametrize(("offset", "expected"), [(0, 0), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)])
def test_starts(offset: int, expected: int) -> None:
    code = bytes.fromhex("55 4889e5 b805000000 c3")  # push %rbp; mov %rsp,%rbp; mov $5,%eax; ret
    assert start_before(code, offset, "x86_64") == expected
    assert start_before(code, offset, "aarch64") == offset // 4 * 4


def test_bytes_that_are_no_instruction() -> None:
    assert start_before(b"\x06\x06", 1, "x86_64") is None


def test_files_of_patterns_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool-a").write_bytes(b"")
    (tmp_path / "tool-b").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert files("./tool-*") == [("./tool-a", "./tool-a"), ("./tool-b", "./tool-b")]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [path for path, _ in files("tool-[b]")] == [str(tmp_path / "tool-b")]
    with pytest.raises(NoFileError, match="choose one with -p"):
        files("*")
    mapped = [path for path, _ in files("*", os.getpid())]
    assert any("/libc." in path or "/libc-" in path for path in mapped) or platform.libc_ver()[0] != "glibc"
