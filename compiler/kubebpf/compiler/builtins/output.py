"""Actions that reach user space: print, printf and its kin, time, exit; and values that only the node can word: cgroup_path,
strftime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.printf import SPEC, conversions
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, known_map, literal_integer, literal_string
from kubebpf.compiler.complaints.typing import (
    FormatCount,
    FormatMismatch,
    NotPrintable,
    WrongArgument,
)
from kubebpf.compiler.emit.events import send
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    CLOCK,
    U8,
    U64,
    VOID,
    Aggregate,
    Bool,
    Buffer,
    EnumType,
    FunctionType,
    Int,
    Pointer,
    Resolved,
    Type,
    Void,
)
from kubebpf.compiler.types.promote import as_int, is_integral

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

SEVERAL = 'print((a, b)) prints a tuple, and printf("%s %d\\n", a, b) text.'
MOST = 64  # arguments of one format string

# --- printf and its kin -----------------------------------------------------------------------------------------------


def _check_format(t: Typing, node: tree.Call) -> typed.Expr:
    format_ = literal_string(t, node, 0)
    values = tuple(t.value(a) for a in node.arguments[1:])
    if format_ is None or any(isinstance(v, typed.Bad) for v in values):
        return t.bad(node)
    wanted = conversions(format_)
    if len(wanted) != len(values):
        problem = "not enough arguments" if len(values) < len(wanted) else "too many arguments"
        return t.bad(node, FormatCount(span=node.span, problem=problem, found=len(values), wanted=len(wanted)))
    fits = [_fits(t, node, spec, value) for spec, value in zip(wanted, values, strict=True)]
    return call(t, node, VOID, values, format_) if all(fits) else t.bad(node)


def _fits(t: Typing, node: tree.Call, spec: str, value: typed.Expr) -> bool:
    match = SPEC.match(spec)
    assert match is not None
    wanted = _wanted(match["kind"], value.type)
    if not wanted:
        return True
    hint = _format_hint(node, value)
    t.complain(
        FormatMismatch(span=value.span, name=node.name, conversion=spec[1:], wanted=wanted, found=str(value.type), help=hint)
    )
    return False


def _format_hint(node: tree.Call, value: typed.Expr) -> tuple[str, ...]:
    """How to print a value that its conversion does not take."""
    match value.type:
        case Aggregate():
            return ("print(@map) shows it.",)
        case Void():
            return ("It has no value: some helpers print by themselves.",)
        case Buffer():
            return ("%r prints it.",)
        case Int() | Bool() | EnumType() | Pointer():
            return ()
        case _:
            return ("%s prints it.",)


def _wanted(kind: str, found: Type) -> str:
    """What a conversion takes, when it does not take this type; else ""."""
    if isinstance(found, Void | FunctionType):
        return "any printable type"
    if isinstance(found, Aggregate):
        return "number or text"
    if kind == "s":
        return ""
    if kind in ("r", "rx", "rh"):
        return "" if isinstance(found, Buffer) else "buffer"
    if kind == "p":
        return "" if is_integral(found) or isinstance(found, Pointer) else "pointer"
    return "" if is_integral(found) or isinstance(found, Pointer) else "integer"


def _emit_format(code: Code, node: typed.Call) -> Operand:
    send(code, node.builtin.name, node.span, node.arguments, format=str(node.extra))
    return const(0)


# --- print ------------------------------------------------------------------------------------------------------------


def _check_print(t: Typing, node: tree.Call) -> typed.Expr:
    first = node.arguments[0]
    if isinstance(first, tree.Map):
        return _print_map(t, node)
    if len(node.arguments) > 1:
        problem = WrongArgument(
            span=node.arguments[1].span, name="print", wanted="top and div for whole maps", found="a value", help=(SEVERAL,)
        )
        return t.bad(node, problem)
    value = t.value(first)
    if isinstance(value, typed.Bad):
        return value
    if isinstance(value.type, Aggregate):
        return _print_key(t, node, value)
    if isinstance(value.type, Void | FunctionType):
        return t.bad(node, NotPrintable(span=node.span, type="none" if isinstance(value.type, Void) else str(value.type)))
    return call(t, node, VOID, (value,), "value")


def _print_key(t: Typing, node: tree.Call, value: typed.Expr) -> typed.Expr:
    """print(@m[k]) of what is no single number, a histogram for one: the map is printed, of its keys only this one."""
    if not isinstance(value, typed.ReadMap) or value.key is None:
        return t.bad(node, NotPrintable(span=node.span, type=str(value.type)))
    return call(t, node, VOID, (value.key,), (value.map, 0, 0))


def _print_map(t: Typing, node: tree.Call) -> typed.Expr:
    numbers = [literal_integer(t, node, i) for i in range(1, len(node.arguments))]
    if None in numbers:
        return t.bad(node)
    info = known_map(t, node)
    if info is None:
        return t.bad(node)
    top, div = (*(n or 0 for n in numbers), 0, 0)[:2]
    return call(t, node, VOID, extra=(info, top, div))


def _emit_print(code: Code, node: typed.Call) -> Operand:
    if isinstance(node.extra, tuple):
        info, top, div = node.extra
        send(code, "print_map", node.span, node.arguments, map=info.name, top=top, div=div)
    else:
        send(code, "print_value", node.span, node.arguments)
    return const(0)


# --- time, exit -------------------------------------------------------------------------------------------------------


def _check_time(t: Typing, node: tree.Call) -> typed.Expr:
    format_ = literal_string(t, node, 0) if node.arguments else "%H:%M:%S\n"
    return t.bad(node) if format_ is None else call(t, node, VOID, extra=format_)


def _emit_time(code: Code, node: typed.Call) -> Operand:
    send(code, "time", node.span, format=str(node.extra))
    return const(0)


def _check_exit(t: Typing, node: tree.Call) -> typed.Expr:
    if not node.arguments:
        return call(t, node, VOID)
    value = integer(t, node, 0)
    return value if isinstance(value, typed.Bad) else call(t, node, VOID, (convert(value, U8),))


def _emit_exit(code: Code, node: typed.Call) -> Operand:
    """The event, and then the program returns at once; no attached program begins behind it, however late user space hears of it.

    The word is written behind the event: who sees it finds the event, or knows that there was no room for it.
    """
    status = code.scalar(node.arguments[0]) if node.arguments else const(0)
    send(code, "exit", node.span, node.arguments, known=(status,))
    if code.module.heeds_exit:
        code.f.store(code.f.binary("add", status, const(1)), Operand("@kb_ended", "ptr"), align=8)
    code.f.jump(code.exit)
    return const(0)


# --- values that the node words ---------------------------------------------------------------------------------------


def _check_cgroup_path(t: Typing, node: tree.Call) -> typed.Expr:
    value = integer(t, node, 0)
    filter_ = literal_string(t, node, 1) if len(node.arguments) > 1 else ""
    if isinstance(value, typed.Bad) or filter_ is None:
        return t.bad(node)
    return call(t, node, Resolved("cgroup_path", 16), (convert(value, U64),), t.string_index(filter_))


def _check_strftime(t: Typing, node: tree.Call) -> typed.Expr:
    format_, value = literal_string(t, node, 0), integer(t, node, 1)
    if isinstance(value, typed.Bad) or format_ is None:
        return t.bad(node)
    clock = as_int(value.type).role.removeprefix(CLOCK) if as_int(value.type).role.startswith(CLOCK) else "boot"
    if clock == "monotonic":
        wanted = "nanoseconds of the clocks boot, tai and sw_tai"
        return t.bad(node, WrongArgument(span=value.span, name="strftime", wanted=wanted, found="nsecs(monotonic)"))
    return call(t, node, Resolved("strftime", 16, (clock,)), (convert(value, U64),), t.string_index(format_))


def _emit_pair(code: Code, node: typed.Call) -> Operand:
    """A number and the index of a text, side by side."""
    to = code.destination
    value = code.scalar(node.arguments[0])
    code.f.store(value, to, align=8)
    assert isinstance(node.extra, int)
    code.f.store(const(node.extra), code.f.offset(to, 8), align=8)
    return const(0)


ALL = (
    Builtin("printf", _check_format, _emit_format, takes=(1, MOST)),
    Builtin("errorf", _check_format, _emit_format, takes=(1, MOST)),
    Builtin("warnf", _check_format, _emit_format, takes=(1, MOST)),
    Builtin("cat", _check_format, _emit_format, takes=(1, MOST)),
    Builtin("system", _check_format, _emit_format, takes=(1, MOST), unsafe=True),
    Builtin("print", _check_print, _emit_print, takes=(1, 3)),
    Builtin("time", _check_time, _emit_time, takes=(0, 1)),
    Builtin("exit", _check_exit, _emit_exit, takes=(0, 1)),
    Builtin("cgroup_path", _check_cgroup_path, _emit_pair, takes=(1, 2)),
    Builtin("strftime", _check_strftime, _emit_pair, takes=(2, 2)),
)
