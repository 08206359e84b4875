"""Names and calls: builtins by their records, constants by the kernel's enums.

pid            -> Call(PID)
TCP_CLOSE      -> Constant(7, enum)
str(arg0, 16)  -> STR.check(...)
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.registry import BUILTINS
from kubebpf.compiler.complaints.offline import FunctionAssumed
from kubebpf.compiler.complaints.typing import (
    AggregateMisused,
    CurrentIsNotTheCause,
    UnknownFunction,
    UnknownIdentifier,
    UnsafeNotAllowed,
    WriteNotAllowed,
    WrongArgumentCount,
)
from kubebpf.compiler.passes import advice, casts
from kubebpf.compiler.passes.c_definitions import macro
from kubebpf.compiler.passes.functions import invoke
from kubebpf.compiler.passes.places import refused_here
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.builtins.record import Builtin
    from kubebpf.compiler.passes.typing import Typing


TEXT = 'If it is text, write it in double quotes: "text".'


def identifier(t: Typing, node: tree.Identifier) -> typed.Expr:
    """A bare name."""
    name = node.name.removeprefix("__builtin_")  # upstream's library wraps builtins of that name in macros
    builtin = BUILTINS.get(name) or _numbered_argument(name)
    if builtin is not None and builtin.bare:
        return check(t, builtin, tree.Call(name, (), span=node.span, name_span=node.span))
    expanded = macro(t, node)
    if expanded is not None:
        return expanded
    constant = t.view.enum_constant(node.name)
    if constant is not None:
        enum, value = constant
        if t.final and (t.view.program is None or t.view.program.enum_constant(node.name) is None):
            t.constants[node.name] = (enum.name, value)
        return typed.Constant(span=node.span, type=enum, value=value)
    bare = (n for n, b in BUILTINS.items() if b.bare)
    near = t.hint(node.span, node.name, lambda: chain(bare, t.view.constant_names()))
    if name.startswith("sarg") and name[4:].isdigit():
        near = ("sarg* is deleted: bpftrace deprecated it in 0.21 and removed it behind 0.24. Read the stack through reg().",)
    known = advice.for_name(t, node.name)
    return t.bad(node, UnknownIdentifier(span=node.span, name=node.name, help=known or near or (TEXT,)))


def _numbered_argument(name: str) -> Builtin | None:
    return BUILTINS["arg0"] if name.startswith("arg") and name[3:].isdigit() else None


def call(t: Typing, node: tree.Call) -> typed.Expr:
    """`name(arguments)`."""
    node = replace(node, name=node.name.removeprefix("__builtin_"))
    if node.name in t.functions:
        return invoke(t, node)
    builtin = BUILTINS.get(node.name)
    if builtin is None:
        return _unknown(t, node)
    if builtin.aggregate:
        return t.bad(node, AggregateMisused(span=node.span, name=node.name, help=advice.usage(node.name)))
    return check(t, builtin, node)


def _unknown(t: Typing, node: tree.Call) -> typed.Expr:
    """A function that nothing defines. Its arguments are checked, but for names: these may be defined where it is."""
    near = t.hint(node.name_span, node.name, lambda: (*BUILTINS, *t.functions))
    error = UnknownFunction(span=node.name_span, name=node.name, help=advice.for_name(t, node.name) or near)
    t.lacks(error, FunctionAssumed(span=node.name_span, name=node.name), certain=bool(near))
    for argument in node.arguments:
        if isinstance(argument, tree.NamedType | tree.PointerType | tree.ArrayType | tree.TypeofType | tree.TupleType):
            casts.type_of(t, argument)
        elif not isinstance(argument, tree.Identifier):
            t.expr(argument)
    return t.bad(node)


def check(t: Typing, builtin: Builtin, node: tree.Call) -> typed.Expr:
    """What holds for every builtin, then its own check."""
    if (misplaced := refused_here(t, node, node.name, builtin.name)) is not None:
        return misplaced
    if not arguments_fit(t, builtin, node):
        return t.bad(node)
    if builtin.unsafe:
        t.unsafe.add(builtin.name)
        if not t.options.unsafe:
            hint = "Use --unsafe, or allowUnsafe: true in a manifest, if it is meant."
            complaint = WriteNotAllowed if builtin.name == "write_user" else UnsafeNotAllowed
            return t.bad(node, complaint(span=node.span, name=builtin.name, help=(hint,)))
    assert t.context is not None
    if builtin.reads_current and t.options.scoped and not t.context.provider.current_is_cause:
        return t.bad(node, CurrentIsNotTheCause(span=node.span, name=builtin.name, provider=t.context.provider.name))
    return builtin.check(t, node)


def arguments_fit(t: Typing, builtin: Builtin, node: tree.Call) -> bool:
    """Whether the number of arguments is one that the builtin takes; words the error."""
    least, most = builtin.takes
    if least <= len(node.arguments) <= most:
        return True
    wanted = (
        f"at most {most} argument{'s' * (most != 1)}"
        if len(node.arguments) > most
        else f"at least {least} argument{'s' * (least != 1)}"
    )
    if least == most:
        wanted = f"exactly {least} argument{'s' * (least != 1)}" if least else "no arguments"
    found, help_ = len(node.arguments), advice.usage(node.name)
    t.complain(WrongArgumentCount(span=node.span, name=node.name, wanted=wanted, found=found, help=help_))
    return False
