"""From attach points to places: wildcards, tracepoints, libraries, symbols."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kubebpf.agent.binaries.binary import NotElfError, binary
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.libraries import library, resolve
from kubebpf.agent.session.points import Node, functions, number, online_cpus, tracepoints
from kubebpf.agent.session.wildcards import pattern
from kubebpf.compiler.artifact.manifest import Attach


def attach(provider: str, wildcard: bool = False, **target: str | int) -> Attach:
    return Attach(0, "p", provider, f"{provider}:{':'.join(map(str, target.values()))}", target, wildcard)


def libc() -> str:
    path = resolve("libc")
    assert path is not None
    return path


@pytest.mark.parametrize(
    ("text", "name", "matches"),
    [
        ("sys_*", "sys_read", True), ("sys_*", "xsys_read", False), ("*", "", True), ("a[bc]d", "abd", True),
        ("a[bc]d", "aed", False), ("a.b", "axb", False), ("a?b", "axb", False), ("[0-9]*", "7x", True), ("a[", "a[", True),
        ("[^a]", "^", True), ("[^a]", "b", False),
    ],
)  # fmt: skip
def test_wildcards(text: str, name: str, matches: bool) -> None:
    assert bool(pattern(text).fullmatch(name)) is matches


def test_libraries_as_ldconfig_lists_them() -> None:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    expected: dict[str, str] = {}
    for line in listed.splitlines()[1:]:
        soname, _, rest = line.strip().partition(" (libc6,")
        if "=>" in rest and "hwcap" not in rest:
            expected.setdefault(soname, rest.partition(" => ")[2])
    assert "libc.so.6" in expected
    assert {soname: library(soname) for soname in expected} == expected
    assert resolve("libc") == resolve("libc.so.6") == expected["libc.so.6"]


def test_names_on_path_and_names_of_nothing() -> None:
    assert resolve("sh") is not None
    assert resolve("no-such-program") is None
    assert resolve("/no/such/file") is None
    assert library("libc", Path("/no/such/cache")) is None


def expected_offsets(path: str) -> dict[str, set[int]]:
    """Names and file offsets, by the plain loop."""
    found: dict[str, set[int]] = {}
    with Path(path).open("rb") as file:
        elf = ELFFile(file)
        loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        table = elf.get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_LOOS") and symbol["st_shndx"] != "SHN_UNDEF":
                for load in loads:
                    if load["p_vaddr"] <= symbol["st_value"] < load["p_vaddr"] + load["p_filesz"]:
                        offset = symbol["st_value"] - load["p_vaddr"] + load["p_offset"]
                        found.setdefault(symbol.name, set()).add(offset)
    return found


def test_every_function_of_libc_is_found() -> None:
    expected = expected_offsets(libc())
    assert len(expected) > 1000
    file = binary(libc())
    found = {name: file.function(name) for name in expected}
    assert {name for name, symbol in found.items() if not symbol or file.offset(symbol.address) not in expected[name]} == set()
    assert file.function("no_such_function") is None
    matched = {symbol.name: file.offset(symbol.address) for symbol in file.functions("str[nc]*")}
    assert len(matched) > 10
    assert all(offset in expected[name] for name, offset in matched.items())
    wanted = set().union(*(offsets for name, offsets in expected.items() if name.startswith(("strn", "strc"))))
    assert set(matched.values()) == wanted


def test_files_that_are_no_elf(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(NotElfError):
        binary(str(text))


def test_function_of_a_library_becomes_file_and_offset() -> None:
    [(name, target)] = functions(attach("uprobe", path="libc", function="getppid", offset=0), Node())
    assert name == f"uprobe:{libc()}:getppid"
    assert target["path"] == libc()
    assert target["offset"] in expected_offsets(libc())["getppid"]


def test_wildcards_in_paths(tmp_path: Path) -> None:
    for name in ("liba.so", "libb.so", "other"):
        (tmp_path / name).symlink_to(libc())
    found = functions(attach("uprobe", True, path=f"{tmp_path}/lib*.so", function="getppi*", offset=0), Node())
    assert [target["path"] for _, target in found] == [f"{tmp_path}/liba.so", f"{tmp_path}/libb.so"]


@pytest.mark.parametrize(
    ("path", "function", "why"),
    [
        ("libc", "no_such_function", "no function no_such_function in "),
        ("no-such-library", "f", "no file, library or program no-such-library"),
        ("/etc/passwd", "f", "not an ELF file"),
    ],
)
def test_functions_that_are_missing(path: str, function: str, why: str) -> None:
    with pytest.raises(MissingProbeError, match=why):
        list(functions(attach("uprobe", path=path, function=function, offset=0), Node()))


@pytest.mark.kernel
def test_tracepoint_wildcards_are_what_tracefs_has() -> None:
    folder = Node().tracefs / "events" / "syscalls"
    expected = {path.name for path in folder.iterdir() if path.name.startswith("sys_enter_getp")}
    found = list(tracepoints(attach("tracepoint", True, category="syscalls", event="sys_enter_getp*"), Node()))
    assert len(expected) > 2
    assert {target["event"] for _, target in found} == expected
    assert [name for name, _ in found] == sorted(name for name, _ in found)


def test_no_tracefs_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingProbeError, match="no tracefs at"):
        list(tracepoints(attach("tracepoint", category="sched", event="sched_switch"), Node(tmp_path)))


def test_cookies_are_probe_numbers_then_matches() -> None:
    plain, wild = Attach(1, "p", "tracepoint", "t:a:b", {}), Attach(0, "p", "tracepoint", "t:a:*", {}, wildcard=True)
    points = number([(wild, "t:a:x", {}), (wild, "t:a:y", {}), (plain, "t:a:b", {})], declared=2)
    assert [(point.name, point.cookie) for point in points] == [("t:a:x", 2), ("t:a:y", 3), ("t:a:b", 1)]


def test_online_cpus_include_those_this_process_may_use() -> None:
    assert set(online_cpus()) >= os.sched_getaffinity(0)
