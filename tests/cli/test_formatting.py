"""kubebpf fmt: where the text comes from and goes to, and the exit codes."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from kubebpf.cli.formatting import fmt

UGLY, TIDY = "BEGIN{@x=1}", "begin\n{\n\t@x = 1;\n}\n"


def call(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(fmt, words, input=text, standalone_mode=False)


def test_fmt(tmp_path: Path) -> None:
    assert call("-e", UGLY).output == TIDY
    assert call("-", text=UGLY).output == TIDY
    file = tmp_path / "a.bt"
    file.write_text(UGLY)
    file.chmod(0o755)
    shown = call("--check", str(file))
    assert (shown.return_value, file.read_text()) == (1, UGLY)
    assert f"--- {file}" in shown.output and "+\t@x = 1;" in shown.output
    assert call("-i", str(file)).output == ""
    assert (file.read_text(), file.stat().st_mode & 0o777) == (TIDY, 0o755)
    assert call("--check", str(file)).return_value == 0


def test_fmt_refuses_what_it_cannot_parse() -> None:
    refused = call("-e", "begin { print(1 }")
    assert "stdin:1:17-18: ERROR: syntax: expected ')'" in str(refused.exception)
    assert call("-i", "-e", UGLY).exception is not None


def test_the_examples_are_formatted() -> None:
    examples = sorted(map(str, (Path(__file__).parents[2] / "examples").glob("*.bt")))
    assert examples
    assert call("--check", *examples).output == ""
