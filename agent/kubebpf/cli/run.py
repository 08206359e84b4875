"""`kubebpf run`: the command line of the local mode."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubebpf.cli.building import Headers
from kubebpf.cli.compiling import Compiling
from kubebpf.cli.problems import error_line
from kubebpf.cli.rights import require_rights
from kubebpf.cli.source import Program, read
from kubebpf.cli.words import Words, WordsCommand, words_of

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """The seconds of a duration: `5`, `2.5`, `500ms`, `1m30s`."""
    if value is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|$)", value)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != value or total <= 0:
        raise click.BadParameter(f"{value!r} is no duration such as 5, 500ms or 1m30s", ctx, param)
    return total


@click.command(cls=WordsCommand, short_help="Compile a program and run it on this machine's kernel.")
@click.argument("words", nargs=-1, metavar="[FILE] [ARGS]... [-- --NAME=VALUE...]")
@click.option("-e", "inline", metavar="PROGRAM", help="The program itself; all words are then its arguments.")
@click.option("-f", "form", type=click.Choice(["text", "json"]), default="text", help="JSON prints one object a line.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write output to a file.")
@click.option("-c", "--cmd", "command", metavar="CMD", help="Run CMD once the probes are attached; end when it ends.")
@click.option(
    "-p",
    "--pid",
    type=click.IntRange(1),
    help="Trace this process, all its threads, at uprobe, profile and software probes; end when it ends.",
)
@click.option("--duration", callback=seconds, metavar="TIME", help="End after so long: 5, 500ms, 1m30s.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say how many probes were attached.")
@click.option("-k", "--warnings", "helper_warnings", is_flag=True, help="Show the errors of BPF helpers.")
@click.option("--no-warnings", is_flag=True, help="Show no warnings.")
@click.option("-v", "--verbose", is_flag=True, help="Show the kernel's whole log when it refuses a program.")
@click.option("--unsafe", is_flag=True, help="Allow unsafe helpers such as system().")
@click.option("--dry-run", is_flag=True, help="End as soon as everything is attached.")
@click.option("--test", "tests", is_flag=True, help="Run the test: probes, and nothing else: one passes when it returns 0.")
@click.option("--bench", "benches", is_flag=True, help="Run the bench: probes, and nothing else: how long a run takes.")
# The kernel counts a semaphore in every process that maps the file; upstream's option asks for that.
@click.option("--usdt-file-activation", is_flag=True, hidden=True)
@click.option(
    "-B",
    "buffering",
    type=click.Choice(["line", "full", "none"]),
    default="line",
    help="When output is written: with its line (the default), when a buffer is full, or at once.",
)
@click.option("-I", "directories", multiple=True, metavar="FOLDER", help="Look for C headers there first.")
@click.option("--include", multiple=True, metavar="FILE", help="A C header in front of the program.")
@click.pass_context
def run(ctx: click.Context, /, words: tuple[str, ...], inline: str | None, **chosen: Any) -> int:
    """Compile a program and run it on this machine's kernel: FILE, - for standard input, or -e PROGRAM. FILE may be an object
    that `kubebpf compile` wrote, here or elsewhere: that needs no compiler.

    \b
      kubebpf run -e 'begin { printf("hello\\n"); }'
      kubebpf run -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }' --duration 5
      kubebpf run slow.bt 10 -- --verbose --unit=us          $1 is 10; getopt("unit") is us
      kubebpf run -f json -c 'ls -l' -e 'tracepoint:syscalls:sys_enter_openat /pid == cpid/ { @ = count(); }'
      kubebpf run trace.yaml                                 a BpfTrace manifest; prints its final status

    Ctrl-C (or SIGTERM) ends the run: the end probes run and the maps are printed.
    """
    if chosen["tests"] and chosen["benches"]:
        raise click.UsageError("--test and --bench are two runs: give one of them")
    program = read(inline, words, objects=True)
    require_rights()
    given = words_of(ctx, program.rest)
    made = None if program.is_manifest else _made(program, given, chosen)
    # From here on while the compiler works.
    from kubebpf.cli.engine import Manner
    from kubebpf.cli.local import RunOptions
    from kubebpf.cli.local import run as run_program

    if program.elf or "@" in program.text:
        import_module("kubebpf.agent.session.maps")  # numpy, which the first map that is read needs
    options = RunOptions(
        form=chosen["form"],
        command=chosen["command"],
        pid=chosen["pid"],
        output=chosen["output"],
        buffering=chosen["buffering"],
        duration_s=chosen["duration"],
        verbose=chosen["verbose"],
        purpose="test" if chosen["tests"] else "bench" if chosen["benches"] else "run",
        words=given,
        manner=Manner(
            quiet=chosen["quiet"],
            allow_unsafe=chosen["unsafe"],
            warnings=not chosen["no_warnings"],
            helper_warnings=chosen["helper_warnings"],
            dry=chosen["dry_run"],
        ),
    )
    if made:
        return run_program(program, made, options)
    from kubebpf.cli.trace import run_manifest

    return run_manifest(program, options)


def _made(program: Program, given: Words, chosen: dict[str, Any]) -> Callable[[], Artifact]:
    """What waits for the object: of a compiler that is at work, or of nothing."""
    if program.elf:
        artifact = _read(program, chosen["unsafe"])
        return lambda: artifact
    return _started(program, given, chosen).artifact


def _read(program: Program, allow_unsafe: bool) -> Artifact:
    from kubebpf.compiler.artifact.artifact import Artifact
    from kubebpf.compiler.artifact.manifest import ManifestError

    try:
        artifact = Artifact.read(program.elf)
    except ManifestError as error:
        raise error_line(f"'{program.name}': {error}") from error
    if artifact.manifest.unsafe and not allow_unsafe:
        raise error_line(f"'{program.name}' uses {', '.join(artifact.manifest.unsafe)}: --unsafe is needed")
    if artifact.manifest.scoped:
        raise error_line(f"'{program.name}' counts only chosen pods, and there are none without a cluster")
    return artifact


def _started(program: Program, given: Words, chosen: dict[str, Any]) -> Compiling:
    # A short run is mostly imports, and most of what they make stays: there is nothing to collect yet.
    gc.disable()
    headers = Headers(chosen["directories"], chosen["include"])
    warnings = not chosen["no_warnings"]
    more = given.options() | {"headers": headers, "base": program.folder, "check_helpers": chosen["helper_warnings"]}
    return Compiling.start(program.text, program.name, chosen["unsafe"], warnings, **more)
