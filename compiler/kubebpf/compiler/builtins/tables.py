"""Numbers that have names: signal_name, strerror, syscall_name. The names lie in read-only memory, and are looked up at run time.

    offsets: u16[n + 1]     where the name of each number begins; behind the last, where the word for unknown ones does
    names:   "Hangup\\0Interrupt\\0…"

The signals' and errors' names are those of signal(7) and of include/uapi/asm-generic/errno*.h; system calls are numbered as in
the tables of the kernel's arch folders, up to Linux 6.18.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubebpf.compiler.builtins.bytes import bounded
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, wrong_argument
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I64, Space, String
from kubebpf.compiler.types.promote import is_scalar

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

CAPACITY = 64  # bytes of a name with its NUL
SIGNALS = 64  # _NSIG, include/uapi/asm-generic/signal.h


@dataclass(frozen=True, slots=True)
class Names:
    """The names of 0, 1, 2, …; "" where a number has none, and then `unknown` is what it is called."""

    known: tuple[str, ...]
    unknown: str

    def name(self, number: int) -> str:
        """The name of a number."""
        return (self.known[number] if 0 <= number < len(self.known) else "") or self.unknown

    def packed(self) -> tuple[bytes, bytes]:
        """(offsets, names) as they lie in memory."""
        offsets, names = b"", b""
        for number in range(len(self.known) + 1):
            offsets += struct.pack("<H", len(names))
            names += self.name(number).encode() + b"\0"
        return offsets, names.ljust(len(names) + CAPACITY, b"\0")  # a name is read as CAPACITY bytes


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "names.json").read_text())
    return data


def _signals(arch: str) -> Names:
    return Names(tuple(_data()["signals"]), "N/A")


def _errors(arch: str) -> Names:
    return Names(tuple(_data()["errors"]), "Unknown error")


def _syscalls(arch: str) -> Names:
    return Names(tuple(_data()["syscalls"].get(arch, ())), "Unknown syscall")


TABLES = {"signal_name": _signals, "strerror": _errors, "syscall_name": _syscalls}


def _check(t: Typing, node: tree.Call) -> typed.Expr:
    number = t.value(node.arguments[0])
    if isinstance(number, typed.Bad):
        return number
    if not is_scalar(number.type):
        return t.bad(node, wrong_argument(node, number, "int arguments"))
    names = TABLES[node.name](t.options.arch)
    if isinstance(number, typed.Constant):
        value = abs(number.value) if node.name == "strerror" else number.value
        return typed.Text(span=node.span, type=String(CAPACITY), value=names.name(value).encode())
    return call(t, node, String(CAPACITY), (convert(number, I64),), names)


def _emit(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, Names)
    f, to = code.f, code.destination
    offsets, names = (Operand(code.module.text(data), "ptr") for data in node.extra.packed())
    number = code.scalar(node.arguments[0])
    if node.builtin.name == "syscall_name":
        _ = code.module.arch  # the table is one machine's
    if node.builtin.name == "strerror":  # the kernel returns errors as negative numbers
        number = f.select(f.compare("slt", number, const(0)), f.binary("sub", const(0), number), number)
    known = bounded(code, number, len(node.extra.known))
    offset = f.load("i16", f.offset(offsets, f.binary("shl", known, const(1))), align=2)
    code.read_string(Space.KERNEL, to, CAPACITY, f.offset(names, f.cast("zext", offset, "i64")), padded=code.padded)
    return const(0)


ALL = tuple(Builtin(name, _check, _emit, takes=(1, 1)) for name in TABLES)


def signal_number(name: str) -> int | None:
    """The number of a signal by its name, with SIG or without; None when there is none."""
    short = name.upper().removeprefix("SIG")
    return NAMED_SIGNALS.get(short)


# signal(7), for x86 and ARM.
NAMED_SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
    "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19,
    "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29,
    "POLL": 29, "PWR": 30, "SYS": 31,
}  # fmt: skip
