"""`kubebpf compile`: the object file, and what is in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubebpf.cli.building import Headers, artifact_of, build, generated, kernel_view
from kubebpf.cli.problems import error_line
from kubebpf.cli.progress import progress
from kubebpf.cli.source import read
from kubebpf.cli.words import WordsCommand, words_of

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact


@click.command("compile", cls=WordsCommand, short_help="Write the object that nodes load.")
@click.argument("words", nargs=-1, metavar="[FILE] [ARGS]... [-- --NAME=VALUE...]")
@click.option("-e", "inline", metavar="PROGRAM", help="The program itself.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Where to write the object.")
@click.option("--btf", type=click.Path(path_type=Path), help="Compile for the kernel of this BTF file.")
@click.option("--unsafe", is_flag=True, help="Allow unsafe helpers.")
@click.option("--dump", type=click.Choice(["manifest", "ir", "asm"]), help="Print a part of the result instead.")
@click.option("-I", "directories", multiple=True, metavar="FOLDER", help="Look for C headers there first.")
@click.option("--include", multiple=True, metavar="FILE", help="A C header in front of the program.")
@click.option("--no-warnings", is_flag=True, help="Show errors only.")
@click.pass_context
def compile_(ctx: click.Context, /, words: tuple[str, ...], inline: str | None, output: Path | None, btf: Path | None,
             unsafe: bool, dump: str | None, no_warnings: bool, directories: tuple[str, ...],
             include: tuple[str, ...]) -> None:  # fmt: skip
    """Compile a program, FILE or -e PROGRAM, to a BPF object with BTF and CO-RE relocations.

    \b
      kubebpf compile -e 'begin { printf("hi\\n"); }' -o hi.o
      bpftool prog loadall hi.o /sys/fs/bpf/hi

    The same text and the same kernel types give the same bytes. The digest goes to standard output.
    """
    program = read(inline, words)
    if output is None and dump is None:
        raise click.UsageError("Give -o FILE for the object, or --dump for a part of it.")
    given, headers = words_of(ctx, program.rest).options() | {"base": program.folder}, Headers(directories, include)
    if dump in ("ir", "asm"):
        view, assembly = kernel_view(btf), dump == "asm"
        click.echo(generated(program.text, program.name, view, unsafe=unsafe, assembly=assembly, headers=headers, **given))
        return
    with progress("compiling"):
        built = build(program.text, program.name, kernel_view(btf), unsafe=unsafe, headers=headers, **given)
    artifact = artifact_of(built, not no_warnings)
    if dump:
        click.echo(json.dumps(json.loads(artifact.manifest.to_json()), indent=2))
    if output:
        _write(artifact, output)


def _write(artifact: Artifact, output: Path) -> None:
    try:
        # A reader sees the old file or the whole new one.
        partial = output.with_name(f".{output.name}.{os.getpid()}")
        partial.write_bytes(artifact.elf)
        partial.replace(output)
    except OSError as error:
        raise error_line(f"{output}: {error.strerror}") from error
    click.echo(f"{artifact.digest}  {output}  {len(artifact.elf)} bytes")
