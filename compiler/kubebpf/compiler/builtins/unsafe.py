"""Helpers that change what they look at, signal, signal_thread, write_user; and debugf, for the kernel's trace pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.printf import conversions
from kubebpf.compiler.builtins.bytes import address_of, bounded, size_of
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, literal_string, wrong_argument
from kubebpf.compiler.builtins.tables import SIGNALS, signal_number
from kubebpf.compiler.complaints.helpers import NegativeLength, UnknownSignal
from kubebpf.compiler.complaints.typing import FormatCount, FormatMismatch, WrongArgument, WrongProbe
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, U32, U64, VOID, String
from kubebpf.compiler.types.promote import is_scalar

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

# Where the current task is nobody in particular, or the tracer itself.
NOBODY = frozenset(("begin", "end", "self", "interval", "software", "hardware", "iter", "test", "bench"))
TRACE_ARGUMENTS = 3  # of bpf_trace_printk


# --- signals ----------------------------------------------------------------------------------------------------------


def _check_signal(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    if t.context.provider.name in NOBODY:
        return t.bad(node, WrongProbe(span=node.span, name=node.name, provider=t.context.provider.name))
    value = t.value(node.arguments[0])
    if isinstance(value, typed.BlockValue) and not value.statements:
        value = value.value
    if isinstance(value, typed.Bad):
        return value
    if isinstance(value, typed.Text):
        return _named(t, node, value)
    if not is_integer(value):
        return t.bad(node, wrong_argument(node, value, "a signal's name as a literal or its number"))
    if isinstance(value, typed.Constant) and not 1 <= value.value <= SIGNALS:
        return t.bad(node, UnknownSignal(span=value.span, found=str(value.value)))
    return call(t, node, VOID, (convert(value, U32),))


def _named(t: Typing, node: tree.Call, value: typed.Text) -> typed.Expr:
    name = value.value.decode(errors="replace")
    number = signal_number(name)
    if number is None:
        return t.bad(node, UnknownSignal(span=value.span, found=name))
    return call(t, node, VOID, (typed.Constant(span=value.span, type=U32, value=number),))


def _emit_signal(code: Code, node: typed.Call) -> Operand:
    helper = Helper.SEND_SIGNAL if node.builtin.name == "signal" else Helper.SEND_SIGNAL_THREAD
    code.helper(helper, code.f.cast("trunc", code.scalar(node.arguments[0]), "i32"))
    return const(0)


# --- write_user -------------------------------------------------------------------------------------------------------


def _check_write(t: Typing, node: tree.Call) -> typed.Expr:
    """write_user(pointer, value, bytes): whether it was written."""
    pointer, value, count = t.value(node.arguments[0]), t.value(node.arguments[1]), integer(t, node, 2)
    if any(isinstance(e, typed.Bad) for e in (pointer, value, count)):
        return t.bad(node)
    if not is_scalar(pointer.type):
        wanted = "a pointer into the process's memory"
        return t.bad(node, WrongArgument(span=pointer.span, name=node.name, wanted=wanted, found=str(pointer.type)))
    if isinstance(count, typed.Constant) and not 0 <= count.value <= size_of(value):
        if count.value < 0:
            return t.bad(node, NegativeLength(span=count.span, name=node.name, found=str(count.value)))
        wanted = f"as many bytes as the value has, {size_of(value)}"
        return t.bad(node, WrongArgument(span=count.span, name=node.name, wanted=wanted, found=str(count.value)))
    return call(t, node, BOOL, (pointer, value, convert(count, U64)))


def _emit_write(code: Code, node: typed.Call) -> Operand:
    f = code.f
    pointer, value, count = node.arguments
    to = code.as_pointer(code.scalar(pointer))
    place = address_of(code, value)
    size = const(count.value) if isinstance(count, typed.Constant) else bounded(code, code.scalar(count), size_of(value))
    result = code.helper(Helper.PROBE_WRITE_USER, to, place, f.cast("trunc", size, "i32"))
    return f.cast("zext", f.compare("eq", result, const(0)), "i64")


# --- debugf -----------------------------------------------------------------------------------------------------------


def _check_debugf(t: Typing, node: tree.Call) -> typed.Expr:
    format_ = literal_string(t, node, 0)
    values = tuple(t.value(a) for a in node.arguments[1:])
    if format_ is None or any(isinstance(v, typed.Bad) for v in values):
        return t.bad(node)
    specs = conversions(format_)
    if len(specs) != len(values):
        problem = "not enough arguments" if len(values) < len(specs) else "too many arguments"
        return t.bad(node, FormatCount(span=node.span, problem=problem, found=len(values), wanted=len(specs)))
    for spec, value in zip(specs, values, strict=True):
        # The kernel is told nothing of the types: it would take a number for an address, and print an address as a number.
        if spec.endswith("s") != isinstance(value.type, String):
            wanted, found = "string" if spec.endswith("s") else "integer", str(value.type)
            complaint = FormatMismatch(span=value.span, name=node.name, conversion=spec[1:], wanted=wanted, found=found)
            return t.bad(node, complaint)
    return call(t, node, VOID, values, format_)


def _emit_debugf(code: Code, node: typed.Call) -> Operand:
    """The kernel formats: a string is the address of one."""
    data = str(node.extra).encode(errors="surrogateescape") + b"\0"
    values = [code.scalar(v) if is_scalar(v.type) else code.as_number(code.address(v)) for v in node.arguments]
    text = Operand(code.module.text(data), "ptr")
    code.helper(Helper.TRACE_PRINTK, text, const(len(data), "i32"), *values)
    return const(0)


ALL = (
    Builtin("signal", _check_signal, _emit_signal, takes=(1, 1), unsafe=True, reads_current=True),
    Builtin("signal_thread", _check_signal, _emit_signal, takes=(1, 1), unsafe=True, reads_current=True),
    Builtin("write_user", _check_write, _emit_write, takes=(3, 3), unsafe=True, reads_current=True),
    Builtin("debugf", _check_debugf, _emit_debugf, takes=(1, 1 + TRACE_ARGUMENTS)),
)
