"""Records of the ring buffer: reserved, filled in place, submitted. When the ring is full, the loss is counted.

printf("%d %s\\n", pid, comm)   ->   {u32 id, u32 0, u32 pid, char comm[16]} and a layout in the manifest
"""

from __future__ import annotations

from collections.abc import Sequence

from kubebpf.compiler.artifact import manifest as m
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.describe import describe
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Operand, const
from kubebpf.compiler.emit.rate import test_rate
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import alignof, round_up, sizeof
from kubebpf.compiler.types.promote import is_scalar

LOST = 0  # the site that counts events for which there was no room


def send(
    code: Code, kind: str, span: Span, arguments: Sequence[typed.Expr] = (), *, known: Sequence[Operand] = (), **fields: object
) -> m.Event:
    """Send an event with these values.

    Args:
        kind: as the manifest names it.
        span: the call in the text.
        known: the arguments, when they are numbers that were computed already.
        fields: further members of the manifest's Event.
    Returns: the layout.
    """
    # Numbers first, in the order of the text: what they call must not run while a reservation is held.
    scalars = known if known and arguments else [code.scalar(a) if is_scalar(a.type) else None for a in arguments]
    # Statements inside a value may leave the program, which must not happen while a reservation is held: these are made before.
    held = [code.address(a) if has_statements(a) and not is_scalar(a.type) else None for a in arguments]
    made = [scalar or memory for scalar, memory in zip(scalars, held, strict=True)]
    offsets, size = lay_out(m.HEADER_SIZES[code.module.options.header], arguments)
    event = code.module.event(
        kind=kind,
        size=size,
        place=code.module.place(span),
        arguments=tuple(m.Argument(o, describe(a.type)) for o, a in zip(offsets, arguments, strict=True)),
        **fields,
    )
    _fill(code, event, arguments, made, offsets)
    return event


def has_statements(node: object) -> bool:
    """Whether a block of statements stands anywhere in an expression."""
    if isinstance(node, tuple):
        return any(map(has_statements, node))
    if not isinstance(node, typed.Expr):
        return False
    if isinstance(node, typed.BlockValue | typed.Invoke):
        return True
    return any(has_statements(getattr(node, name)) for name in node.__slots__)


def lay_out(start: int, arguments: Sequence[typed.Expr]) -> tuple[list[int], int]:
    """The offset of each value behind a header of `start` bytes, and the size of the whole."""
    offsets, end = [], start
    for argument in arguments:
        end = round_up(end, alignof(argument.type))
        offsets.append(end)
        end += sizeof(argument.type)
    return offsets, round_up(end, 8)


def _fill(
    code: Code, event: m.Event, arguments: Sequence[typed.Expr], made: Sequence[Operand | None], offsets: Sequence[int]
) -> None:
    f = code.f
    ring = Operand(f"@{m.RING}", "ptr")
    full, room, done = f.label("lost"), f.label("room"), f.label("sent")
    test_rate(code, event.kind, full)
    record = f.call_pointer(Helper.RINGBUF_RESERVE, ring, const(event.size), const(0))
    f.branch(f.compare("eq", record, NULL), full, room, likely=False)
    f.place(full)
    code.count_failure(LOST)
    f.jump(done)
    f.place(room)
    write_header(code, record, event.id)
    for argument, value, offset in zip(arguments, made, offsets, strict=True):
        place = f.offset(record, offset)
        if value is not None and is_scalar(argument.type):
            code.store(argument.type, value, place, align=alignof(argument.type))
        elif value is not None:
            code.copy(place, value, sizeof(argument.type))
        else:
            code.into(argument, place, padded=False)
    code.helper(Helper.RINGBUF_SUBMIT, record, const(0))
    f.place(done)


def write_header(code: Code, record: Operand, number: int) -> None:
    """The start of a record: the number of its event, and with "context" headers when and where it was made."""
    f = code.f
    if code.module.options.header == "plain":
        f.store(const(number), record, align=8)
        return
    f.store(const(number, "i32"), record, align=8)
    cpu = code.helper(Helper.GET_SMP_PROCESSOR_ID)
    f.store(f.cast("trunc", cpu, "i32"), f.offset(record, 4), align=4)
    f.store(code.helper(Helper.KTIME_GET_BOOT_NS), f.offset(record, 8), align=8)
    f.store(code.helper(Helper.GET_CURRENT_CGROUP_ID), f.offset(record, 16), align=8)
