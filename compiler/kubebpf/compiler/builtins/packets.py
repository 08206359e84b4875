"""skboutput: what a network buffer holds, into a pcap file.

skboutput("out.pcap", args.skb, args.skb.len, 14)     bytes 14 and on

bpf_skb_output copies from the buffer's start and only into perf buffers: the bytes in front of the offset are dropped by whoever
writes the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.artifact import manifest as m
from kubebpf.compiler.builtins.kernel import elsewhere, points_at
from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, literal_integer, literal_string
from kubebpf.compiler.complaints.helpers import NegativeLength
from kubebpf.compiler.complaints.typing import WrongArgument
from kubebpf.compiler.emit.describe import describe
from kubebpf.compiler.emit.events import LOST, lay_out, write_header
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.members import followed
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U32, U64, Pointer, Struct

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

PROVIDERS = ("fentry", "fexit", "rawtracepoint")
_BUFFERS = frozenset(("sk_buff",))
_MOST = (1 << 20) - 1  # BPF_F_CTXLEN_MASK
_THIS_CPU = (1 << 32) - 1  # BPF_F_CURRENT_CPU
_NO_ROOM = -28  # ENOSPC
_NUMBERS = 3  # time, bytes copied, bytes that there are


def _check(t: Typing, node: tree.Call) -> typed.Expr:
    if refused := elsewhere(t, node, PROVIDERS):
        return refused
    path, buffer = literal_string(t, node, 0), t.value(node.arguments[1])
    length, offset = integer(t, node, 2), literal_integer(t, node, 3)
    if path is None or offset is None or isinstance(buffer, typed.Bad) or isinstance(length, typed.Bad):
        return t.bad(node)
    if offset < 0:
        return t.bad(node, NegativeLength(span=node.arguments[3].span, name="skboutput", found=str(offset)))
    if not points_at(buffer, _BUFFERS):
        wanted = "a pointer to struct sk_buff"
        return t.bad(node, WrongArgument(span=buffer.span, name="skboutput", wanted=wanted, found=str(buffer.type)))
    arguments = (buffer, convert(length, U64), *_whole(t, node, buffer))
    return call(t, node, U32, arguments, (path, offset))


def _whole(t: Typing, node: tree.Call, buffer: typed.Expr) -> tuple[typed.Expr, ...]:
    """How many bytes the buffer has, where its type is known."""
    if not (isinstance(buffer.type, Pointer) and isinstance(buffer.type.target, Struct)):
        return ()
    written = node.arguments[1]
    assert not isinstance(written, tree.TypeSyntax)
    return (convert(t.value(tree.FieldAccess(written, "len", span=written.span)), U64),)


def _emit(code: Code, node: typed.Call) -> Operand:
    assert isinstance(node.extra, tuple)
    path, offset = node.extra
    f, number = code.f, typed.Constant(span=node.span, type=U64, value=0)
    wanted, whole = code.scalar(node.arguments[1]), [code.scalar(a) for a in node.arguments[2:]]
    copied = _copied(code, wanted, offset, whole)
    offsets, size = lay_out(m.HEADER_SIZES[code.module.options.header], (number,) * _NUMBERS)
    event = code.module.event(
        kind="skboutput", size=size, format=path, skip=offset, place=code.module.place(node.span),
        arguments=tuple(m.Argument(o, describe(U64)) for o in offsets),
    )  # fmt: skip
    record = code.temp(size)
    write_header(code, record, event.id)
    for at, value in zip(offsets, (code.helper(Helper.KTIME_GET_BOOT_NS), copied, *(whole or [copied])), strict=True):
        f.store(value, f.offset(record, at), align=8)
    flags = f.binary("or", f.binary("shl", copied, const(32)), const(_THIS_CPU))
    code.module.packets = True
    result = code.helper(
        Helper.SKB_OUTPUT, followed(code, node.arguments[0]), Operand(f"@{m.PACKETS}", "ptr"), flags, record, const(size)
    )
    _count_lost(code, result)
    return code.extend(result, U32)


def _copied(code: Code, wanted: Operand, offset: int, whole: list[Operand]) -> Operand:
    """From the start to the last byte wanted, if there are so many; the kernel refuses a length that the buffer does not have."""
    f = code.f
    end = f.binary("add", wanted, const(offset)) if offset else wanted
    if whole and offset:
        end = f.select(f.compare("ult", end, whole[0]), end, whole[0])
        end = f.select(f.compare("ugt", wanted, whole[0]), wanted, end)
    return f.select(f.compare("ult", end, const(_MOST)), end, const(_MOST))


def _count_lost(code: Code, result: Operand) -> None:
    full, done = code.f.label("lost"), code.f.label("sent")
    code.f.branch(code.f.compare("eq", result, const(_NO_ROOM)), full, done, likely=False)
    code.f.place(full)
    code.count_failure(LOST)
    code.f.jump(done)
    code.f.place(done)


ALL = (Builtin("skboutput", _check, _emit, takes=(4, 4)),)
