"""Functions that run on top of a program: the bodies of loops, which helpers call back, and the functions of the text.

A program and its functions share a frame on the program's stack, whose address every function is given:

    0   the program's context         read where a function uses it (args in a loop)
    8   the scratch memory            a variable that two functions see lies there
    16  leaving                       1 once a function said `return` or exit(): whoever called it goes on to its own exit
                                      2 once a loop in a function of the text said `return`
    24  result                        what the program is to return then

The verifier knows what the frame's words are, so pointers stay pointers. Of scratch memory it knows nothing, and that is wanted:
the second round of a loop looks to it like the first, and it need not follow a counter through all its values.
"""

from __future__ import annotations

from dataclasses import replace

from kubebpf.compiler.emit.code import SCRATCH_SLOT, Code
from kubebpf.compiler.emit.ir import Function, Operand, const
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.walk import bodies, children, walk

CONTEXT, SCRATCH, LEAVING, RESULT, FRAME = 0, 8, 16, 24, 32
OWN = 2  # leaving: only the function of the text
LEAVERS = ("exit",)  # builtins that end the program


def shared_variables(body: object) -> frozenset[int]:
    """The variables, by identity, that are seen by more than one of the functions that a body becomes."""
    owners: dict[int, int] = {}
    shared: set[int] = set()
    _owned(body, 0, owners, shared)
    return frozenset(shared)


def _owned(node: object, function: int, owners: dict[int, int], shared: set[int]) -> None:
    for child in children(node):
        _own(child, function, owners, shared)


def _own(node: object, function: int, owners: dict[int, int], shared: set[int]) -> None:
    match node:
        case typed.Variable():
            if owners.setdefault(id(node), function) != function:
                shared.add(id(node))
        case typed.While(condition=condition, body=body):
            _owned((condition, body), id(node), owners, shared)
        case typed.ForRange(variable=variable, start=start, end=end, body=body):
            _owned((start, end), function, owners, shared)
            _owned((variable, body), id(node), owners, shared)
        case typed.ForMap(variable=variable, body=body):
            _owned((variable, body), id(node), owners, shared)
        case _:
            _owned(node, function, owners, shared)


def leaves(loop: object) -> bool:
    """Whether a loop, or a function called in it, can end what is around the loop."""
    return any(isinstance(n, typed.Return) for n in walk(loop)) or any(_exits(n) for b in bodies(loop) for n in walk(b))


def _exits(node: object) -> bool:
    return isinstance(node, typed.Call) and node.builtin.name in LEAVERS


def exits(function: typed.Function) -> bool:
    """Whether a function of the text can end the program that called it."""
    return any(_exits(node) for body in bodies(function.body) for node in walk(body))


def frame(code: Code) -> Operand:
    """The frame, as an argument of what is called. The program's prologue fills it: see `set_up`."""
    if code.frame is None:
        code.frame = code.f.alloca(FRAME)
    return code.frame


def set_up(code: Code) -> None:
    """Fill the frame, at the start of the program, behind the lookup of the scratch memory."""
    f = code.f
    if code.frame is None:
        return
    f.store(f.parameter, f.offset(code.frame, CONTEXT), align=8)
    if code.room.used:
        f.store(code.scratch(), f.offset(code.frame, SCRATCH), align=8)
    f.store(const(0), f.offset(code.frame, LEAVING), align=8)
    f.store(const(0), f.offset(code.frame, RESULT), align=8)


def begin(code: Code, name: str, parameters: tuple[str, ...], span: Span, *, inline: bool = False) -> Code:
    """A function on top of `code`'s, empty yet. Its last parameter is the frame.

    Args:
        name: what it is, for the symbol.
        parameters: LLVM types; the last is `ptr`.
        inline: whether LLVM may put it into its callers.
    """
    module = code.module
    symbol = f"{code.room.name}_{name}"
    line = module.source.position(span.start).line
    names = (*(f"a{i}" for i in range(len(parameters) - 1)), "frame")
    number = module.debug.callback(symbol, names, parameters, line)
    attributes = "" if inline else "noinline"
    f = Function(symbol, "", number, returns="i64", parameters=parameters, linkage="internal", attributes=attributes)
    f.parameter = Operand("%context", "ptr")
    # Everything else belongs to the program, and is the program's.
    inner = replace(
        code,
        f=f,
        variables={},
        exit=f.label("exit"),
        breaks=f.label("break"),
        continues=f.label("continue"),
        frame=Operand(f"%a{len(parameters) - 1}", "ptr"),
        in_loop=not inline,
        _scratch=None,
        _slots={},
    )
    inner.result = Operand("%result", "ptr")
    inner.locate(span)
    f.place(f.label("start"))
    return inner


def finish(inner: Code, start: int, location: str) -> str:
    """The function's text; what it uses of the frame is read at its start.

    Args:
        start: the position of its first instruction.
        location: what that instruction belongs to.
    """
    f = inner.f
    assert inner.frame is not None
    f.location = location
    with f.inserting(start):
        f.do(f"{f.parameter.text} = load ptr, {inner.frame}, align 8")
        f.do(f"%result = getelementptr i8, {inner.frame}, i64 {RESULT}")
        if inner.uses_scratch:
            place = f.offset(inner.frame, SCRATCH)
            f.do(f"{inner.scratch().text} = load ptr, {place}, align 8, !align !{inner.module.debug.eight}")
            if inner.module.frugal:
                f.store(inner.scratch(), inner.slot(SCRATCH_SLOT), align=8)
    inner.module.functions.append(f.text())
    return f"@{f.name}"


def place_exit(inner: Code) -> None:
    """Where `return` and exit() of an inner function go: they are remembered in the frame, and the function ends."""
    f = inner.f
    assert inner.frame is not None
    f.place(inner.exit)
    f.store(const(1), f.offset(inner.frame, LEAVING), align=8)
    f.ret(const(1))


def go_on(code: Code, *, returns: bool) -> None:
    """Behind a call: leave, too, if the function said so.

    Args:
        returns: whether there may be a value that the program is to return.
    """
    f = code.f
    place = frame(code)
    left, on = f.label("left"), f.label("on")
    leaving = f.load("i64", f.offset(place, LEAVING), align=8)
    f.branch(f.compare("ne", leaving, const(0)), left, on)
    f.place(left)
    if code.in_loop:
        f.ret(const(1))
    elif code.function is not None:
        _end_function(code, leaving, returns=returns)
    elif returns:
        f.store(f.load("i32", f.offset(place, RESULT), align=8), code.result, align=4)
    f.jump(code.exit)
    f.place(on)


def _end_function(code: Code, leaving: Operand, *, returns: bool) -> None:
    """A loop in a function of the text said `return`: that ends the function, and not the program."""
    f, place = code.f, frame(code)
    own, all_ = f.label("own"), f.label("all")
    f.branch(f.compare("eq", leaving, const(OWN)), own, all_)
    f.place(own)
    f.store(const(0), f.offset(place, LEAVING), align=8)
    f.ret(f.load("i64", f.offset(place, RESULT), align=8) if returns else const(0))
    f.place(all_)


def return_from_loop(code: Code, value: Operand) -> None:
    """`return` in a loop of a function of the text."""
    place = frame(code)
    code.f.store(value, code.f.offset(place, RESULT), align=8)
    code.f.store(const(OWN), code.f.offset(place, LEAVING), align=8)
    code.f.ret(const(1))
