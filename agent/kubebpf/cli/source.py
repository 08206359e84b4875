"""Where a program comes from: `-e TEXT`, a file, standard input.

read("begin { exit(); }", ())     -> Program("begin { exit(); }", "stdin", ())
read(None, ("x.bt", "7"))         -> Program("…", "x.bt", ("7",))
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubebpf.cli.problems import UserError


@dataclass(frozen=True, slots=True)
class Program:
    """A program's text.

    Args:
        text: of the program, or of the manifest that holds it.
        name: in diagnostics; `stdin` for -e, as upstream.
        rest: the words behind the file.
    """

    text: str
    name: str
    rest: tuple[str, ...] = ()

    @property
    def folder(self) -> str | None:
        """What its imports are relative to; a manifest's program has none."""
        if self.is_manifest:
            return None
        return "." if self.name == "stdin" else str(Path(self.name).parent)

    @property
    def is_manifest(self) -> bool:
        """Whether this is a trace's manifest, not a program: by the file's name."""
        return self.name.endswith((".yaml", ".yml"))


def read(inline: str | None, words: Sequence[str]) -> Program:
    """The program that a command line names.

    Args:
        inline: of -e; the words are then the program's own.
        words: else the file, `-` for standard input, and the program's words.

    Raises:
        UserError: there is neither, or the file cannot be read.
    """
    if inline is not None:
        return Program(inline, "stdin", tuple(words))
    if not words:
        raise UserError("Give a program: a file, - for standard input, or -e 'PROGRAM'. See --help for examples.", 2)
    name, *rest = words
    return Program(_file(name), "stdin" if name == "-" else name, tuple(rest))


def _file(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"ERROR: '{name}' is no text: byte {error.start} is not UTF-8") from error
    except OSError as error:
        hint = "\nHINT: a program on the command line needs -e" if "{" in name else ""
        raise UserError(f"ERROR: failed to open file '{name}': {error.strerror}{hint}") from error
