"""`$1`, `$#` and the options for getopt(): what the caller gave, for the places where a value has to be known now.

    tracepoint:$1:sys_enter_read    -> tracepoint:syscalls:sys_enter_read     replaced in the syntax tree
    let @m = hash($1);              -> hash(100)
    unroll ($1) { … }               -> unroll (3) { … }                       when it is typed

Everywhere else they stay load-time constants, and the object does not depend on them. What was put into the code is remembered in
`folded`, by which the operator knows when to compile again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from kubebpf.compiler.artifact.parameters import ParameterTextError, integer, shape
from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.parameters import BadParameter, ParameterMissing
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.attach_points import with_parameters
from kubebpf.compiler.syntax.span import Span

_PARAMETER = re.compile(r"\$([0-9]+)")


@dataclass
class Parameters:
    """What was given, and what of it is in the code by now.

    Args:
        options: of the caller.
    """

    options: CompileOptions
    folded: set[str] = field(default_factory=set)

    def positional(self, index: int) -> str:
        """The text of `$index`, which the code depends on from now; "" when it is not given."""
        self.folded.add(f"${index}")
        return self._text(index)

    def option(self, name: str) -> str | None:
        """The text of an option, likewise; None when it is not given, "" when it has no value."""
        self.folded.add(f"--{name}")
        return dict(self.options.params).get(name)

    def count(self) -> int:
        """`$#`, likewise."""
        self.folded.add("$#")
        return len(self.options.args)

    def warning(self, index: int, span: Span) -> ParameterMissing | None:
        """What to say about a parameter that is not there."""
        return None if self._text(index) else ParameterMissing(span=span, index=index)

    def is_int64(self, index: int) -> bool:
        """Whether `$index` can be a load-time constant as it stands in an expression."""
        return shape(self._text(index)) in ("number", "")

    def is_large(self, name: str) -> bool:
        """Whether the number given for an option is no int64."""
        return shape(dict(self.options.params).get(name, "")) == "large"

    def _text(self, index: int) -> str:
        return self.options.args[index - 1] if index <= len(self.options.args) else ""


def number(text: str, what: str, span: Span, report: Report) -> int | None:
    """The number that was given; None after a complaint."""
    try:
        return integer(text or "0", what)
    except ParameterTextError as error:
        report.add(BadParameter(span=span, why=str(error)))
        return None


def fold_heads(program: tree.Program, parameters: Parameters, report: Report) -> tree.Program:
    """The program with the parameters in attach points and sizes of maps replaced."""
    probes = tuple(_probe(probe, parameters, report) for probe in program.probes)
    declarations = tuple(_declaration(node, parameters, report) for node in program.map_declarations)
    return replace(program, probes=probes, map_declarations=declarations)


def _probe(probe: tree.Probe, parameters: Parameters, report: Report) -> tree.Probe:
    if not any("$" in point.text for point in probe.attach_points):
        return probe
    return replace(probe, attach_points=tuple(_point(point, parameters, report) for point in probe.attach_points))


def _point(point: tree.AttachPoint, parameters: Parameters, report: Report) -> tree.AttachPoint:
    changed = with_parameters(point, parameters.options.args, report)
    if changed is not point:
        parameters.folded.update(f"${index}" for index in _PARAMETER.findall(point.text))
    return changed


def _declaration(node: tree.MapDeclaration, parameters: Parameters, report: Report) -> tree.MapDeclaration:
    size = node.max_entries
    if not isinstance(size, tree.PositionalParameter):
        return node
    found = number(parameters.positional(size.index), f"${size.index}", size.span, report)
    return replace(node, max_entries=tree.Integer(1 if found is None else found, span=size.span))
