"""Where programs come from."""

from pathlib import Path

import pytest

from kubebpf.cli.problems import UserError
from kubebpf.cli.source import Program, read


def test_inline_takes_all_words() -> None:
    assert read("begin { }", ("a", "b")) == Program("begin { }", "stdin", ("a", "b"))


def test_the_first_word_is_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.bt"
    file.write_text("begin { }")
    assert read(None, (str(file), "7")) == Program("begin { }", str(file), ("7",))
    assert not read(None, (str(file),)).is_manifest
    assert Program("", "trace.yaml").is_manifest


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Give a program"):
        read(None, ())
    with pytest.raises(UserError, match="No such file or directory\nHINT: a program on the command line needs -e"):
        read(None, ("begin { exit(); }",))
    binary = tmp_path / "x.bt"
    binary.write_bytes(b"begin \xff")
    with pytest.raises(UserError, match="byte 6 is not UTF-8"):
        read(None, (str(binary),))
