"""tracepoint and rawtracepoint: the kernel's own trace points, with their arguments by name.

tracepoint:syscalls:sys_enter_openat { args.filename }     rawtracepoint:sched_switch { args.prev.pid }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint, CauseUncertain, CauseUnknown, NoSuchField
from kubebpf.compiler.kernel.view import wildcard
from kubebpf.compiler.passes.hints import did_you_mean, fields_hint
from kubebpf.compiler.passes.members import value_type
from kubebpf.compiler.probes import common
from kubebpf.compiler.probes.interrupts import fires_in_interrupts, never_fires_for_its_cause
from kubebpf.compiler.probes.parts import ONLY_CLUSTER, full_text, has_wildcard, missing
from kubebpf.compiler.probes.record import Provider, RawArgument, Target, parameter_names
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, VOID, Pointer, Space

if TYPE_CHECKING:
    from kubebpf.compiler.kernel.btf import Function
    from kubebpf.compiler.kernel.tracepoints import TracepointArgs
    from kubebpf.compiler.passes.typing import Typing


def cause_is_current(t: Typing, node: tree.AttachPoint, meant: Sequence[tuple[str, str]]) -> bool:
    """Whether a trace may be attached to tracepoints, given whose events it is to count; words the error or the warning.

    Args:
        meant: category ("" for a raw tracepoint) and event of each.
    """
    if not t.options.scoped:
        return True
    if meant and all(never_fires_for_its_cause(*names) for names in meant):
        t.complain(CauseUnknown(span=node.span, name=full_text(node), help=(ONLY_CLUSTER,)))
        return False
    if any(fires_in_interrupts(*names) for names in meant):
        t.complain(CauseUncertain(span=node.span, name=full_text(node)))
    return True


def _check_tracepoint(t: Typing, node: tree.AttachPoint) -> Target | None:
    if len(node.parts) != 2 or not all(node.parts):
        problem = "tracepoint probe must have a category and an event: tracepoint:sched:sched_switch"
        t.complain(BadAttachPoint(span=node.span, problem=problem, help=_category_of(t, node.parts[-1] if node.parts else "")))
        return None
    category, event = node.parts
    parts: dict[str, str | int] = {"category": category, "event": event}
    if has_wildcard(category) or has_wildcard(event):
        matches = (wildcard(category).fullmatch, wildcard(event).fullmatch)
        meant = [(c, e) for c, e in t.view.tracepoints() if matches[0](c) and matches[1](e)] if t.options.scoped else []
        # Without a kernel to look at, a category that is written out says enough.
        if not cause_is_current(t, node, meant or [(category, event)]):
            return None
        return Target(TRACEPOINT, full_text(node), node, parts, wildcard=True)
    found = t.view.tracepoint(category, event)
    if found is None:
        names = [e for c, e in t.view.tracepoints() if c == category] or [c for c, _ in t.view.tracepoints()]
        hint = did_you_mean(event, names) or did_you_mean(category, names)
        return missing(t, node, "tracepoint", f"{category}:{event}", hint)
    if not cause_is_current(t, node, [(category, event)]):
        return None
    return Target(TRACEPOINT, full_text(node), node, parts, details=found)


def _category_of(t: Typing, event: str) -> tuple[str, ...]:
    """A hint for an event without its category."""
    found = [f"tracepoint:{c}:{e}" for c, e in t.view.tracepoints() if e == event]
    return (f"Did you mean {' or '.join(found[:3])}?",) if event and found else ()


def _tracepoint_argument(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    args: TracepointArgs | None = target.details  # type: ignore[assignment]
    if args is None:
        return common.argument(t, node, target, name, _matches(t, target))
    if not args.known:
        return typed.Argument(span=node.span, type=U64, access=None)
    found = args.field(name)
    if found is None:
        help_ = fields_hint(name, [f.name for f in args.fields])
        what = f"struct _tracepoint_{args.category}_{args.event}"
        return t.bad(node, NoSuchField(span=node.span, type=what, name=name, help=help_, of_kernel=True))
    return typed.Argument(span=node.span, type=value_type(found.type, Space.KERNEL), access=found)


def _tracepoint_things(args: TracepointArgs) -> common.Things:
    """What a tracepoint has. Fields that CO-RE finds in one struct are one, wherever they lay in this kernel."""
    fields = ((f, replace(f, offset=0) if f.struct else f) for f in args.fields)
    return {f.name: common.Found(place, value_type(f.type, Space.KERNEL)) for f, place in fields}


def _matches(t: Typing, target: Target) -> common.Matches:
    if target.provider is RAWTRACEPOINT:
        return common.raw_tracepoints(t.view, str(target.parts["event"]), _raw_things)
    return common.tracepoints(t.view, str(target.parts["category"]), str(target.parts["event"]), _tracepoint_things)


def _tracepoint_names(t: Typing, target: Target) -> tuple[str, ...] | None:
    args: TracepointArgs | None = target.details  # type: ignore[assignment]
    if args is None:
        return common.names(_matches(t, target))
    return None if not args.known else tuple(f.name for f in args.fields)


def _tracepoint_section(target: Target) -> str:
    return "tracepoint" if target.wildcard else f"tracepoint/{target.parts['category']}/{target.parts['event']}"


def _check_raw(t: Typing, node: tree.AttachPoint) -> Target | None:
    if not 1 <= len(node.parts) <= 2 or not all(node.parts):
        t.complain(BadAttachPoint(span=node.span, problem="rawtracepoint probe must have an event: rawtracepoint:sched_switch"))
        return None
    event = node.parts[-1]
    module = node.parts[0] if len(node.parts) == 2 else ""
    parts: dict[str, str | int] = {"module": module, "event": event}
    if has_wildcard(event) or has_wildcard(module):
        meant = [("", e) for e in t.view.raw_tracepoints() if wildcard(event).fullmatch(e)] if t.options.scoped else []
        if not cause_is_current(t, node, meant):
            return None
        return Target(RAWTRACEPOINT, full_text(node), node, parts, wildcard=True)
    found = t.view.rawtracepoint(event, module)
    if found is None:
        hint = did_you_mean(event, t.view.raw_tracepoints())
        return missing(t, node, "rawtracepoint", ":".join(node.parts), hint)
    if not cause_is_current(t, node, [("", event)]):
        return None
    return Target(RAWTRACEPOINT, full_text(node), node, parts, details=found)


def _raw_argument(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    function: Function | None = target.details  # type: ignore[assignment]
    if function is None:
        return common.argument(t, node, target, name, _matches(t, target))
    for i, (parameter, type_) in enumerate(function.params):
        if parameter == name:
            return typed.Argument(span=node.span, type=type_, access=RawArgument(i))
    if not function.known:
        return typed.Argument(span=node.span, type=U64, access=None)
    hint = did_you_mean(name, [p for p, _ in function.params])
    what = f"rawtracepoint:{function.name}"
    return t.bad(node, NoSuchField(span=node.span, type=what, name=name, help=hint, of_kernel=True))


def _raw_things(function: Function) -> common.Things:
    return {name: common.Found(RawArgument(i), type_) for i, (name, type_) in enumerate(function.params)}


def _raw_names(t: Typing, target: Target) -> tuple[str, ...] | None:
    return common.names(_matches(t, target)) if target.details is None else parameter_names(t, target)


def _raw_numbered(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    function: Function | None = target.details  # type: ignore[assignment]
    index = int(name)
    if function is not None and function.known and index >= len(function.params):
        what = f"rawtracepoint:{function.name} with {len(function.params)} arguments"
        return t.bad(node, NoSuchField(span=node.span, type=what, name=f"arg{name}", of_kernel=True))
    return typed.Argument(span=node.span, type=U64, access=RawArgument(index))


TRACEPOINT = Provider(
    "tracepoint", _check_tracepoint, _tracepoint_section, argument=_tracepoint_argument, names=_tracepoint_names
)
RAWTRACEPOINT = Provider(
    "rawtracepoint",
    _check_raw,
    lambda target: "tp_btf" if target.wildcard else f"tp_btf/{target.parts['event']}",
    exclusive=False,
    argument=_raw_argument,
    names=_raw_names,
    numbered=_raw_numbered,
    context=lambda t, target: Pointer(VOID, Space.KERNEL),
)
