"""Helpers about strings and memory: strlen, strcap, strncmp, strstr, strcontains, str_concat, memcmp, bswap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.bytes import address_of, bounded, own, raw, size_of, text_argument, text_of
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer
from kubebpf.compiler.builtins.strings import STR, Read
from kubebpf.compiler.complaints.helpers import NegativeLength
from kubebpf.compiler.emit import routines
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, I64, U64, Int, Pointer, Space, String, Type
from kubebpf.compiler.types.promote import as_int

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing


def _number(node: tree.Call, type_: Type, value: int) -> typed.Expr:
    return typed.Constant(span=node.span, type=type_, value=value, literal=True)


# --- strlen, strcap ---------------------------------------------------------------------------------------------------


def _check_strlen(t: Typing, node: tree.Call) -> typed.Expr:
    value = text_argument(t, node, 0)
    if isinstance(value, typed.Bad):
        return value
    known = text_of(value)
    return call(t, node, U64, (value,)) if known is None else _number(node, U64, len(known))


def _emit_strlen(code: Code, node: typed.Call) -> Operand:
    (value,) = node.arguments
    return length(code, value)


def length(code: Code, value: typed.Expr) -> Operand:
    """The bytes before the NUL. The helper that copies a string tells how long it was, so no loop looks for the end. Arrays and
    strings that were cut have no NUL; one byte more tells that from a NUL at the end."""
    if _reads_traced(value):
        assert isinstance(value, typed.Call) and isinstance(value.extra, Read)
        size = size_of(value) + value.extra.whole
        return _copied(code, value.extra.space, size, code.as_pointer(code.scalar(value.arguments[0])), code.temp(size))
    size = size_of(value) + 1
    return _copied(code, Space.KERNEL, size, code.address(value), code.temp(size))


def _reads_traced(value: typed.Expr) -> bool:
    """Whether the value is str(pointer), which need not be read twice."""
    if not isinstance(value, typed.Call) or value.builtin is not STR or not isinstance(value.extra, Read):
        return False
    return not value.extra.dynamic and value.extra.space in (Space.KERNEL, Space.USER)


def _copied(code: Code, space: Space, size: int, source: Operand, to: Operand) -> Operand:
    """How many bytes a string had that was copied; 0 when that failed."""
    copied = code.read_string(space, to, size, source, padded=False)
    return code.f.select(code.f.compare("sgt", copied, const(0)), code.f.binary("sub", copied, const(1)), const(0))


def _check_strcap(t: Typing, node: tree.Call) -> typed.Expr:
    value = text_argument(t, node, 0)
    if isinstance(value, typed.Bad):
        return value
    behind_pointer = isinstance(value, typed.Call) and value.span == node.arguments[0].span and value.builtin is STR
    if behind_pointer and isinstance(t.value(node.arguments[0]).type, Pointer):
        return call(t, node, I64, (value,))
    return _number(node, I64, size_of(value))


# --- comparing --------------------------------------------------------------------------------------------------------


def _check_strncmp(t: Typing, node: tree.Call) -> typed.Expr:
    values = [text_argument(t, node, i) for i in range(2)]
    count = t.value(node.arguments[2])
    if any(isinstance(v, typed.Bad) for v in (*values, count)):
        return t.bad(node)
    if not isinstance(count, typed.Constant) or count.value < 0:
        found = str(count.value) if isinstance(count, typed.Constant) else str(count.type)
        return t.bad(node, NegativeLength(span=count.span, name=node.name, found=found))
    left, right = map(text_of, values)
    if left is not None and right is not None:
        return _number(node, I64, int(left[: count.value] != right[: count.value]))
    return call(t, node, I64, tuple(values), count.value)


def _emit_strncmp(code: Code, node: typed.Call) -> Operand:
    """1 when they differ, as upstream gives it."""
    assert isinstance(node.extra, int)
    left, right = node.arguments
    size = min(node.extra, size_of(left), size_of(right))
    if not size:
        return const(0)
    order = _compare(code, size, own(code, left), own(code, right), const(size), strings=True)
    return code.f.cast("zext", code.f.compare("ne", order, const(0)), "i64")


def _compare(code: Code, size: int, left: Operand, right: Operand, count: Operand, *, strings: bool) -> Operand:
    function = routines.compare(code.module, size, strings=strings)
    return code.f.value(f"call i64 {function}({left}, {right}, {count})", "i64")


def _check_memcmp(t: Typing, node: tree.Call) -> typed.Expr:
    left, right = (raw(t.value(a)) for a in node.arguments[:2])
    count = integer(t, node, 2)
    if any(isinstance(v, typed.Bad) for v in (left, right, count)):
        return t.bad(node)
    if isinstance(count, typed.Constant) and count.value < 0:
        return t.bad(node, NegativeLength(span=count.span, name=node.name, found=str(count.value)))
    return call(t, node, Int(32, True), (left, right, convert(count, U64)), t.settings.max_strlen)


def _emit_memcmp(code: Code, node: typed.Call) -> Operand:
    left, right, count = node.arguments
    size = min(_extent(node, left), _extent(node, right))
    if isinstance(count, typed.Constant):
        size = min(size, count.value)
    if not size:
        return const(0)
    number = const(size) if isinstance(count, typed.Constant) else bounded(code, code.scalar(count), size)
    places = [_bytes_of(code, value, size, number) for value in (left, right)]
    return _compare(code, size, places[0], places[1], number, strings=False)


def _extent(node: typed.Call, value: typed.Expr) -> int:
    """How many bytes there are to compare; a pointer does not tell."""
    assert isinstance(node.extra, int)
    return node.extra if isinstance(value.type, Pointer) else size_of(value)


def _bytes_of(code: Code, value: typed.Expr, size: int, count: Operand) -> Operand:
    if not isinstance(value.type, Pointer):
        return address_of(code, value)
    memory = code.temp(size)
    code.zero(memory, size)
    code.read(_space(code, value.type), memory, code.f.cast("trunc", count, "i32"), code.scalar(value))
    return memory


def _space(code: Code, pointer: Pointer) -> Space:
    return pointer.space if pointer.space is not Space.NONE else code.target.provider.space


# --- searching --------------------------------------------------------------------------------------------------------


def _check_strstr(t: Typing, node: tree.Call) -> typed.Expr:
    texts = [text_argument(t, node, i) for i in range(2)]
    if any(isinstance(v, typed.Bad) for v in texts):
        return t.bad(node)
    text, needle = map(text_of, texts)
    contains = node.name == "strcontains"
    if text is not None and needle is not None:
        return _number(node, BOOL, int(needle in text)) if contains else _number(node, I64, text.find(needle))
    return call(t, node, BOOL if contains else I64, tuple(texts))


def _emit_strstr(code: Code, node: typed.Call) -> Operand:
    text, needle = node.arguments
    function = routines.find(code.module, size_of(text), size_of(needle))
    return code.f.value(f"call i64 {function}({own(code, text)}, {own(code, needle)})", "i64")


def _emit_strcontains(code: Code, node: typed.Call) -> Operand:
    return code.f.cast("zext", code.f.compare("sge", _emit_strstr(code, node), const(0)), "i64")


# --- str_concat -------------------------------------------------------------------------------------------------------


def _check_concat(t: Typing, node: tree.Call) -> typed.Expr:
    left, right = (text_argument(t, node, i) for i in range(2))
    if isinstance(left, typed.Bad) or isinstance(right, typed.Bad):
        return t.bad(node)
    first, second = text_of(left), text_of(right)
    if first is not None and second is not None:
        return typed.Text(span=node.span, type=String(len(first + second) + 1), value=first + second)
    return call(t, node, String(_joined_size(t, left, right)), (left, right))


def _joined_size(t: Typing, left: typed.Expr, right: typed.Expr) -> int:
    """Room for both, at most the length of strings. What is put together out of variables gets all of it: the result may go
    into the same variable, whose size could not settle otherwise."""
    most = max(t.settings.max_strlen, size_of(left), size_of(right))
    grows = any(isinstance(e, typed.ReadVariable | typed.ReadMap) for e in (left, right))
    return most if grows else min(size_of(left) + size_of(right), most)


def _emit_concat(code: Code, node: typed.Call) -> Operand:
    """The first string, then the second over its NUL."""
    to = code.destination
    left, right = node.arguments
    size = size_of(node)
    places = [code.address(value) for value in (left, right)]
    code.zero(to, size)
    room = min(size_of(left) + 1, size)
    used = bounded(code, _copied(code, Space.KERNEL, room, places[0], to), room - 1)
    behind = size_of(right) + 1
    if room - 1 + behind > size:
        _cut(code, to, used, places[1], size, behind)
    else:
        code.helper(Helper.PROBE_READ_KERNEL_STR, code.inside(to, used), const(behind, "i32"), places[1])
    return const(0)


def _cut(code: Code, to: Operand, used: Operand, second: Operand, size: int, behind: int) -> None:
    """The second string cut to the room that is left. The verifier does not see that two unknown numbers add up to a known size,
    so both strings are put together where there is room for all of them."""
    whole = code.temp(size + behind)
    code.copy(whole, to, size)
    code.helper(Helper.PROBE_READ_KERNEL_STR, code.inside(whole, used), const(behind, "i32"), second)
    code.helper(Helper.PROBE_READ_KERNEL_STR, to, const(size, "i32"), whole)


# --- bswap ------------------------------------------------------------------------------------------------------------


def _check_bswap(t: Typing, node: tree.Call) -> typed.Expr:
    value = integer(t, node, 0)
    if isinstance(value, typed.Bad):
        return value
    result = Int(as_int(value.type).bits, False)
    if isinstance(value, typed.Constant):
        data = (value.value & ((1 << result.bits) - 1)).to_bytes(result.bits // 8, "little")
        return _number(node, result, int.from_bytes(data, "big"))
    return call(t, node, result, (value,))


def _emit_bswap(code: Code, node: typed.Call) -> Operand:
    bits = as_int(node.type).bits
    value = code.f.cast("trunc", code.scalar(node.arguments[0]), f"i{bits}")
    if bits > 8:
        value = code.f.value(f"call i{bits} @llvm.bswap.i{bits}({value})", f"i{bits}")
    return code.f.cast("zext", value, "i64")


ALL = (
    Builtin("strlen", _check_strlen, _emit_strlen, takes=(1, 1)),
    Builtin("strcap", _check_strcap, _emit_strlen, takes=(1, 1)),
    Builtin("strncmp", _check_strncmp, _emit_strncmp, takes=(3, 3)),
    Builtin("memcmp", _check_memcmp, _emit_memcmp, takes=(3, 3)),
    Builtin("strstr", _check_strstr, _emit_strstr, takes=(2, 2)),
    Builtin("strcontains", _check_strstr, _emit_strcontains, takes=(2, 2)),
    Builtin("str_concat", _check_concat, _emit_concat, takes=(2, 2)),
    Builtin("bswap", _check_bswap, _emit_bswap, takes=(1, 1)),
)
