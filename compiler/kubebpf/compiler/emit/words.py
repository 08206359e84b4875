"""Records of a length that only the run knows: the strings of an argv, one behind the other.

join(args.argv)   ->   {header, u32 length, "ls\\0-l\\0/tmp\\0"}
"""

from __future__ import annotations

from kubebpf.compiler.artifact import manifest as m
from kubebpf.compiler.artifact.types import DBuffer
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.events import LOST, write_header
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Label, Operand, const
from kubebpf.compiler.emit.rate import test_rate
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Array, Space

WORDS, WORD_BYTES = 16, 1024  # strings of an argv, and bytes of each: what is beyond is left out, as upstream does
ROOM = WORDS * WORD_BYTES
LENGTH_BYTES = 4


def send_words(code: Code, kind: str, span: Span, argument: typed.Expr, space: Space, **fields: object) -> None:
    """Send the strings that pointers point to.

    Args:
        kind: of the event.
        span: the call in the text.
        argument: the address of the first pointer; the last one is null. Or an array of pointers.
        space: where pointers and strings are.
        fields: further members of the manifest's Event.
    """
    f = code.f
    start = m.HEADER_SIZES[code.module.options.header]
    event = code.module.event(
        kind=kind,
        size=start + LENGTH_BYTES,
        place=code.module.place(span),
        arguments=(m.Argument(start, DBuffer(ROOM)),),
        **fields,
    )
    held = isinstance(argument.type, Array)
    source = code.address(argument) if held else code.scalar(argument)
    record = code.temp(start + LENGTH_BYTES + ROOM)
    end = code.register()
    f.store(const(0), end, align=8)
    write_header(code, record, event.id)
    words = f.offset(record, start + LENGTH_BYTES)
    stop = f.label("words")
    for i in range(min(WORDS, argument.type.length) if isinstance(argument.type, Array) else WORDS):
        pointer = f.load("i64", f.offset(source, i * 8), align=8) if held else _pointer(code, space, source, i, stop)
        _append(code, space, words, end, pointer, stop)
    f.place(stop)
    _send(code, record, end, start)


def _pointer(code: Code, space: Space, source: Operand, index: int, stop: Label) -> Operand:
    """The pointer of that number; none behind a null or a fault."""
    f = code.f
    place = code.slot("word")
    f.store(const(0), place, align=8)
    code.read(space, place, 8, f.binary("add", code.as_number(source), const(index * 8)))
    pointer, more = f.load("i64", place, align=8), f.label("word")
    f.branch(f.compare("eq", pointer, const(0)), stop, more)
    f.place(more)
    return pointer


def _append(code: Code, space: Space, words: Operand, end: Operand, pointer: Operand, stop: Label) -> None:
    """One string with its NUL; one that cannot be read is left empty."""
    f = code.f
    offset = _bounded(code, f.load("i64", end, align=8), ROOM - WORD_BYTES, stop)
    place = f.offset(words, offset)
    f.store(const(0, "i8"), place, align=1)
    length = code.read_string(space, place, WORD_BYTES, pointer, padded=False)
    read = f.compare("sgt", length, const(0))
    f.store(f.binary("add", offset, f.select(read, length, const(1))), end, align=8)


def _bounded(code: Code, value: Operand, most: int, otherwise: Label) -> Operand:
    """The number, which the verifier then knows not to be above `most`; the barrier keeps LLVM from dropping the test."""
    f = code.f
    value = f.value(f'call i64 asm sideeffect "", "=r,0"(i64 {value.text})', "i64")
    inside = f.label("bounded")
    f.branch(f.compare("ule", value, const(most)), inside, otherwise)
    f.place(inside)
    return value


def _send(code: Code, record: Operand, end: Operand, start: int) -> None:
    f = code.f
    lost, done = f.label("lost"), f.label("sent")
    test_rate(code, "join", lost)
    length = _bounded(code, f.load("i64", end, align=8), ROOM, lost)
    f.store(f.cast("trunc", length, "i32"), f.offset(record, start), align=4)
    ring = Operand(f"@{m.RING}", "ptr")
    result = code.helper(Helper.RINGBUF_OUTPUT, ring, record, f.binary("add", length, const(start + LENGTH_BYTES)), const(0))
    f.branch(f.compare("eq", result, const(0)), done, lost, likely=True)
    f.place(lost)
    code.count_failure(LOST)
    f.place(done)
