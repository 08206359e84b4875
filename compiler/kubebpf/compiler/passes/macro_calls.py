"""Which macro a call means, and what is wrong with definitions and calls.

macro add($x, y) …   macro add(x, y) …        add($a, 1) means the first, add(1, 1) the second
"""

from __future__ import annotations

from collections.abc import Sequence

from kubebpf.compiler.complaints.base import Note, Report
from kubebpf.compiler.complaints.macros import MacroRedefined, ParameterTwice
from kubebpf.compiler.syntax import tree

_KINDS = {"$": "variable", "@": "map"}
_TYPES = (tree.NamedType, tree.PointerType, tree.ArrayType, tree.TypeofType, tree.TupleType)


def is_type(node: tree.Node) -> bool:
    """Whether an argument is a type: only `typeof(…)` is one."""
    return isinstance(node, _TYPES)


def check_definitions(macros: Sequence[tree.Macro], report: Report) -> None:
    """Complain about parameters that are there twice, and about macros that no call could tell from an earlier one."""
    known: dict[tuple[str, ...], tree.Macro] = {}
    for macro in macros:
        seen: set[str] = set()
        for parameter in macro.parameters:
            if parameter.name in seen:
                kind = _kind(parameter).capitalize() if _sigil(parameter) else "Ident"
                report.add(ParameterTwice(span=parameter.span, kind=kind, name=parameter.name))
            seen.add(parameter.name)
        signature = (macro.name, *map(_kind, macro.parameters))
        if signature in known:
            first = (Note(text="first defined here", span=known[signature].span),)
            report.add(MacroRedefined(span=macro.span, name=macro.name, notes=first))
        known.setdefault(signature, macro)


def fitting(macros: Sequence[tree.Macro], arguments: Sequence[tree.Node]) -> tree.Macro | None:
    """The macro that takes these arguments: of several the one with the most parameters by reference, then the first."""
    found = [m for m in macros if len(m.parameters) == len(arguments) and all(map(_takes, m.parameters, arguments))]
    return max(found, key=_references, default=None)


def explain(macros: Sequence[tree.Macro], arguments: Sequence[tree.Node]) -> tuple[Note, ...]:
    """Why none of them takes the arguments: the first mismatch with the closest definition."""
    same = [m for m in macros if len(m.parameters) == len(arguments)]
    if not same:
        near = min(macros, key=lambda m: abs(len(m.parameters) - len(arguments)))
        wanted = f"Expected: {len(near.parameters)} but got {len(arguments)}"
        text = f"The closest definition of {near.name}() has a different number of arguments. {wanted}"
        return (Note(text=text, span=near.span),)
    parameters = same[0].parameters
    wrong = next(i for i, (p, a) in enumerate(zip(parameters, arguments, strict=True)) if not _takes(p, a))
    parameter, argument = parameters[wrong], arguments[wrong]
    what = f"expects a {_kind(parameter)} for arg {parameter.name} but got {_given(argument)}."
    return (
        Note(text=f"Mismatched arg. {same[0].name}() {what}", span=argument.span),
        Note(text="This is the argument in the closest definition.", span=parameter.span),
    )


def _takes(parameter: tree.MacroParameter, argument: tree.Node) -> bool:
    match _kind(parameter):
        case "variable":
            return isinstance(argument, tree.Variable)
        case "map":
            return isinstance(argument, tree.Map)
        case "type":
            return is_type(argument)
        case _:
            return True


def _kind(parameter: tree.MacroParameter) -> str:
    return "type" if parameter.is_type else _sigil(parameter) or "expression"


def _sigil(parameter: tree.MacroParameter) -> str:
    return _KINDS.get(parameter.name[0], "")


def _references(macro: tree.Macro) -> int:
    return sum(_kind(p) != "expression" for p in macro.parameters)


def _given(argument: tree.Node) -> str:
    match argument:
        case tree.Variable():
            return "a variable"
        case tree.Map():
            return "a map"
        case _:
            return "a type" if is_type(argument) else "an expression"
