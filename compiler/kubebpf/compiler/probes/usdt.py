"""usdt: probes that a program's author placed. The binary's notes say where they and their arguments lie; the node reads them.

usdt:/usr/bin/python3:python:gc__start    usdt:libc:setjmp    usdt:/opt/app:*
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes.functions import saved_registers
from kubebpf.compiler.probes.parts import full_text, has_wildcard
from kubebpf.compiler.probes.record import Operand, Provider, Target
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import I64, Space

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

ARGUMENTS = 12  # STAP_PROBE12 is the largest macro of sys/sdt.h


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    if not 2 <= len(node.parts) <= 3 or not node.parts[-1]:
        problem = "usdt probe must have a binary and a probe: usdt:/usr/bin/python3:python:gc__start"
        t.complain(BadAttachPoint(span=node.span, problem=problem))
        return None
    path, name = node.parts[0], node.parts[-1]
    namespace = node.parts[1] if len(node.parts) == 3 else ""
    parts: dict[str, str | int] = {"path": path or "*", "namespace": namespace or "*", "name": name}
    # `probe` is told with the path of the file and with the namespace, which the node knows.
    wildcard = len(node.parts) == 2 or "/" not in path or any(map(has_wildcard, node.parts))
    return Target(USDT, full_text(node), node, parts, wildcard=wildcard)


def _numbered(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    if int(name) >= ARGUMENTS:
        problem = f"a usdt probe has {ARGUMENTS} arguments at most: arg0 to arg{ARGUMENTS - 1}"
        return t.bad(node, BadAttachPoint(span=node.span, problem=problem))
    return typed.Argument(span=node.span, type=I64, access=Operand(int(name)))


USDT = Provider(
    "usdt", _check, lambda target: "uprobe", preemptible=True, space=Space.USER, numbered=_numbered, context=saved_registers
)
