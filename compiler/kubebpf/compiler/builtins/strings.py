"""Strings out of memory: str."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, wrong_argument
from kubebpf.compiler.complaints.typing import WrongArgument
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.members import place_of
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.passes.literals import literal
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Array, Int, Pointer, Space, String, sizeof

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


@dataclass(frozen=True, slots=True)
class Read:
    """What str() was typed as: where it reads, and how much at most when the length is known only at run time."""

    space: Space  # NONE: where the argument lies
    dynamic: bool
    whole: bool = False  # no length was given, or one beyond what a string may have


def _check_str(t: Typing, node: tree.Call) -> typed.Expr:
    source = _parameter(t, node.arguments[0]) or t.value(node.arguments[0])
    size, length, whole = _capacity(t, node)
    if size is None or isinstance(source, typed.Bad):
        return t.bad(node)
    if isinstance(source.type, Array) and not source.type.length and length is None:
        # A flexible array member: its struct does not say where it ends.
        return call(t, node, String(size), (source,), Read(Space.NONE, dynamic=False, whole=whole))
    if isinstance(source.type, String | Array):
        return _held(t, node, source, size, length)
    space = _space(t, source)
    if space is None:
        return t.bad(node, wrong_argument(node, source, "a pointer, an integer or a string"))
    arguments = (source,) if length is None else (source, length)
    return call(t, node, String(size), arguments, Read(space, length is not None, whole))


def _parameter(t: Typing, node: tree.Expr | tree.TypeSyntax) -> typed.Expr | None:
    """`str($1)`, `str($1 + 3)`: text that the node writes before the load."""
    skipped = 0
    if isinstance(node, tree.Binary) and node.op == "+" and isinstance(node.left, tree.PositionalParameter):
        amount = literal(t, t.expr(node.right))
        if not isinstance(amount, typed.Constant) or amount.value < 0:
            return None
        node, skipped = node.left, amount.value
    if not isinstance(node, tree.PositionalParameter):
        return None
    if missing := t.parameters.warning(node.index, node.span):
        t.complain(missing)
    arg = f"{node.index}+{skipped}" if skipped else str(node.index)
    return typed.LoadTime(span=node.span, type=String(t.settings.max_strlen), kind="positional", arg=arg)


def _capacity(t: Typing, node: tree.Call) -> tuple[int | None, typed.Expr | None, bool]:
    """The capacity of the result, the length when it is known only at run time, and whether no length cuts the result."""
    most = t.settings.max_strlen
    if len(node.arguments) < 2:
        return most, None, True
    length = literal(t, integer(t, node, 1))
    if isinstance(length, typed.Bad):
        return None, None, False
    if not isinstance(length, typed.Constant):
        return most, convert(length, U64), False
    if length.value < 0:
        wanted = "a length that is not negative"
        t.complain(WrongArgument(span=length.span, name="str", wanted=wanted, found=str(length.value)))
        return None, None, False
    return max(min(length.value, most), 1), None, length.value > most


def _held(t: Typing, node: tree.Call, source: typed.Expr, size: int, length: typed.Expr | None) -> typed.Expr:
    """A string that is there already: cut or taken as it is."""
    have = sizeof(source.type)
    if length is not None:
        return call(t, node, String(min(have, size)), (source, length), Read(Space.BPF, dynamic=True))
    if isinstance(source.type, String) and have <= size:
        return source
    return call(t, node, String(min(have, size)), (source,), Read(Space.BPF, dynamic=False))


def _space(t: Typing, source: typed.Expr) -> Space | None:
    assert t.context is not None
    if isinstance(source.type, Pointer) and isinstance(source.type.target, Int | type(None)):
        return source.type.space if source.type.space is not Space.NONE else t.context.default_space
    if isinstance(source.type, Pointer):
        return source.type.space if source.type.space is not Space.NONE else t.context.default_space
    return t.context.default_space if is_integer(source) else None


def _emit_str(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, Read) and isinstance(node.type, String)
    to, padded, size = code.destination, code.padded, node.type.size
    if node.extra.space is Space.BPF and node.extra.dynamic:
        return _emit_bounded(code, node, to, size, code.address(node.arguments[0]))
    if node.extra.space is Space.BPF:
        code.copy(to, code.address(node.arguments[0]), size)
        code.f.store(const(0, "i8"), code.f.offset(to, size - 1), align=1)
        return const(0)
    space: Space = node.extra.space
    if space is Space.NONE:
        source, space = place_of(code, node.arguments[0])
    else:
        source = code.scalar(node.arguments[0])
    if not node.extra.dynamic:
        copied = code.read_string(space, to, size, source, padded=padded)
        if node.extra.whole:
            _fill(code, space, to, size, source, copied)
        return const(0)
    return _emit_bounded(code, node, to, size, source)


def _fill(code: Code, space: Space, to: Operand, size: int, source: Operand, copied: Operand) -> None:
    """A string that was cut has its last character in the place of the NUL, by which it is known as cut (str_trunc_trailer)."""
    f = code.f
    full, done = f.label("full"), f.label("filled")
    f.branch(f.compare("eq", copied, const(size)), full, done, likely=False)
    f.place(full)
    code.read(space, code.inside(to, size - 1), 1, f.binary("add", code.as_number(source), const(size - 1)))
    f.place(done)


def _emit_bounded(code: Code, node: typed.Call, to: Operand, size: int, source: Operand) -> Operand:
    """str(p, n) gives n - 1 characters at most; a length beyond the capacity cuts nothing."""
    f = code.f
    assert isinstance(node.extra, Read)
    wanted = code.scalar(node.arguments[1])
    limit = f.select(f.compare("ult", wanted, const(size)), wanted, const(size))
    code.zero(to, size)
    # The barrier keeps LLVM from proving the bound away before the verifier has seen it.
    length = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {limit.text})', "i64")
    helper = Helper.PROBE_READ_USER_STR if node.extra.space is Space.USER else Helper.PROBE_READ_KERNEL_STR
    bounded, read, done = f.label("bounded"), f.label("readstr"), f.label("str")
    f.branch(f.compare("ule", length, const(size)), bounded, done)
    f.place(bounded)
    f.branch(f.compare("ne", length, const(0)), read, done)
    f.place(read)
    copied = code.reading(helper, to, f.cast("trunc", length, "i32"), code.as_pointer(source))
    if node.extra.space is not Space.BPF:
        beyond = f.label("beyond")
        f.branch(f.compare("ugt", wanted, const(size)), beyond, done, likely=False)
        f.place(beyond)
        _fill(code, node.extra.space, to, size, source, copied)
    f.place(done)
    return const(0)


STR = Builtin("str", _check_str, _emit_str, takes=(1, 2))
ALL = (STR,)
