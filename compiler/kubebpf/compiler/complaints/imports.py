"""The diagnostics of `import`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class ImportsImpossible(Complaint):
    """A program that is no file of this machine, such as a manifest's."""

    title: ClassVar[str] = "import reads files, and this program comes without any: put what it imports into its text"


@dataclass(frozen=True, kw_only=True)
class ImportNotFound(Complaint):
    """There is no such file."""

    title: ClassVar[str] = "Unable to find '{path}' for import: {why}"
    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ImportUnsafe(Complaint):
    """Anybody could have put the file there."""

    title: ClassVar[str] = "'{path}' is not imported: {what} can be written by everybody"
    path: str
    what: str


@dataclass(frozen=True, kw_only=True)
class ImportKind(Complaint):
    """A file of a kind that nothing reads."""

    title: ClassVar[str] = "'{path}' is not imported: {why}"
    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ConfigInImport(Complaint):
    """The settings of a program stand in the program."""

    title: ClassVar[str] = "invalid `config` within import"


@dataclass(frozen=True, kw_only=True)
class ImportInBody(Complaint):
    """`import` as a statement, which upstream keeps for its own library."""

    title: ClassVar[str] = "import stands at the head of a program, not inside a body"


@dataclass(frozen=True, kw_only=True)
class TooManyImports(Complaint):
    """More files than any program is made of."""

    title: ClassVar[str] = "the imports of this program are more than {limit} files"
    limit: int
