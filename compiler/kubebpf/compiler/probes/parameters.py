"""`args` of uprobes: the parameters of user functions, typed by their DWARF, read by the calling convention.

uprobe:/opt/app:request { args.id, args.peer->port }
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import NoSuchField
from kubebpf.compiler.complaints.user import UnknownParameters, UnreadableParameter
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.passes.members import value_type
from kubebpf.compiler.probes.record import Passed, Target
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Space
from kubebpf.compiler.userland.convention import Place, places
from kubebpf.compiler.userland.programs import NoProgramError

if TYPE_CHECKING:
    from kubebpf.compiler.kernel.view import KernelView
    from kubebpf.compiler.passes.typing import Typing
    from kubebpf.compiler.userland.dwarf import Parameter, Signature

_REGISTERS = "arg0, arg1, … are the registers that the first ones are passed in"


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the parameters of a target are found with.

    Args:
        view: has the binaries.
        arch: the processor of the nodes.
    """

    view: KernelView
    arch: str

    @property
    def offline(self) -> bool:
        """Whether every name is taken to exist."""
        return self.view.anything_exists and self.view.programs is None


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter, and where it lies; None for one that cannot be read."""

    parameter: Parameter
    place: Place | None


def argument(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
    """Types `args.name`; without a name, says why there are none."""
    lookup = _lookup(target)
    if lookup.offline:
        return typed.Argument(span=node.span, type=U64, access=None)
    problem, found = _parameters(target)
    if not name:
        problem = problem or f"{target.text} has none"
    if problem:
        return t.bad(node, UnknownParameters(span=node.span, problem=problem, help=(_REGISTERS,)))
    one = next((f for f in found if f.parameter.name == name), None)
    if one is None:
        hint = did_you_mean(name, [f.parameter.name for f in found])
        return t.bad(node, NoSuchField(span=node.span, type=target.text, name=name, help=hint))
    if one.place is None:
        return t.bad(node, UnreadableParameter(span=node.span, name=name, type=one.parameter.spelling))
    return typed.Argument(span=node.span, type=value_type(one.parameter.type, Space.USER), access=Passed(one.place))


def names(t: Typing, target: Target) -> tuple[str, ...] | None:
    """The names of all parameters that can be read; None where they are not known."""
    if _lookup(target).offline:
        return None
    problem, found = _parameters(target)
    return None if problem else tuple(f.parameter.name for f in found if f.place and f.parameter.name)


def _lookup(target: Target) -> Lookup:
    assert isinstance(target.details, Lookup)
    return target.details


def _parameters(target: Target) -> tuple[str, tuple[Found, ...]]:
    """What is wrong, or what all functions that the attach point means agree on."""
    problem, signatures = _signatures(target)
    if not problem and any(_shape(s) != _shape(signatures[0]) for s in signatures):
        problem = f"the {len(signatures)} functions of {target.text} have different ones"
    if problem:
        return problem, ()
    found = zip(signatures[0].parameters, places(_lookup(target).arch, signatures[0]), strict=True)
    return "", tuple(Found(parameter, place) for parameter, place in found)


def _shape(signature: Signature) -> object:
    return [(p.name, p.type) for p in signature.parameters], signature.returns.by_reference


def _signatures(target: Target) -> tuple[str, list[Signature]]:
    """What is wrong, or the signatures of the functions."""
    parts, view = target.parts, _lookup(target).view
    if view.programs is None:
        return "the binary is on the nodes, and not here", []
    if not parts["function"] or parts["offset"]:
        return "they are known at the start of a function only", []
    try:
        functions = view.programs.functions(str(parts["path"]), str(parts["function"]), str(parts.get("language", "")))
    except NoProgramError as error:
        return str(error), []
    if not functions:
        return f"no function {parts['function']} in {parts['path']}", []
    found = [view.signatures.of(function) for function in functions]
    if None in found:
        lacking = functions[found.index(None)]
        return f"{lacking.path} has no DWARF debug information about {lacking.name}", []
    return "", [signature for signature in found if signature]
