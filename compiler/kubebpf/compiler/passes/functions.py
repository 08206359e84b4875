"""The type rules of functions: their signatures, their bodies, the calls.

fn twice($x: int64): int64 { return $x * 2; }      -> typed.Function
begin { print(twice(4)); }                         -> Invoke(twice, (4,))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.registry import BUILTINS
from kubebpf.compiler.complaints.flow import BadFunction, WrongParameter, WrongReturn
from kubebpf.compiler.complaints.typing import Redeclared, WrongArgumentCount
from kubebpf.compiler.passes import casts
from kubebpf.compiler.passes.conversions import convert, decay
from kubebpf.compiler.probes.record import Context, Provider, Target
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, Int, Pointer, Type
from kubebpf.compiler.types.promote import fits, is_integral, is_scalar, join

if TYPE_CHECKING:
    from kubebpf.compiler.cdefs.bpf_c import Compiled
    from kubebpf.compiler.passes.typing import Typing

MOST = 5  # parameters of a BPF function


def declare_functions(t: Typing, nodes: tuple[tree.Function, ...]) -> None:
    """Make the functions known by name, before any body is typed. They win over the language's, so that a new one of these
    breaks no program; those that are more than calls cannot be replaced.
    """
    for node in nodes:
        builtin = BUILTINS.get(node.name)
        if builtin is not None and (builtin.aggregate or builtin.bare):
            t.report.add(BadFunction(span=node.span, problem=f"{node.name} is a function of the language"))
        elif node.name in t.functions:
            t.report.add(BadFunction(span=node.span, problem=f"Redefinition of function: {node.name}"))
        else:
            t.functions[node.name] = typed.Function(node.name, (), VOID, node.span)


def declare_external(t: Typing, compiled: tuple[Compiled, ...]) -> None:
    """Make the functions of imported BPF C known; those that C alone can call are left out."""
    for function in (function for one in compiled for function in one.functions):
        kinds = [kind for _, kind in function.params]
        plain = all(map(is_scalar, kinds)) and (function.returns == VOID or is_scalar(function.returns))
        if plain and not function.variadic and len(kinds) <= MOST:
            parameters = tuple(typed.Variable(name, kind, typed.NOWHERE) for name, kind in function.params)
            made = typed.Function(function.name, parameters, function.returns, typed.NOWHERE, external=True)
            t.functions[function.name] = made


def type_functions(t: Typing, nodes: tuple[tree.Function, ...], *, current_is_cause: bool) -> None:
    """Type all bodies, in a context of their own.

    Args:
        current_is_cause: whether that holds of every probe of the program: each may call the function.
    """
    provider = Provider("function", lambda t, node: None, lambda target: "", current_is_cause=current_is_cause)
    for node in nodes:
        function = t.functions.get(node.name)
        if function is None or function.span != node.span:
            continue
        point = tree.AttachPoint("function", (), span=node.span)
        t.context = Context(Target(provider, node.name, point))
        t.function = function
        with t.scope():
            _signature(t, node, function)
            body = t.statements(node.body.statements, node.body.span)
        t.function = None
        function.body = body
        if function.returns != VOID and not always_returns(body):
            t.complain(WrongReturn(span=node.span, name=node.name, declared=str(function.returns), found="void"))
    if t.final:
        _refuse_recursion(t)


def _signature(t: Typing, node: tree.Function, function: typed.Function) -> None:
    """Parameters and result; a type may be the `typeof` another parameter, also of a later one."""
    variables = []
    for p in node.parameters:
        if t.lookup(p.name) is not None:
            t.complain(Redeclared(span=p.span, name=p.name))
        variables.append(t.declare(tree.Variable(p.name, span=p.span)))
    function.parameters = tuple(variables)
    final, t.final = t.final, False
    for _ in node.parameters:
        _parameter_types(t, node, function)
    t.final = final
    _parameter_types(t, node, function)
    returns = VOID if node.returns is None else casts.type_of(t, node.returns)
    function.returns, function.known = returns or VOID, returns is not None


def _parameter_types(t: Typing, node: tree.Function, function: typed.Function) -> None:
    for p, variable in zip(node.parameters, function.parameters, strict=True):
        wanted = casts.type_of(t, p.type)
        if wanted is not None and wanted != VOID:
            slot = t.slot(variable)
            slot.type, slot.declared, slot.flexible = wanted, True, False
            variable.type = wanted


def always_returns(node: typed.Statement | None) -> bool:
    """Whether every way through a statement ends in a return."""
    match node:
        case typed.Return():
            return True
        case typed.Block(statements=statements):
            return any(map(always_returns, statements))
        case typed.If(then=then, otherwise=otherwise):
            return always_returns(then) and always_returns(otherwise)
        case typed.Evaluate(value=typed.Call(builtin=builtin)):
            return builtin.name == "exit"
        case _:
            return False


def returned(t: Typing, node: tree.Return, function: typed.Function) -> typed.Statement | None:
    """`return e;` in a function."""
    value = None if node.value is None else decay(t.expr(node.value))
    if isinstance(value, typed.Bad) or not function.known:
        return typed.Return(span=node.span, value=None)
    found = VOID if value is None else value.type
    if (value is None) != (function.returns == VOID) or (value is not None and not _takes(function.returns, value)):
        t.complain(WrongReturn(span=node.span, name=function.name, declared=str(function.returns), found=str(found)))
        return typed.Return(span=node.span, value=None)
    return typed.Return(span=node.span, value=None if value is None else convert(value, function.returns))


def _takes(wanted: Type, value: typed.Expr) -> bool:
    """Whether a value goes where a type is declared: a literal that fits, or what is no wider; void * takes all pointers."""
    if isinstance(wanted, Pointer) and isinstance(value.type, Pointer) and wanted.target == VOID:
        return True
    if isinstance(wanted, Int) and isinstance(value, typed.Constant) and value.literal and is_integral(value.type):
        return fits(value.value, wanted)
    if isinstance(wanted, Int) and isinstance(value.type, Int):
        return value.type.bits <= wanted.bits
    return value.type == wanted or join(wanted, value.type) == wanted


def invoke(t: Typing, node: tree.Call) -> typed.Expr:
    """A call of a function of the text."""
    function = t.functions[node.name]
    if t.function is not None:
        t.calls.setdefault(t.function.name, set()).add(node.name)
    count = len(function.parameters)
    if len(node.arguments) != count:
        wanted = f"exactly {count} argument{'s' * (count != 1)}" if count else "no arguments"
        return t.bad(node, WrongArgumentCount(span=node.span, name=node.name, wanted=wanted, found=len(node.arguments)))
    arguments = [_argument(t, node, a, p) for a, p in zip(node.arguments, function.parameters, strict=True)]
    if any(isinstance(a, typed.Bad) for a in arguments) or not function.known:
        return t.bad(node)
    return typed.Invoke(span=node.span, type=function.returns, function=function, arguments=tuple(arguments))


def _argument(t: Typing, node: tree.Call, argument: tree.Expr | tree.TypeSyntax, parameter: typed.Variable) -> typed.Expr:
    value = t.value(argument)
    if isinstance(value, typed.Bad) or parameter.type == VOID:
        return t.bad(node)
    if not _takes(parameter.type, value):
        declared, found = str(parameter.type), str(value.type)
        complaint = WrongParameter(span=value.span, name=node.name, parameter=parameter.name, declared=declared, found=found)
        return t.bad(node, complaint)
    return convert(value, parameter.type)


def _refuse_recursion(t: Typing) -> None:
    for name, function in t.functions.items():
        if name in _reached(t, name):
            problem = f"Function {name} calls itself: a program's stack has a fixed size, so functions cannot be recursive"
            t.complain(BadFunction(span=function.span, problem=problem))


def _reached(t: Typing, name: str) -> set[str]:
    """All functions that a function calls, directly or not."""
    found: set[str] = set()
    todo = [name]
    while todo:
        callees = t.calls.get(todo.pop(), set()) - found
        found |= callees
        todo += callees
    return found
