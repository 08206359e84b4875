"""Constants of the node, and texts given for `$1` and getopt()."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kubebpf.agent.session.constants import fill
from kubebpf.agent.session.errors import FactError, ParameterError
from kubebpf.agent.session.facts import cgroup_id, check_parameters, kernel_device
from kubebpf.agent.session.options import Options
from kubebpf.compiler.artifact.manifest import Constant, Manifest
from kubebpf.compiler.artifact.parameters import ParameterTextError, boolean, integer, string
from support.cgroups import cgroup2_mount


def filled(*constants: Constant, options: Options | None = None) -> bytes:
    section = bytearray(max(constant.offset + constant.size for constant in constants))
    fill(memoryview(section), Manifest("stdin", (), constants=constants), options or Options())
    return bytes(section)


def number(constant: Constant, options: Options | None = None) -> int:
    return int.from_bytes(filled(constant, options=options), "little")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("42", 42), ("-10", -10), ("+7", 7), ("0x1F", 31), ("0xffffffffffffffff", 2**64 - 1), ("-0x10", -16),
        ("010", 8), ("1_000", 1000), ("1e6", 10**6), ("10ms", 10**7), ("3us", 3000), ("5ns", 5), ("2s", 2 * 10**9),
        ("1m", 60 * 10**9), ("1h", 3600 * 10**9), ("1d", 86400 * 10**9), ("-9223372036854775808", -(2**63)),
    ],
)  # fmt: skip
def test_integers_as_the_language_writes_them(text: str, value: int) -> None:
    assert integer(text, "$1") == value


@pytest.mark.parametrize("text", ["", "abc", "1x", "0x", "1.5", "09", "10 ms", "1e", "--1", "0x10ms"])
def test_texts_that_are_no_integers(text: str) -> None:
    with pytest.raises(ParameterTextError, match=r"--n is used as a number, but \""):
        integer(text, "--n")


@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", "1e99"])
def test_integers_that_64_bits_cannot_hold(text: str) -> None:
    with pytest.raises(ParameterTextError, match="64 bits"):
        integer(text, "--n")


@pytest.mark.parametrize(
    ("text", "value"), [("", True), ("true", True), ("1", True), ("false", False), ("0", False), ("False", False)]
)
def test_booleans(text: str, value: bool) -> None:
    assert boolean(text, "--b") is value


@pytest.mark.parametrize("text", ["yes", "2", "truee", " true"])
def test_texts_that_are_no_booleans(text: str) -> None:
    with pytest.raises(ParameterTextError, match="takes true, 1, false or 0"):
        boolean(text, "--b")


def test_strings_fill_their_place_and_are_never_cut() -> None:
    assert string("abc", 8, "$1") == b"abc\0\0\0\0\0"
    assert string("1234567", 8, "$1") == b"1234567\0"
    with pytest.raises(ParameterTextError, match="has 8 bytes, and the program has room for 7"):
        string("12345678", 8, "$1")


def test_positional_arguments_and_their_absence() -> None:
    constants = (
        Constant("positional", 0, 8, arg="1"),
        Constant("positional", 8, 8, string=True, arg="2"),
        Constant("positional", 16, 8, arg="9"),
        Constant("positional_count", 24, 8),
    )
    section = filled(*constants, options=Options(args=("0x10", "two")))
    assert section == (16).to_bytes(8, "little") + b"two\0\0\0\0\0" + bytes(8) + (2).to_bytes(8, "little")


def test_positional_text_where_a_number_is_wanted() -> None:
    with pytest.raises(ParameterError, match=r"\$1 is used as a number, but \"two\" is none"):
        number(Constant("positional", 0, 8, arg="1"), Options(args=("two",)))


@pytest.mark.parametrize(
    ("default", "params", "value"),
    [
        ("20", {}, 20), ("20", {"aa": "0xffffffffffffffff"}, 2**64 - 1), ("-1", {"aa": "-10"}, 2**64 - 10), ("-1", {}, 2**64 - 1),
        ("true", {}, 1), ("true", {"aa": "False"}, 0), ("false", {"aa": ""}, 1), ("false", {}, 0), ("0", {"aa": "10ms"}, 10**7),
    ],
)  # fmt: skip
def test_options(default: str, params: dict[str, str], value: int) -> None:
    assert number(Constant("getopt", 0, 8, arg="aa", default=default), Options(params=params)) == value


def test_a_string_option_whose_default_is_a_word_of_booleans() -> None:
    constant = Constant("getopt", 0, 8, string=True, arg="aa", default="true")
    assert filled(constant, options=Options(params={"aa": "maybe"})) == b"maybe\0\0\0"


def test_unknown_option_is_refused_with_those_there_are() -> None:
    constants = (Constant("getopt", 0, 8, arg="bb", default="1"), Constant("getopt", 8, 8, arg="aa", default="1"))
    manifest = Manifest("stdin", (), constants=constants)
    check_parameters(manifest, Options(params={"aa": "1"}))
    with pytest.raises(ParameterError, match="no option --x; its options: --aa, --bb"):
        check_parameters(manifest, Options(params={"aa": "1", "x": "1"}))


def test_clocks_and_identities() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= number(Constant("start_boottime", 0, 8)) <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert number(Constant("self_pid", 0, 8)) == os.getpid()
    assert number(Constant("pidns_ino", 0, 8)) == int(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    assert number(Constant("scope_level_hi", 0, 8), Options(scope_levels=(2, 5))) == 5
    assert number(Constant("scope_level_hi", 0, 8, default="3")) == 3


def test_device_numbers_as_the_kernel_packs_them() -> None:
    assert kernel_device(os.makedev(0, 4)) == 4
    assert kernel_device(os.makedev(3, 300)) == 3 << 20 | 300


def test_cpid_without_a_child() -> None:
    assert number(Constant("cpid", 0, 8), Options(child=77)) == 77
    with pytest.raises(ParameterError, match="-c"):
        number(Constant("cpid", 0, 8))
    assert number(Constant("cpid", 0, 8, default="0")) == 0


def test_has_cpid() -> None:
    assert [number(Constant("has_cpid", 0, 8), Options(child=c)) for c in (None, 77)] == [0, 1]


def test_cgroup_ids_are_of_version_2() -> None:
    mount = cgroup2_mount()
    assert cgroup_id(str(mount)) == mount.stat().st_ino
    with pytest.raises(FactError, match="not in a cgroup v2"):
        cgroup_id("/proc")
    with pytest.raises(FactError, match="No such file"):
        cgroup_id(str(mount / "nothing here"))


def test_constants_of_a_later_compiler() -> None:
    with pytest.raises(FactError, match="kind moonphase"):
        number(Constant("moonphase", 0, 8))
