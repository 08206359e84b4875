"""The diagnostics about the arguments of user functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint


@dataclass(frozen=True, kw_only=True)
class UnknownParameters(Complaint):
    """`args` of a user function whose parameters the compiler cannot know, or not all of them alike."""

    title: ClassVar[str] = "Cannot read function parameters: {problem}"
    problem: str


@dataclass(frozen=True, kw_only=True)
class UnreadableParameter(Complaint):
    """A parameter that is in no register that the kernel saves."""

    title: ClassVar[str] = "The parameter '{name}' of type '{type}' cannot be read: it is passed in a vector register"
    name: str
    type: str
