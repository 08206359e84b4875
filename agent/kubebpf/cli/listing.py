"""`kubebpf list`: what can be probed here."""

from __future__ import annotations

from pathlib import Path

import click

from kubebpf.cli.building import kernel_view
from kubebpf.cli.problems import error_line


@click.command("list", short_help="List probes and types of this kernel.")
@click.argument("pattern", default="")
@click.option("-v", "--verbose", is_flag=True, help="Show the arguments of each probe, the members of each type.")
@click.option("--btf", type=click.Path(path_type=Path), help="List the kernel of this BTF file.")
def list_(pattern: str, verbose: bool, btf: Path | None) -> None:
    """List probes, or types, that match PATTERN (* and [abc] as in attach points).

    \b
      kubebpf list 'tracepoint:sched:*'
      kubebpf list -v tracepoint:syscalls:sys_enter_openat
      kubebpf list '*sleep*'
      kubebpf list -v 'struct task_struct'
    """
    from kubebpf.compiler.kernel.listing import lines

    found = False
    for line in lines(kernel_view(btf), pattern, verbose):
        found = True
        click.echo(line)
    if not found:
        raise error_line(f"nothing matches {pattern}")
