"""Where a program comes from: `-e TEXT`, a file, standard input.

read("begin { exit(); }", ())     -> Program("begin { exit(); }", "stdin", ())
read(None, ("x.bt", "7"))         -> Program("…", "x.bt", ("7",))
read(None, ("x.o", "7"), True)    -> Program("", "x.o", ("7",), b"\\x7fELF…")
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubebpf.cli.problems import UserError

_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Program:
    """A program's text.

    Args:
        text: of the program, or of the manifest that holds it.
        name: in diagnostics; `stdin` for -e, as upstream.
        rest: the words behind the file.
        elf: an object that was compiled before; there is no text then.
    """

    text: str
    name: str
    rest: tuple[str, ...] = ()
    elf: bytes = b""

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


def read(inline: str | None, words: Sequence[str], objects: bool = False) -> Program:
    """The program that a command line names.

    Args:
        inline: of -e; the words are then the program's own.
        words: else the file, `-` for standard input, and the program's words.
        objects: whether the file may be an object that `kubebpf compile` wrote.

    Raises:
        UserError: there is neither, or the file cannot be read.
    """
    if inline is not None:
        return Program(inline, "stdin", tuple(words))
    if not words:
        raise UserError("Give a program: a file, - for standard input, or -e 'PROGRAM'. See --help for examples.", 2)
    name, *rest = words
    shown, data = "stdin" if name == "-" else name, _file(name)
    if objects and data.startswith(_ELF):
        return Program("", shown, tuple(rest), data)
    return Program(_text(name, data), shown, tuple(rest))


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"ERROR: '{name}' is no text: byte {error.start} is not UTF-8") from error


def _file(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        hint = "\nHINT: a program on the command line needs -e" if "{" in name else ""
        raise UserError(f"ERROR: failed to open file '{name}': {error.strerror}{hint}") from error
