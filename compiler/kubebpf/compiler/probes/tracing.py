"""fentry, fexit and iter: programs that the verifier knows the types of.

fentry:vfs_read { args.file.f_flags }    fexit:nf_tables:nf_tables_newtable { retval }
fentry:bpf:my_prog                       iter:task { ctx.task.comm }

The context of fentry and fexit is an array of u64: the arguments, structs in as many elements as they need, then the result
(bpf_trampoline, include/linux/bpf.h).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import BadAttachPoint, NoSuchField, SeesWholeNode
from kubebpf.compiler.kernel.btf import Function
from kubebpf.compiler.passes.hints import did_you_mean, fields_hint
from kubebpf.compiler.passes.members import value_type
from kubebpf.compiler.probes import common
from kubebpf.compiler.probes.parts import ONLY_CLUSTER, full_text, has_wildcard, missing
from kubebpf.compiler.probes.record import Provider, RawArgument, Returned, Target, parameter_names, refuses
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, VOID, Field, Pointer, Space, Struct, Type, Void, round_up, sizeof

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

BPF = "bpf"  # the module whose functions are BPF programs
_ITER = "bpf_iter__"


def _refuse(t: Typing, node: tree.AttachPoint, problem: str, *help_: str) -> Target | None:
    t.complain(BadAttachPoint(span=node.span, problem=problem, help=help_))
    return None


# --- fentry, fexit ----------------------------------------------------------------------------------------------------


def _check(t: Typing, node: tree.AttachPoint) -> Target | None:
    provider = FENTRY if node.provider == "fentry" else FEXIT
    if not all(node.parts) or not node.parts or len(node.parts) > (3 if node.parts[0] == BPF else 2):
        return _refuse(t, node, f"{node.provider} probe must have a function, and at most a module: {node.provider}:vfs_read")
    if node.parts[0] == BPF and len(node.parts) > 1:
        return _check_bpf(t, node, provider)
    module, function = node.parts if len(node.parts) == 2 else ("", node.parts[0])
    parts: dict[str, str | int] = {"module": module, "function": function}
    if has_wildcard(module) or has_wildcard(function):
        return Target(provider, full_text(node), node, parts, wildcard=True)
    found = t.view.function(function, module)
    if found is None:
        hint = did_you_mean(function, (name for _, name in t.view.functions(module)))
        return missing(t, node, node.provider, ":".join(node.parts), hint)
    return Target(provider, full_text(node), node, parts, details=found)


def _check_bpf(t: Typing, node: tree.AttachPoint, provider: Provider) -> Target | None:
    """A BPF program of the node, by name and perhaps number; its types are the node's."""
    number, function = (node.parts[1], node.parts[2]) if len(node.parts) == 3 else ("", node.parts[1])
    if number and not number.isdigit():
        return _refuse(t, node, f"invalid BPF program id: {number!r} is no number")
    parts: dict[str, str | int] = {"module": BPF, "function": function} | ({"id": int(number)} if number else {})
    unknown = Function(function, known=False)
    return Target(provider, full_text(node), node, parts, wildcard=has_wildcard(function), details=unknown)


def _section(target: Target) -> str:
    provider = target.provider.name
    if target.wildcard or target.parts["module"] == BPF:
        return provider  # the node sets the target
    return f"{provider}/{target.parts['function']}"


def words(t: Type) -> int:
    """How many elements of the context a parameter takes."""
    return round_up(sizeof(t), 8) // 8 if isinstance(t, Struct) else 1


def _argument(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    function: Function | None = target.details  # type: ignore[assignment]
    if function is None:
        return common.argument(t, node, target, name, _matches(t, target))
    at = 0
    for parameter, type_ in function.params:
        if parameter == name:
            return typed.Argument(span=node.span, type=value_type(type_, Space.KERNEL), access=RawArgument(at))
        at += words(type_)
    if not function.known:
        return typed.Argument(span=node.span, type=U64, access=None)
    hint = fields_hint(name, [p for p, _ in function.params])
    return t.bad(node, NoSuchField(span=node.span, type=target.text, name=name, help=hint, of_kernel=True))


def _things(function: Function) -> common.Things:
    """What a function passes and returns; of the result it is enough that there is one, wherever it lies."""
    found, at = common.Things(), 0
    for name, type_ in function.params:
        found[name] = common.Found(RawArgument(at), value_type(type_, Space.KERNEL))
        at += words(type_)
    if not isinstance(function.returns, Void):
        found[common.RESULT] = common.Found(Returned(), value_type(function.returns, Space.KERNEL))
    return found


def _matches(t: Typing, target: Target) -> common.Matches:
    return common.functions(t.view, str(target.parts["module"]), str(target.parts["function"]), _things)


def _names(t: Typing, target: Target) -> tuple[str, ...] | None:
    return common.names(_matches(t, target)) if target.details is None else parameter_names(t, target)


def _result(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    function: Function | None = target.details  # type: ignore[assignment]
    if function is None and target.provider is FEXIT:
        return common.argument(t, node, target, common.RESULT, _matches(t, target), "retval")
    if function is not None and not function.known:
        return typed.Argument(span=node.span, type=U64, access=None)
    if target.provider is FENTRY:
        return refuses("retval")(t, node, target, name)
    assert function is not None
    if isinstance(function.returns, Void):
        problem = f"{function.name} returns nothing: there is no retval"
        return t.bad(node, BadAttachPoint(span=node.span, problem=problem, of_kernel=True))
    index = sum(words(type_) for _, type_ in function.params)
    return typed.Argument(span=node.span, type=value_type(function.returns, Space.KERNEL), access=RawArgument(index))


def _plain(t: Typing, target: Target) -> Type:
    return Pointer(VOID, Space.KERNEL)


# --- iter -------------------------------------------------------------------------------------------------------------


def _check_iter(t: Typing, node: tree.AttachPoint) -> Target | None:
    if not 1 <= len(node.parts) <= 2 or not all(node.parts):
        return _refuse(t, node, "iter probe must have a kind, and at most a pin: iter:task or iter:task:my_tasks")
    kind = node.parts[0]
    if has_wildcard(kind):
        return _refuse(t, node, "iter probe type does not support wildcards")
    if t.options.scoped:
        t.complain(SeesWholeNode(span=node.span, name=full_text(node), help=(ONLY_CLUSTER,)))
        return None
    struct = t.view.struct(_ITER + kind)
    if struct is None and not t.view.anything_exists:
        return missing(t, node, "iter", kind, did_you_mean(kind, t.view.targets("iter")))
    parts: dict[str, str | int] = {"iterator": kind, "pin": "".join(node.parts[1:])}
    return Target(ITER, full_text(node), node, parts, details=struct)


def _iterated(t: Typing, target: Target) -> Type:
    struct: Struct | None = target.details  # type: ignore[assignment]
    return Pointer(struct or VOID, Space.KERNEL)


def _element(target: Target) -> tuple[tuple[Struct, Field], ...]:
    """What is behind the iteration's own data: the element, or the map that holds elements, and then the first part of these."""
    struct: Struct | None = target.details  # type: ignore[assignment]
    pointers = [(f, name) for f in struct.fields if (name := _pointer(f)) not in ("", "meta")] if struct else []
    inside = [f for f, name in pointers if name != "map"] or [f for f, _ in pointers]
    return _way(struct, inside[0]) if struct and inside else ()


def _way(struct: Struct, field: Field) -> tuple[tuple[Struct, Field], ...]:
    """From a struct to a pointer in it, step by step."""
    more = _way(field.type, field.type.fields[0]) if isinstance(field.type, Struct) else ()
    return ((struct, field), *more)


def _pointer(field: Field) -> str:
    """The name of a pointer, also of one that shares its place with padding (__bpf_md_ptr, include/uapi/linux/bpf.h); or ""."""
    if isinstance(field.type, Struct) and not field.name and field.type.fields:
        return _pointer(field.type.fields[0])
    return field.name if isinstance(field.type, Pointer) else ""


# They run with migration disabled, but not preemption (__bpf_prog_enter_recur, kernel/bpf/trampoline.c).
FENTRY = Provider(
    "fentry",
    _check,
    _section,
    preemptible=True,
    exclusive=False,
    argument=_argument,
    names=_names,
    result=_result,
    context=_plain,
    function=Space.KERNEL,
)
FEXIT = replace(FENTRY, name="fexit")
ITER = Provider(
    "iter",
    _check_iter,
    lambda target: f"iter/{target.parts['iterator']}",
    scoped=False,
    current_is_cause=False,
    preemptible=True,
    exclusive=False,
    context=_iterated,
    element=_element,
    stops=False,  # exit() leaves one element, and the reader goes on to the next, as in bpftrace
)
