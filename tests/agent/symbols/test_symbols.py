"""Symbol tables: kallsyms of a text, perf maps, mappings, and what the kernel records of processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.agent.symbols.kernel import KernelSymbols
from kubebpf.agent.symbols.log import MappingLog
from kubebpf.agent.symbols.mappings import Mappings
from kubebpf.agent.symbols.names import readable
from kubebpf.agent.symbols.perfmap import PerfMap
from kubebpf.agent.symbols.place import Place
from kubebpf.agent.symbols.processes import UserSymbols

KALLSYMS = b"""0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t __do_sys_getppid
ffffffff81000100 T __ia32_sys_getppid
ffffffff81000100 T __x64_sys_getppid
ffffffff81000040 T vfs_read
ffffffff81001000 B _end
ffffffffc0002000 t probe\t[veth]
ffffffffc0001000 t open\t[veth]
"""


def test_kernel_symbols_of_any_order(tmp_path: Path) -> None:
    table = tmp_path / "kallsyms"
    table.write_bytes(KALLSYMS)
    find = KernelSymbols(table).find
    assert find(0xFFFFFFFF81000041) == Place("vfs_read", 1)
    assert find(0xFFFFFFFF81000110) == Place("__x64_sys_getppid", 16)
    assert find(0xFFFFFFFFC0001FFF) == Place("open", 0xFFF, "veth")
    assert find(0xFFFFFFFFC0002000) == Place("probe", 0, "veth")
    assert find(0xFFFFFFFF81000000 - 1) is None
    assert find(0xFFFFFFFFC0102001) is None
    assert find(0) is None and find(2**64 - 1) is None


def test_modules_that_come_later_are_found_and_the_image_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "kallsyms"
    table.write_bytes(KALLSYMS)
    symbols = KernelSymbols(table)
    assert symbols.find(0xFFFFFFFFC0005000) == Place("probe", 0x3000, "veth")
    table.write_bytes(KALLSYMS + b"ffffffffc0005000 t late\t[nf]\n")
    assert symbols.find(0xFFFFFFFFC0005000) == Place("probe", 0x3000, "veth")
    monkeypatch.setattr("kubebpf.agent.symbols.kernel.STALE_S", 0.0)
    assert symbols.find(0xFFFFFFFFC0005000) == Place("late", 0, "nf")
    table.unlink()
    assert symbols.find(0xFFFFFFFF81000041) == Place("vfs_read", 1)


def test_hidden_kernel_addresses_name_nothing(tmp_path: Path) -> None:
    table = tmp_path / "kallsyms"
    table.write_bytes(b"0000000000000000 T _stext\n0000000000000000 T vfs_read\n")
    assert KernelSymbols(table).find(0xFFFFFFFF81000000) is None
    table.write_bytes(b"")
    assert KernelSymbols(table).find(0xFFFFFFFF81000000) is None


def test_perf_maps_keep_the_last_name_of_a_place() -> None:
    found = PerfMap(
        b"7f0000001000 20 first\n0x7f0000002000 0x10 a name with blanks\nbroken\n7f0000001000 40 second\nzz 1 x\n"
    ).find
    assert found(0x7F0000001030) == ("second", 0x30)
    assert found(0x7F000000200F) == ("a name with blanks", 15)
    assert found(0x7F0000002010) is None and found(0) is None


def test_mappings_that_hold_code() -> None:
    text = b"""7f00-8000 r--p 00000000 fe:00 7  /lib/a x.so
8000-9000 r-xp 00001000 fe:00 7  /lib/a x.so
9000-a000 rwxp 00000000 00:00 0
"""
    mappings = Mappings.parse(text)
    assert mappings.find(0x7F10) is None and mappings.find(0xA000) is None
    row = mappings.find(0x8FFF)
    assert row is not None and (row.path, row.offset, row.key, row.range) == ("/lib/a x.so", 0x1000, ("fe:00", 7), "8000-9000")
    anonymous = mappings.find(0x9000)
    assert anonymous is not None and anonymous.path == ""


def test_readable_names() -> None:
    assert readable("_ZN2ns1fEi") == "ns::f(int)"
    assert readable("_ZN2ns1fEi.cold") == "ns::f(int).cold"
    assert readable("_ZN4core3fmt5Write17h0123456789abcdefE") == "core::fmt::Write"
    assert readable("_ZZ") == "_ZZ" and readable("main") == "main"


# The last three are of the examples with which the scheme was proposed and is tested everywhere.
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_RNvNtC5hello5inner3run", "hello::inner::run"),
        ("_RNvNtC5hello5inner3run.llvm.123", "hello::inner::run"),
        ("_RNvMC0INtC8arrayvec8ArrayVechKj7b_E3new", "<arrayvec::ArrayVec<u8, 123>>::new"),
        (
            "_RINbNbCskIICzLVDPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std",
            "alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>",
        ),
        (
            "_RNCINkXs25_NgCsbmNqQUJIY6D_4core5sliceINyB9_4IterhENuNgNoBb_4iter8iterator8Iterator9rpositionNCNgNpB9_6memchr7"
            "memrchrs_0E0Bb_",
            "<core::slice::Iter<u8> as core::iter::iterator::Iterator>::rposition::<core::slice::memchr::memrchr::{closure#1}>"
            "::{closure#0}",
        ),
        ("_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y", "utf8_idents::საჭმელად_გემრიელი_სადილი"),
    ],
)
def test_rust_names(name: str, words: str) -> None:
    assert readable(name) == words


@pytest.mark.parametrize("name", ["_R", "_RNv", "_RB_", "_RNvB_3run", "_RIC1aB0_", "_RNvC5ab", "_R" + "NvC1a" * 200, "_RYTTTT"])
def test_names_that_only_look_like_rust_stay(name: str) -> None:
    assert readable(name) == name


def test_names_that_grow_without_end_are_given_up() -> None:
    parts, starts, at = ["TuuE"], [8], 8
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for _ in range(40):  # each part is twice the one before
        at += len(parts[-1])
        back = digits[starts[-1] - 1] if starts[-1] <= 62 else digits[(starts[-1] - 1) // 62] + digits[(starts[-1] - 1) % 62]
        parts.append(f"TB{back}_B{back}_E")
        starts.append(at)
    small, large = ("_RINvC1a1b" + "".join(parts[:n]) + "E" for n in (3, 40))
    assert readable(small).startswith("a::b::<((), ()), (((), ()), ((), ()))")
    assert readable(large) == large


@given(st.text(alphabet="RNvCIMXYBE_s0159abdhu", max_size=40))
def test_no_name_is_too_wild(tail: str) -> None:
    assert readable("_R" + tail)


def test_this_process_and_the_vdso() -> None:
    symbols = UserSymbols()
    vdso = next(row for row in Mappings.parse(Path("/proc/self/maps").read_bytes()).rows if row.path == "[vdso]")
    places = {symbols.find(os.getpid(), address) for address in range(vdso.start, vdso.end, 16)}
    assert any(place and "clock_gettime" in place.name and place.module == "[vdso]" for place in places)
    assert symbols.find(os.getpid(), 8) is None
    assert symbols.find(2**22 + 1, vdso.start) is None  # no process can have that number


@pytest.mark.kernel
def test_mappings_of_a_process_that_nobody_looked_at() -> None:
    log = MappingLog.open()
    assert log is not None
    process = subprocess.Popen(["/bin/sh", "-c", "exec /bin/true"])
    process.wait()
    programs = log.mappings(process.pid)
    true = Path("/bin/true").resolve()
    (row,) = (row for row in programs[0].rows if row.path == str(true))
    assert row.inode == true.stat().st_ino
    assert any(row.path == str(Path("/bin/sh").resolve()) for row in programs[1].rows)
