"""Bytes as they are: buf, and addresses of the network as bytes: ntop, pton, macaddr."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.bytes import bounded, is_text, raw
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, literal_string, wrong_argument
from kubebpf.compiler.complaints.helpers import BadAddress, LengthMissing, NegativeLength, WrongBytes
from kubebpf.compiler.complaints.typing import WrongArgument
from kubebpf.compiler.emit.conditions import chunks
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.passes.conversions import convert, is_integer
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U8, U64, Array, Buffer, Pointer, Resolved, Space, String, Type, sizeof
from kubebpf.compiler.types.promote import is_integral, is_scalar

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

LENGTH_BYTES = 4  # in front of a buffer's content
MAC_BYTES = 6


def _space(code: Code, t: Type) -> Space:
    """Where an address points to; a plain number, to what the probe is about."""
    if isinstance(t, Pointer) and t.space is not Space.NONE:
        return t.space
    return code.target.provider.space


# --- buf --------------------------------------------------------------------------------------------------------------


def _check_buf(t: Typing, node: tree.Call) -> typed.Expr:
    data = raw(t.value(node.arguments[0]))
    length = integer(t, node, 1) if len(node.arguments) > 1 else None
    if isinstance(data, typed.Bad) or isinstance(length, typed.Bad):
        return t.bad(node)
    if not is_scalar(data.type) and not isinstance(data.type, String | Array | Buffer):
        wanted = "an integer, a pointer, a string or an array"
        return t.bad(node, WrongArgument(span=data.span, name="buf", wanted=wanted, found=str(data.type)))
    if length is None and is_scalar(data.type):
        return t.bad(node, LengthMissing(span=node.span, type=str(data.type)))
    if isinstance(length, typed.Constant) and length.value < 0:
        return t.bad(node, NegativeLength(span=length.span, name="buf", found=str(length.value)))
    most = t.settings.max_strlen if is_scalar(data.type) else min(_held(data.type), t.settings.max_strlen)
    if length is None or isinstance(length, typed.Constant):
        size = most if length is None else min(length.value, most)
        return call(t, node, Buffer(size), (data,))
    return call(t, node, Buffer(most), (data, convert(length, U64)))


def _held(t: Type) -> int:
    """How many bytes of content a value in memory has."""
    return t.size if isinstance(t, Buffer) else sizeof(t)


def _emit_buf(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.type, Buffer)
    f, to, size = code.f, code.destination, node.type.size
    data = node.arguments[0]
    length = const(size) if len(node.arguments) < 2 else bounded(code, code.scalar(node.arguments[1]), size)
    source = code.scalar(data) if is_scalar(data.type) else code.address(data)
    f.store(f.cast("trunc", length, "i32"), to, align=4)
    content = code.inside(to, LENGTH_BYTES)
    if len(node.arguments) > 1:
        code.zero(content, size)
    if not size:
        return const(0)
    if is_scalar(data.type):
        code.read(_space(code, data.type), content, f.cast("trunc", length, "i32"), source)
        return const(0)
    start = code.inside(source, LENGTH_BYTES) if isinstance(data.type, Buffer) else source
    if len(node.arguments) > 1:
        code.read(Space.KERNEL, content, f.cast("trunc", length, "i32"), start)
    else:
        code.copy(content, start, size)
    return const(0)


# --- ntop -------------------------------------------------------------------------------------------------------------

INET_SIZES = {4: socket.AF_INET, 16: socket.AF_INET6}


def _check_ntop(t: Typing, node: tree.Call) -> typed.Expr:
    family = integer(t, node, 0) if len(node.arguments) > 1 else None
    address = raw(t.value(node.arguments[-1]))
    if isinstance(family, typed.Bad) or isinstance(address, typed.Bad):
        return t.bad(node)
    size = _address_size(address)
    if size is None:
        return t.bad(node, wrong_argument(node, address, "an integer or an array"))
    if size not in INET_SIZES:
        found = f"{size} bytes"
        return t.bad(node, WrongBytes(span=address.span, name="ntop", wanted="4 bytes or 16 bytes", found=found))
    if family is None:
        family = typed.Constant(span=node.span, type=U64, value=INET_SIZES[size])
    return call(t, node, Resolved("inet", 24), (convert(family, U64), address))


def _address_size(value: typed.Expr) -> int | None:
    """The bytes of an address; None when the value is none."""
    if is_integer(value):
        return 4
    t = value.type
    return sizeof(t) if is_text(t) or (isinstance(t, Array) and is_integral(t.element)) else None


def _emit_ntop(code: Code, node: typed.Call) -> Operand:
    f, to = code.f, code.destination
    family, address = node.arguments
    number = code.scalar(address) if is_scalar(address.type) else None
    place = None if number is not None else code.address(address)
    f.store(code.scalar(family), to, align=8)
    code.zero(f.offset(to, 8), 16)
    if number is not None:
        f.store(f.cast("trunc", number, "i32"), f.offset(to, 8), align=8)
    elif place is not None:
        code.copy(f.offset(to, 8), place, sizeof(address.type))
    return const(0)


# --- pton -------------------------------------------------------------------------------------------------------------


def _check_pton(t: Typing, node: tree.Call) -> typed.Expr:
    text = literal_string(t, node, 0)
    if text is None:
        return t.bad(node)
    try:
        data = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return t.bad(node, BadAddress(span=node.arguments[0].span, text=text))
    return call(t, node, Array(U8, len(data)), extra=data)


def _emit_pton(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, bytes)
    for offset, width in chunks(len(node.extra)):
        value = int.from_bytes(node.extra[offset : offset + width], "little", signed=True)
        code.f.store(const(value, f"i{width * 8}"), code.f.offset(code.destination, offset), align=1)
    return const(0)


# --- macaddr ----------------------------------------------------------------------------------------------------------


def _check_macaddr(t: Typing, node: tree.Call) -> typed.Expr:
    address = raw(t.value(node.arguments[0]))
    if isinstance(address, typed.Bad):
        return address
    if isinstance(address, typed.Text) or (not isinstance(address.type, Pointer) and _address_size(address) is None):
        return t.bad(node, wrong_argument(node, address, "an integer, a pointer or an array of 6 bytes"))
    if not is_scalar(address.type) and sizeof(address.type) < MAC_BYTES:
        found = f"{sizeof(address.type)} bytes"
        return t.bad(node, WrongBytes(span=address.span, name="macaddr", wanted="6 bytes", found=found))
    return call(t, node, Resolved("macaddr", MAC_BYTES), (address,))


def _emit_macaddr(code: Code, node: typed.Call) -> Operand:
    to = code.destination
    (address,) = node.arguments
    if is_scalar(address.type):
        code.read(_space(code, address.type), to, MAC_BYTES, code.scalar(address))
    else:
        code.copy(to, code.address(address), MAC_BYTES)
    return const(0)


ALL = (
    Builtin("buf", _check_buf, _emit_buf, takes=(1, 2)),
    Builtin("ntop", _check_ntop, _emit_ntop, takes=(1, 2)),
    Builtin("pton", _check_pton, _emit_pton, takes=(1, 1)),
    Builtin("macaddr", _check_macaddr, _emit_macaddr, takes=(1, 1)),
)
