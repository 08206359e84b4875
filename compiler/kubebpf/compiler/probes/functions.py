"""kprobe and kretprobe: the kernel's functions, by name or address. Which of them this node can probe, the node says.

kprobe:vfs_read { arg0 }    kprobe:nf_tables:nf_tables_newtable+4    kretprobe:vfs_* { retval }    kprobe:0xffffffff81000000
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes.parts import full_text, has_wildcard, number_of
from kubebpf.compiler.probes.record import Provider, Register, Target, refuses
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, VOID, Pointer, Space, Type

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

ARGUMENTS = 6  # in registers on x86_64; arm64 has eight, of which portable programs use six
_SYMBOL = re.compile(r"[A-Za-z_.$*?\[][\w.$*?\[\]-]*")


def _refuse(t: Typing, node: tree.AttachPoint, problem: str, *help_: str) -> Target | None:
    t.complain(BadAttachPoint(span=node.span, problem=problem, help=help_))
    return None


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    provider = KPROBE if node.provider == "kprobe" else KRETPROBE
    if not 1 <= len(node.parts) <= 2:
        return _refuse(t, node, f"{node.provider} probe type requires 1 or 2 arguments, found {len(node.parts)}")
    if not all(node.parts):
        return _refuse(t, node, f"{node.provider} probe must have a function: {node.provider}:vfs_read")
    module, where = node.parts if len(node.parts) == 2 else ("", node.parts[0])
    if (address := number_of(where)) is not None:
        return _at_address(t, node, provider, module, address)
    function, plus, tail = where.partition("+")
    offset = number_of(tail) if plus else 0
    if offset is None:
        return _refuse(t, node, f"invalid offset: {tail!r} is no number")
    wildcard = has_wildcard(module) or has_wildcard(function)
    if problem := _problem(provider, function, offset, wildcard):
        return _refuse(t, node, problem)
    parts: dict[str, str | int] = {"module": module, "function": function, "offset": offset}
    return Target(provider, full_text(node), node, parts, wildcard=wildcard)


def _problem(provider: Provider, function: str, offset: int, wildcard: bool) -> str:
    """What is wrong with parts that are well-formed one by one, or ""."""
    if not _SYMBOL.fullmatch(function):
        return f"invalid function name: {function!r}"
    if offset and provider is KRETPROBE:
        return "kretprobe can not have an offset: a function returns from anywhere"
    if offset and wildcard:
        return "an offset means nothing in several functions: name one"
    return ""


def _at_address(t: Typing, node: tree.AttachPoint, provider: Provider, module: str, address: int) -> Target | None:
    if module or provider is KRETPROBE:
        return _refuse(t, node, f"{node.provider} probe can not take an address{' in a module' * bool(module)}")
    if not t.options.unsafe:
        hint = "Name the function and an offset in it, or use --unsafe: nothing checks that an instruction starts there."
        return _refuse(t, node, "Probing by address requires --unsafe", hint)
    t.unsafe.add("kprobe by address")
    return Target(provider, full_text(node), node, {"address": address})


def numbered(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    """`argN` of a function whose arguments are in registers."""
    if int(name) >= ARGUMENTS:
        problem = f"arg{name} is not in a register: only arg0 to arg{ARGUMENTS - 1} can be read"
        return t.bad(node, BadAttachPoint(span=node.span, problem=problem))
    return typed.Argument(span=node.span, type=U64, access=Register(f"arg{name}"))


def result(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    """`retval` in the register that the calling convention says."""
    return typed.Argument(span=node.span, type=U64, access=Register("retval"))


def saved_registers(t: Typing, target: Target) -> Type:
    """What `ctx` is in programs whose context is a pt_regs."""
    return Pointer(t.view.struct("pt_regs") or VOID, Space.KERNEL)


# As a fentry, where the kernel has no kprobes, a program can be preempted.
KPROBE = Provider(
    "kprobe",
    _check,
    lambda target: "kprobe",
    preemptible=True,
    exclusive=False,
    numbered=numbered,
    context=saved_registers,
    function=Space.KERNEL,
)
KRETPROBE = Provider(
    "kretprobe",
    _check,
    lambda target: "kretprobe",
    preemptible=True,
    exclusive=False,
    numbered=refuses("argN"),
    result=result,
    context=saved_registers,
    function=Space.KERNEL,
)
