"""uprobe and uretprobe: functions of user programs and libraries. Paths and symbols are resolved on the node.

uprobe:/bin/bash:readline    uprobe:libc:malloc+4    uretprobe:/usr/bin/python3:main    uprobe:/bin/sh:0x1234
uprobe:/opt/app:cpp:"ns::f(int)"    uprobe:/opt/app@main.c:17    uprobe:/opt/x.apk!/lib/y.so:f
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes import parameters
from kubebpf.compiler.probes.functions import saved_registers
from kubebpf.compiler.probes.parts import full_text, has_wildcard, number_of
from kubebpf.compiler.probes.record import Provider, Register, Target
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Space

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

LANGUAGES = ("cpp",)  # whose mangled names are looked up
ARGUMENTS = 6  # in registers on x86_64; arm64 has eight, of which portable programs use six


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    provider = UPROBE if node.provider == "uprobe" else URETPROBE
    if not 2 <= len(node.parts) <= 3 or not all(node.parts):
        return _refuse(t, node, f"{node.provider} probe must have a binary and a function: {node.provider}:/bin/bash:readline")
    if (source := _source_line(node)) is not None:
        lookup = parameters.Lookup(t.view, t.options.arch)
        return Target(provider, full_text(node), node, source, has_wildcard(str(source["path"])), lookup)
    path, where = node.parts[0], node.parts[-1]
    function, plus, tail = where.partition("+")
    offset = number_of(tail) if plus else 0
    if number_of(where) is not None:
        function, offset = "", number_of(where)
    if offset is None:
        return _refuse(t, node, f"invalid offset: {tail!r} is no number")
    problem = _problem(node, provider, function, offset)
    if problem:
        return _refuse(t, node, problem)
    parts: dict[str, str | int] = {"path": path, "function": function, "offset": offset}
    if len(node.parts) == 3:
        parts["language"] = node.parts[1]
    # `probe` is told with the path of the file, and with the name of each function, which the node knows.
    wildcard = has_wildcard(path) or has_wildcard(function) or "language" in parts or "/" not in path
    return Target(provider, full_text(node), node, parts, wildcard, parameters.Lookup(t.view, t.options.arch))


def _source_line(node: tree.AttachPoint) -> dict[str, str | int] | None:
    """The parts of `path@file:line[:column]`, or None."""
    path, at, source = node.parts[0].rpartition("@")
    if not at or not path or not all(part.isdecimal() for part in node.parts[1:]):
        return None
    line, column = int(node.parts[1]), int(node.parts[2]) if len(node.parts) == 3 else 0
    return {"path": path, "function": "", "offset": 0, "source": source, "line": line, "column": column}


def _refuse(t: Typing, node: tree.AttachPoint, problem: str) -> Target | None:
    t.complain(BadAttachPoint(span=node.span, problem=problem))
    return None


def _problem(node: tree.AttachPoint, provider: Provider, function: str, offset: int) -> str:
    """What is wrong with parts that are well-formed one by one, or ""."""
    if offset and function and provider is URETPROBE:
        return "uretprobe can not have an offset: a function returns from anywhere"
    if not function and has_wildcard(node.parts[0]):
        return "an address means nothing in several binaries: name one, or a function"
    if len(node.parts) == 2 and node.parts[0] in LANGUAGES:
        return f"{node.parts[0]} is a language, and no binary is named: {provider.name}:/bin/app:{node.parts[0]}:{function}"
    if len(node.parts) == 3 and node.parts[1] not in LANGUAGES:
        return f"unsupported language type: {node.parts[1]}; known are {', '.join(LANGUAGES)}"
    return ""


def _numbered(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    if int(name) >= ARGUMENTS:
        problem = f"arg{name} is not in a register: only arg0 to arg{ARGUMENTS - 1} can be read"
        return t.bad(node, BadAttachPoint(span=node.span, problem=problem))
    return typed.Argument(span=node.span, type=U64, access=Register(f"arg{name}"))


def _result(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    return typed.Argument(span=node.span, type=U64, access=Register("retval"))


UPROBE = Provider(
    "uprobe",
    _check,
    lambda target: "uprobe",
    preemptible=True,
    space=Space.USER,
    numbered=_numbered,
    argument=parameters.argument,
    names=parameters.names,
    context=saved_registers,
    function=Space.USER,
)
URETPROBE = Provider(
    "uretprobe",
    _check,
    lambda target: "uretprobe",
    preemptible=True,
    space=Space.USER,
    result=_result,
    context=saved_registers,
    function=Space.USER,
)
