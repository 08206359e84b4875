"""What the package itself knows of Linux, for places without tracefs: system calls, and the classes of tracepoints.

    syscall("read")                              -> ("unsigned int fd", "char * buf", "size_t count")
    class_of("block", "block_rq_issue")          -> "block_rq"

Both files are made by hack/gen-tracepoints.py from the tracefs and the BTF of one kernel. They are a help where the formats of
the target kernel are not at hand; a tracefs, when there is one, is asked instead.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"


def syscall(name: str) -> tuple[str, ...] | None:
    """The arguments of a system call as C declarations, None when it is not known."""
    text = _load("syscalls.json").get(name)
    return None if text is None else tuple(text.split(", ")) if text else ()


def syscalls() -> tuple[str, ...]:
    """The names of all system calls known, sorted."""
    return tuple(_load("syscalls.json"))


def class_of(category: str, event: str) -> str:
    """The class that a tracepoint shares with others; "" when it is not known, or when it has the event's own name."""
    return _classes().get((category, event), "")


def category_of(event: str) -> tuple[str, ...]:
    """The categories that have an event of this name; () when none is known."""
    return _categories().get(event, ())


def tracepoints() -> tuple[tuple[str, str], ...]:
    """(category, event) of all tracepoints known, system calls left out, sorted."""
    return tuple(sorted(_classes()))


@cache
def _classes() -> dict[tuple[str, str], str]:
    found = {}
    for category, classes in _load("tracepoints.json").items():
        for name, events in classes.items():
            found.update({(category, event): name for event in events.split()})
    return found


@cache
def _categories() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for category, event in _classes():
        found[event] = (*found.get(event, ()), category)
    return found


@cache
def _load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_DATA / name).read_text())
    return data
