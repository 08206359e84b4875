"""The command `kubebpf`: its subcommands, and what becomes of their errors.

    kubebpf run -e 'begin { printf("hi\\n"); }'

A subcommand's module is imported when it is called: `kubebpf --help` must not load a compiler.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from kubebpf.cli.problems import UserError, not_installed

# name -> (module, attribute, the line in the list of commands)
_COMMANDS = {
    "run": ("kubebpf.cli.run", "run", "Compile a program and run it on this machine's kernel."),
    "check": ("kubebpf.cli.check", "check", "Say what is wrong with a program; run nothing."),
    "compile": ("kubebpf.cli.compile", "compile_", "Write the object that nodes load."),
    "fmt": ("kubebpf.cli.formatting", "fmt", "Print programs in canonical form, comments kept."),
    "list": ("kubebpf.cli.listing", "list_", "List probes and types of this kernel."),
    "operator": ("kubebpf.cli.services", "operator", "Run the operator of a cluster."),
    "agent": ("kubebpf.cli.services", "agent", "Run the agent of a node."),
}

_EPILOG = """\b
Examples:
  kubebpf run -e 'tracepoint:syscalls:sys_enter_openat { printf("%s %s\\n", comm, str(args.filename)); }'
  kubebpf run -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }' --duration 5
  kubebpf run examples/syscalls.yaml
  kubebpf list 'tracepoint:sched:*' -v

\b
Exit codes:
  0    done
  1    the program is wrong, or this machine cannot run it
  2    the command line is wrong
  N    the program called exit(N)

KUBEBPF_DEBUG=1 shows the traceback of an internal error."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, or None when there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"kubebpf {version('kubebpf')}")
    ctx.exit()


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", "-V", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
def cli() -> None:
    """Trace Linux with bpftrace programs: on this machine, or on every node of a Kubernetes cluster."""


def main() -> NoReturn:
    """Run the command line, and end the process with the code that --help lists."""
    try:
        result = cli.main(standalone_mode=False)
        _leave(result if isinstance(result, int) else 0)
    except click.UsageError as error:
        error.show()
        _leave(error.exit_code)
    except click.ClickException as error:
        error.show()
        _leave(1)
    except UserError as error:
        click.echo(str(error), err=True)
        _leave(error.code)
    except (click.Abort, KeyboardInterrupt):
        _leave(130)
    except BrokenPipeError:
        # `kubebpf list | head`: the reader has what it wanted. Python must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _leave(0)
    except ModuleNotFoundError as error:
        click.echo(str(not_installed(error)), err=True)
        _leave(1)
    except Exception as error:
        if os.environ.get("KUBEBPF_DEBUG", "") not in ("", "0"):
            raise
        where = f"{type(error).__name__}: {error}".splitlines()[0]
        click.echo(f"kubebpf failed, which is our fault and not yours: {where}\nKUBEBPF_DEBUG=1 shows where.", err=True)
        _leave(1)


def _leave(code: int) -> NoReturn:
    sys.exit(code)


if __name__ == "__main__":
    main()
