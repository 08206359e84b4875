"""The diagnostics of C definitions, one dataclass each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class BadDefinition(Complaint):
    """C that clang does not accept."""

    title: ClassVar[str] = "C definition: {problem}"
    problem: str


@dataclass(frozen=True, kw_only=True)
class MissingHeader(Complaint):
    """A header that is not where the compiler runs, and that the kernel's BTF cannot stand in for."""

    title: ClassVar[str] = "C definition: there is no header '{name}' here"
    name: str
    help: tuple[str, ...] = (
        "Types of the kernel need no header; other headers are found in /usr/include and in the folders given with -I.",
    )


@dataclass(frozen=True, kw_only=True)
class ForbiddenHeader(Complaint):
    """An `#include` of a file that is no header of the system and in no folder that was named for headers."""

    title: ClassVar[str] = "C definition: '{name}' is outside the folders that headers may come from"
    name: str
    help: tuple[str, ...] = ("Headers come from /usr/include and from the folders given with -I.",)


@dataclass(frozen=True, kw_only=True)
class NoCompilerForC(Complaint):
    """The package that reads C is not installed."""

    title: ClassVar[str] = "C definitions need libclang, which is not installed here"
    help: tuple[str, ...] = ("Install it with: pip install libclang",)


@dataclass(frozen=True, kw_only=True)
class BadMacro(Complaint):
    """A `#define` whose text is no expression of the language."""

    title: ClassVar[str] = "The macro {name} is no expression: {text}"
    name: str
    text: str
