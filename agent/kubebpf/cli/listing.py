"""`kubebpf list`: what can be probed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from kubebpf.cli.building import kernel_view
from kubebpf.cli.problems import error_line


@click.command("list", short_help="List probes and types of this kernel.")
@click.argument("pattern", default="")
@click.option("-v", "--verbose", is_flag=True, help="Show the arguments of each probe, the members of each type.")
@click.option("-p", "--pid", type=click.IntRange(1), help="List usdt probes and functions of this process's files.")
@click.option("--btf", type=click.Path(path_type=Path), help="List the kernel of this BTF file.")
def list_(pattern: str, verbose: bool, pid: int | None, btf: Path | None) -> None:
    """List probes, or types, that match PATTERN (* and [abc] as in attach points).

    \b
      kubebpf list 'tracepoint:sched:*'
      kubebpf list -v tracepoint:syscalls:sys_enter_openat
      kubebpf list '*sleep*'
      kubebpf list -v 'struct task_struct'
      kubebpf list -v 'uprobe:/bin/bash:read*'
      kubebpf list 'usdt:*' -p 1234
    """
    found = False
    for line in _lines(pattern, verbose, pid, btf):
        found = True
        click.echo(line)
    if not found:
        raise error_line(f"nothing matches {pattern}")


def _lines(pattern: str, verbose: bool, pid: int | None, btf: Path | None) -> Iterator[str]:
    from kubebpf.cli import user_listing

    if user_listing.wanted(pattern):
        return user_listing.lines(pattern, verbose, pid)
    from kubebpf.compiler.kernel.listing import lines

    return lines(kernel_view(btf), pattern, verbose)
