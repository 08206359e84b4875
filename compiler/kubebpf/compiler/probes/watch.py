"""watchpoint: a hardware breakpoint on an address of the kernel, or with -p and -c of a process.

watchpoint:0x10000000:8:rw { … }    w:0xffffffff81000000:8:x { … }
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint
from kubebpf.compiler.probes.functions import saved_registers
from kubebpf.compiler.probes.parts import full_text, number_of
from kubebpf.compiler.probes.record import Provider, Target
from kubebpf.compiler.syntax import tree

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

LENGTHS = (1, 2, 4, 8)  # HW_BREAKPOINT_LEN_*
MODES = "rwx"


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    problem, help_ = _problem(node)
    if problem:
        t.complain(BadAttachPoint(span=node.span, problem=problem, help=help_))
        return None
    address, length, mode = node.parts
    parts: dict[str, str | int] = {
        "address": number_of(address) or 0,
        "length": number_of(length) or 0,
        "mode": "".join(sorted(mode)),
    }
    return Target(WATCHPOINT, full_text(node), node, parts)


def _problem(node: tree.AttachPoint) -> tuple[str, tuple[str, ...]]:
    """What is wrong with the parts, and what helps; "" when nothing is."""
    if len(node.parts) != 3:
        return "watchpoint probe must have an address, a length and a mode: watchpoint:0x10000000:8:rw", ()
    address, length, mode = node.parts
    if "+arg" in address:
        hint = "Probe the function with a uprobe and print the argument, then watch that address."
        return "watchpoints on a function's argument are no longer part of the language: give an address", (hint,)
    if number_of(address) is None:
        return f"invalid address: {address!r} is no number", ()
    if number_of(address) == 0:
        return "a watchpoint's address is not 0", ()
    if number_of(length) not in LENGTHS:
        return f"invalid length: {length!r}; a watchpoint covers 1, 2, 4 or 8 bytes", ()
    if not mode or set(mode) - set(MODES) or len(set(mode)) != len(mode):
        return f"invalid mode: {mode!r}; a watchpoint's mode is made of r, w and x, each at most once", ()
    if "x" in mode and len(mode) > 1:
        return f"invalid mode: {mode!r}; the processor watches execution, or reads and writes", ()
    return "", ()


def _check_async(t: Typing, node: tree.AttachPoint) -> Target | None:
    hint = "Use watchpoint:ADDRESS:LENGTH:MODE."
    problem = "asyncwatchpoint is no longer part of the language: it watched a function's argument"
    t.complain(BadAttachPoint(span=node.span, problem=problem, help=(hint,)))
    return None


def _section(target: Target) -> str:
    return "perf_event"


WATCHPOINT = Provider("watchpoint", _check, _section, context=saved_registers)
ASYNCWATCHPOINT = Provider("asyncwatchpoint", _check_async, _section)
