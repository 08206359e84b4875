"""First sight of a process: an event that tells the node to read its mappings while they are there.

A user address means nothing without the mappings of its process, and the process may have ended when a map is read. So a program
that keeps user addresses remembers, for each process, the address space (`mm`) that it saw last. Another one, a new process
or an exec, is announced once, by the event `process`.
"""

from __future__ import annotations

from kubebpf.compiler.artifact import manifest as m
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.describe import describe
from kubebpf.compiler.emit.events import write_header
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Label, Operand, const
from kubebpf.compiler.types.model import U32, Field, Struct

KIND = "process"


def announce(code: Code, pid: Operand, task: Struct, mm: Field) -> None:
    """Announce the current process unless its address space is known.

    Args:
        pid: as the tracer sees it.
        task: struct task_struct.
        mm: its member.
    """
    f = code.f
    code.module.processes = True
    current = f.call_pointer(Helper.GET_CURRENT_TASK_BTF)
    space = f.load("i64", code.module.relocations.member(f, current, task, mm), align=8)
    look, done = f.label("process"), f.label("announced")
    f.branch(f.compare("ne", space, const(0)), look, done)  # kernel threads have none
    f.place(look)
    _skip_last(code, pid, space, done)
    _skip_known(code, pid, space, done)
    f.place(done)


def _skip_last(code: Code, pid: Operand, space: Operand, done: Label) -> None:
    """The process that this CPU asked about last is known: a look into an array, which is no call."""
    f, key = code.f, code.slot("site", 4)
    f.store(const(0, "i32"), key, align=4)
    last = f.call_pointer(Helper.MAP_LOOKUP_ELEM, Operand(f"@{m.LAST_PROCESS}", "ptr"), key)
    there, same, other = f.label("last"), f.label("same"), f.label("other")
    f.branch(f.compare("ne", last, NULL), there, done, likely=True)
    f.place(there)
    # The memory of an address space is used again, often at once, by another process: both have to be the same.
    f.branch(f.compare("eq", f.load("i64", last, align=8), space), same, other, likely=True)
    f.place(same)
    f.branch(f.compare("eq", f.load("i64", f.offset(last, 8), align=8), pid), done, other, likely=True)
    f.place(other)
    f.store(space, last, align=8)
    f.store(pid, f.offset(last, 8), align=8)


def _skip_known(code: Code, pid: Operand, space: Operand, done: Label) -> None:
    """A process that was announced is known; any other is announced."""
    f, seen = code.f, Operand(f"@{m.PROCESSES}", "ptr")
    key, value = code.slot("process"), code.slot("address space")
    f.store(pid, key, align=8)
    known = f.call_pointer(Helper.MAP_LOOKUP_ELEM, seen, key)
    old, new = f.label("seen"), f.label("unseen")
    f.branch(f.compare("ne", known, NULL), old, new, likely=True)
    f.place(old)
    f.branch(f.compare("eq", f.load("i64", known, align=8), space), done, new, likely=True)
    f.place(new)
    _send(code, pid, done)
    f.store(space, value, align=8)
    code.helper(Helper.MAP_UPDATE_ELEM, seen, key, value, const(0))


def _send(code: Code, pid: Operand, unsent: Label) -> None:
    """Send the event; a full ring is no loss, because an event behind one of another process tries again."""
    f, event = code.f, _event(code)
    record = f.call_pointer(Helper.RINGBUF_RESERVE, Operand(f"@{m.RING}", "ptr"), const(event.size), const(0))
    room = f.label("room")
    f.branch(f.compare("ne", record, NULL), room, unsent)
    f.place(room)
    write_header(code, record, event.id)
    f.store(pid, f.offset(record, event.arguments[0].offset), align=8)
    code.helper(Helper.RINGBUF_SUBMIT, record, const(0))


def _event(code: Code) -> m.Event:
    for event in code.module.events:
        if event.kind == KIND:
            return event
    start = m.HEADER_SIZES[code.module.options.header]
    return code.module.event(kind=KIND, size=start + 8, arguments=(m.Argument(start, describe(U32)),))
