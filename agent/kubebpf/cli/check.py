"""`kubebpf check`: diagnostics only."""

from __future__ import annotations

from pathlib import Path

import click

from kubebpf.cli.building import Headers, build, complaints, complaints_json, kernel_view
from kubebpf.cli.source import read
from kubebpf.cli.words import WordsCommand, words_of


@click.command(cls=WordsCommand, short_help="Say what is wrong with a program; run nothing.")
@click.argument("words", nargs=-1, metavar="[FILE] [ARGS]... [-- --NAME=VALUE...]")
@click.option("-e", "inline", metavar="PROGRAM", help="The program itself.")
@click.option("--offline", is_flag=True, help="Take every function, tracepoint, binary and type named to exist; needs no BTF.")
@click.option("--btf", type=click.Path(path_type=Path), help="Check for the kernel of this BTF file.")
@click.option("-f", "form", type=click.Choice(["text", "json"]), default="text", help="One JSON object a diagnostic.")
@click.option("--unsafe", is_flag=True, help="Allow unsafe helpers.")
@click.option("--no-warnings", is_flag=True, help="Show errors only.")
@click.option("-I", "directories", multiple=True, metavar="FOLDER", help="Look for C headers there first.")
@click.option("--include", multiple=True, metavar="FILE", help="A C header in front of the program.")
@click.pass_context
def check(ctx: click.Context, /, words: tuple[str, ...], inline: str | None, offline: bool, btf: Path | None, form: str,
          unsafe: bool, no_warnings: bool, include: tuple[str, ...], directories: tuple[str, ...]) -> int:  # fmt: skip
    """Check a program: FILE, - for standard input, or -e PROGRAM.

    \b
    Errors go to standard error with line, column and the place marked; with -f json they are objects on standard output.
      kubebpf check slow.bt
      kubebpf check --offline -e 'kprobe:vfs_read { @[comm] = count() }'

    Exit code 1 when there is an error.
    """
    program = read(inline, words)
    text, name = program.text, program.name
    if program.is_manifest:
        from kubebpf.cli.trace import program_of

        text = program_of(program)
    given = words_of(ctx, program.rest).options() | {"base": program.folder}
    built = build(text, name, kernel_view(btf, offline), unsafe=unsafe, offline=offline,
                  headers=Headers(directories, include), **given)  # fmt: skip
    if form == "json":
        for line in complaints_json(built.report, not no_warnings):
            click.echo(line)
    elif shown := complaints(built.report, not no_warnings):
        click.echo(shown, err=True)
    return 1 if built.report.errors or (built.artifact is None and not built.report.assumes) else 0
