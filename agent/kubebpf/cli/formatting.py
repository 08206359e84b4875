"""`kubebpf fmt`: programs in canonical form."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path

import click

from kubebpf.cli.problems import UserError, error_line
from kubebpf.cli.source import Program, read


@click.command("fmt", short_help="Print programs in canonical form, comments kept.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-e", "inline", metavar="PROGRAM", help="The program itself.")
@click.option("-i", "--in-place", is_flag=True, help="Rewrite the files that differ.")
@click.option("--check", is_flag=True, help="Change nothing; show what differs, and end with 1 if something does.")
def fmt(files: tuple[str, ...], inline: str | None, in_place: bool, check: bool) -> int:
    """Format programs: FILE..., - for standard input, or -e PROGRAM. Without options the result goes to standard output.

    \b
      kubebpf fmt -e 'BEGIN{@x=1}'
      kubebpf fmt -i tools/*.bt
      kubebpf fmt --check tools/*.bt

    One statement a line, tabs, long names of probe types, no parentheses that change nothing. What a program means stays.
    """
    if inline is not None and files:
        raise click.UsageError("Give files or -e PROGRAM, not both.")
    if in_place and (check or inline is not None or "-" in files):
        raise click.UsageError("--in-place goes with files, and not with --check.")
    changed = 0
    for program in [read(None, (file,)) for file in files] or [read(inline, ())]:
        formatted = _formatted(program)
        changed += formatted != program.text
        if check:
            sys.stdout.writelines(_difference(program, formatted))
        elif not in_place:
            click.echo(formatted, nl=False)
        elif formatted != program.text:
            _rewrite(Path(program.name), formatted)
    return 1 if check and changed else 0


def _formatted(program: Program) -> str:
    from kubebpf.cli.building import complaints
    from kubebpf.compiler.complaints.base import Report
    from kubebpf.compiler.syntax.formatter import format_program
    from kubebpf.compiler.syntax.parser import parse
    from kubebpf.compiler.syntax.span import Source

    if program.is_manifest:
        raise UserError(f"ERROR: {program.name} is a manifest; give the program's text")
    report = Report([Source(program.name, program.text)])
    tree = parse(report.sources[0], report)
    if report.errors:
        raise UserError(complaints(report))
    return format_program(program.text, tree)


def _difference(program: Program, formatted: str) -> list[str]:
    before, after = program.text.splitlines(keepends=True), formatted.splitlines(keepends=True)
    return [line if line.endswith("\n") else line + "\n" for line in unified_diff(before, after, program.name, program.name)]


def _rewrite(path: Path, text: str) -> None:
    try:
        # A reader sees the old file or the whole new one.
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text)
        partial.chmod(path.stat().st_mode & 0o7777)
        partial.replace(path)
    except OSError as error:
        raise error_line(f"{path}: {error.strerror}") from error
