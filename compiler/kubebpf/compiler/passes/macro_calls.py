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
    known: dict[str, list[tree.Macro]] = {}
    for macro in macros:
        seen: set[str] = set()
        for parameter in macro.parameters:
            if parameter.name in seen:
                kind = _kind(parameter).capitalize() if _sigil(parameter) else "Ident"
                report.add(ParameterTwice(span=parameter.span, kind=kind, name=parameter.name))
            seen.add(parameter.name)
        earlier = known.setdefault(macro.name, [])
        if first := next((e for e in earlier if _covers(e, macro)), None):
            note = Note(text="first defined here", span=first.span)
            report.add(MacroRedefined(span=macro.span, name=macro.name, notes=(note,)))
        earlier.append(macro)


def fitting(macros: Sequence[tree.Macro], arguments: Sequence[tree.Node]) -> tree.Macro | None:
    """The first macro that takes these arguments."""
    found = (m for m in macros if len(m.parameters) == len(arguments) and all(map(_takes, m.parameters, arguments)))
    return next(found, None)


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


def _covers(earlier: tree.Macro, later: tree.Macro) -> bool:
    """Whether every call that fits the later macro means the earlier one."""
    pairs = zip(map(_kind, earlier.parameters), map(_kind, later.parameters), strict=False)
    return len(earlier.parameters) == len(later.parameters) and all(a in (b, "expression") for a, b in pairs)


def _given(argument: tree.Node) -> str:
    match argument:
        case tree.Variable():
            return "a variable"
        case tree.Map():
            return "a map"
        case _:
            return "a type" if is_type(argument) else "an expression"
