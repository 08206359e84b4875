"""Of the matches of a wildcard, those that have what the program reads where it reads it.

    Attach("fentry:vfs_rea[dl]*", target={"like": "vfs_read", "common": "count,file", …})

One program serves all matches. Its compiler saw that they have these arguments in common; it saw one kernel, and this may have
other functions, or others of the same name. A match that differs here is left out, and told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from kubebpf.agent.libbpf.prototypes import prototype
from kubebpf.agent.libbpf.types import KernelTypes
from kubebpf.agent.session.functions import VMLINUX
from kubebpf.agent.session.points import Node, Target
from kubebpf.compiler.artifact.manifest import Attach

RESULT = "$result"  # among what is read
_FIELD = re.compile(r"^\s*field:(?P<type>.*?)(?P<name>\w+)(?P<array>\[.*?\])?;\s*(?P<where>offset:.*)$", re.MULTILINE)
STUBS = ("__probestub_", "__traceiter_")  # functions with a raw tracepoint's arguments (include/linux/tracepoint.h)

Looks = dict[str, object]
Declared = dict[str, tuple[list[str], str, list[str]]]
Found = list[tuple[str, Target]]


def marked(attach: Attach, found: Sequence[tuple[str, Target]], node: Node) -> Found:
    """The places of an attach point, those that differ with what differs under `differs`, and behind the others."""
    if "like" not in attach.target or not found:
        return list(found)
    wanted = str(attach.target["common"]).split(",")
    with KernelTypes() as types:
        look = _LOOKS[attach.provider](node, types)
        like = str(attach.target["like"])
        known = look(_named(attach, like)) or look(found[0][1])
        looks = [(name, target, look(target)) for name, target in found]
    alike: Found = []
    others: Found = []
    for name, target, own in looks:
        differing = [read for read in wanted if known.get(read) != own.get(read)]
        if differing:
            others.append((name, target | {"differs": _spoken(differing[0]), "like": like}))
        else:
            alike.append((name, target))
    return alike + others


def _spoken(read: str) -> str:
    return "retval" if read == RESULT else f"args.{read}"


def _named(attach: Attach, like: str) -> Target:
    if attach.provider == "tracepoint":
        category, _, event = like.partition(":")
        return {"category": category, "event": event}
    return {"module": "", "function": like, "event": like}


def _function(node: Node, types: KernelTypes) -> Callable[[Target], Looks]:
    def look(target: Target) -> Looks:
        found = prototype(types, str(target["function"]), _module(target))
        return Looks(found or {}) | ({RESULT: found[""][1]} if found and found[""][1] else {})

    return look


def _raw_tracepoint(node: Node, types: KernelTypes) -> Callable[[Target], Looks]:
    def look(target: Target) -> Looks:
        names = (stub + str(target["event"]) for stub in STUBS)
        return Looks(next((found for name in names if (found := prototype(types, name, _module(target)))), {}))

    return look


def _tracepoint(node: Node, types: KernelTypes) -> Callable[[Target], Looks]:
    return lambda target: Looks(fields(node.tracefs / "events" / str(target["category"]) / str(target["event"]) / "format"))


def fields(format_: Path) -> Declared:
    """The fields that a tracepoint's format file declares: name to type, array, and place in words such as `offset:8;`."""
    try:
        declared = format_.read_text()
    except OSError:
        return {}
    return {m["name"]: (m["type"].split(), m["array"], m["where"].split()) for m in _FIELD.finditer(declared)}


def _module(target: Target) -> str:
    module = str(target.get("module", ""))
    return "" if module == VMLINUX else module


_LOOKS: dict[str, Callable[[Node, KernelTypes], Callable[[Target], Looks]]] = {
    "fentry": _function,
    "fexit": _function,
    "rawtracepoint": _raw_tracepoint,
    "tracepoint": _tracepoint,
}
