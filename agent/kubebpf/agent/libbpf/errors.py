"""The exceptions of the binding."""

from __future__ import annotations

import errno as codes
import os

# libbpf.h, enum libbpf_errno: libbpf's own numbers, which strerror does not know.
_OWN = {
    4000: "something wrong in libelf",
    4001: "BPF object format invalid",
    4002: "'version' section incorrect or lost",
    4003: "endian mismatch",
    4004: "internal error in libbpf",
    4005: "relocation failed",
    4006: "failed to load program",
}


class LibbpfMissingError(OSError):
    """The shared library is not on this machine, or is too old to have a call that is needed."""


class LibbpfError(OSError):
    """A call of libbpf or of the kernel failed.

    Args:
        errno: the error number, positive.
        call: the C function.
        log: what libbpf said while it ran, one message a line.
        subject: what it was done to (a program, a path), for the message.
        telling: the line of the log that names the cause.
    """

    def __init__(self, errno: int, call: str, log: str = "", subject: str = "", telling: str = "") -> None:
        self.call, self.log, self.subject, self.telling = call, log, subject, telling
        super().__init__(errno, _message(errno, call, subject, telling))

    def __str__(self) -> str:
        return str(self.strerror)


def _message(errno: int, call: str, subject: str, telling: str) -> str:
    reason = _OWN.get(errno) or f"{os.strerror(errno)} ({codes.errorcode.get(errno, errno)})"
    text = f"{subject}: {reason} in {call}" if subject else f"{reason} in {call}"
    return f"{text}: {telling}" if telling else text
