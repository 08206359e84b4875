"""The words behind a program: `$1`, `$2`, … before `--` and behind it, `--name=value` for getopt() behind it.

split(["7", "abc", "--", "--foo=9", "pos3", "--bar"])  -> Words(("7", "abc", "pos3"), {"foo": "9", "bar": ""})
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from kubebpf.cli.problems import UserError

_TAIL = "kubebpf.words.tail"


@dataclass(frozen=True, slots=True)
class Words:
    """The parameters of one run: `args` are `$1` and on, `params` the options for getopt()."""

    args: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """As fields of CompileOptions."""
        return {"args": self.args, "params": tuple(sorted(self.params.items()))}

    def options(self) -> dict[str, Any]:
        """As fields of CompileOptions, with the settings of this process's environment, which a manifest does not see."""
        settings = sorted((name, text) for name, text in os.environ.items() if name.startswith("BPFTRACE_"))
        return self.parameters() | {"environment": tuple(settings)}


class WordsCommand(click.Command):
    """A command that keeps what stands behind `--` apart: click itself would not tell the two sides from each other."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.meta[_TAIL] = args[cut + 1 :]
        return super().parse_args(ctx, args[:cut])


def words_of(ctx: click.Context, before: Sequence[str]) -> Words:
    """The words of a WordsCommand.

    Args:
        ctx: of its call.
        before: the positional arguments before `--`, without the file.
    """
    tail: Any = ctx.meta.get(_TAIL, [])
    return split([*before, "--", *tail])


def split(words: Sequence[str]) -> Words:
    """Take the words of a command line apart.

    Raises:
        UserError: behind `--`, a word starts with one dash.
    """
    cut = words.index("--") if "--" in words else len(words)
    args, params = list(words[:cut]), dict[str, str]()
    for word in words[cut + 1 :]:
        if not word.startswith("-") or word[1:2].isdigit():
            args.append(word)
        elif word.startswith("--") and len(word) > 2:
            name, _, value = word[2:].partition("=")
            params[name] = value
        else:
            raise UserError(f"ERROR: {word}: behind -- stand parameters of the program: --name, --name=value, or plain words", 2)
    return Words(tuple(args), params)
