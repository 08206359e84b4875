"""The arguments of tracepoints: what `args.NAME` is, and the way to it in the record that the kernel hands to the program.

    args = Tracepoints(btf, Formats.find()).args("syscalls", "sys_enter_read")
    args.field("buf")   -> TracepointField("buf", Pointer(int8, USER), struct trace_event_raw_sys_enter, "args", index 1, …)

The record is a struct that BTF knows: `trace_event_raw_<class>`, where a class is one event or several that share a layout. CO-RE
then finds a field on every kernel, whatever its offset there. Which class an event belongs to is told, in this order, by: its own
name; the format, when there is a tracefs, compared with the classes whose probe function takes the event's arguments; the table
that comes with the package (hack/gen-tracepoints.py); the arguments alone, when only one class takes them. System calls all share
`trace_event_raw_sys_enter`: an argument is a slot of its `args` array, of the type that the system call declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from kubebpf.compiler.kernel import packaged, spelling
from kubebpf.compiler.kernel.btf import CHAR, Btf
from kubebpf.compiler.kernel.btf_raw import Kind
from kubebpf.compiler.kernel.ctype import Declaration, Resolver, parse
from kubebpf.compiler.kernel.formats import FormatField, Formats
from kubebpf.compiler.types.model import Array, Field, Int, Pointer, Space, Struct, Type, sizeof

_RAW = "trace_event_raw_"
_PROBE = "trace_event_raw_event_"  # the function that fills the record of a class (include/trace/trace_events.h)
_LOCATIONS = ("__data_loc_", "__rel_loc_")
_ARGS_OFFSET, _ARGS_MAX = 16, 6  # of trace_event_raw_sys_enter.args, where BTF does not tell


@dataclass(frozen=True, slots=True)
class TracepointField:
    """One argument, and the way to it.

    To read it, take the address of `struct`.`member` (its element `index` unless that is None) by CO-RE, or of the byte at
    `offset` when `struct` is None, and load `size` bytes there: the member may be wider than the value. (The kernel writes 4
    bytes into the 8 of `trace_event_raw_sys_enter.id`, perf_call_bpf_enter in kernel/trace/trace_syscalls.c.)

    Args:
        name: as the program writes it.
        type: of the value; a pointer to the first element where `data_loc` is set.
        struct: the BTF struct of the record, or None.
        member: the member of it.
        index: the element, when the member is an array of system call arguments.
        data_loc: the field is a u32 whose low 16 bits say where the data is and whose high 16 bits say how many bytes there are.
        relative: that place counts from the end of the field itself (`__rel_loc`), not from the start of the record.
        offset: of the field in the record of the kernel that was looked at, in bytes.
        size: in bytes, 4 for `data_loc`.
        declared: the declaration in C, for listings.
    """

    name: str
    type: Type
    struct: Struct | None
    member: str
    index: int | None
    data_loc: bool
    relative: bool
    offset: int
    size: int
    declared: str


@dataclass(frozen=True, slots=True)
class TracepointArgs:
    """The arguments of one tracepoint.

    Args:
        category, event: its name.
        fields: in the order of the record.
        struct: the BTF struct of the record, or None when fields are at fixed offsets.
        known: False when the tracepoint exists and nothing is known of its arguments.
    """

    category: str
    event: str
    fields: tuple[TracepointField, ...] = ()
    struct: Struct | None = None
    known: bool = True

    def field(self, name: str) -> TracepointField | None:
        """The argument with this name."""
        return next((f for f in self.fields if f.name == name), None)


class Tracepoints:
    """The tracepoints of one kernel.

    Args:
        btf: of the kernel, or of one of its modules.
        formats: its tracefs; None where there is none.
    """

    def __init__(self, btf: Btf, formats: Formats | None) -> None:
        self.btf = btf
        self.formats = formats

    def args(self, category: str, event: str) -> TracepointArgs | None:
        """The arguments of a tracepoint, None when this kernel does not have it."""
        if self.formats:
            fields = self.formats.read(category, event)
            return None if fields is None else self._from_format(category, event, fields)
        if category == "syscalls":
            return self._from_table(event)
        return self._from_btf(category, event)

    def _from_format(self, category: str, event: str, fields: tuple[FormatField, ...]) -> TracepointArgs:
        parsed = [(parse(f.declaration), f) for f in fields]
        if category == "syscalls" and event.startswith("sys_enter_"):
            return self._enter(event, [d for d, _ in parsed[1:]])
        struct = self.btf.struct(_RAW + "sys_exit") if category == "syscalls" else self.class_by_format(event, parsed)
        places = _by_member(struct) if struct else {}
        made = [self._field(d, f, struct, places) for d, f in parsed if d.name]
        return TracepointArgs(category, event, tuple(made), struct)

    def _field(self, d: Declaration, f: FormatField, struct: Struct | None, places: dict[str, Field]) -> TracepointField:
        member = f"{d.location}_{d.name}" if d.location else {"__syscall_nr": "id"}.get(d.name, d.name)
        place = places.get(member)
        resolver = Resolver(self.btf)
        if d.location:
            value: Type = Pointer(resolver.type(d) or Int(8, False), Space.KERNEL)
        elif place and sizeof(place.type) == f.size:
            value = place.type
        else:
            value = resolver.sized(d, f.size, f.signed)
        return TracepointField(
            d.name, value, struct if place else None, member if place else "", None,
            bool(d.location), d.location == "__rel_loc", f.offset, f.size, d.text,
        )  # fmt: skip

    def class_by_format(self, event: str, parsed: list[tuple[Declaration, FormatField]]) -> Struct | None:
        """The record's struct: its members must be the fields of the format, byte for byte."""
        wanted = {(f"{d.location}_{d.name}" if d.location else d.name): (f.offset, f.size) for d, f in parsed}
        for name in (event, *_nearest(event, self._classes(event))):
            struct = self.btf.struct(_RAW + name)
            if struct and _layout(struct) == wanted:
                return struct
        return None

    def _from_btf(self, category: str, event: str) -> TracepointArgs | None:
        if self.btf.raw.find(f"btf_trace_{event}", (Kind.TYPEDEF,)) is None:
            return None
        own = packaged.category_of(event)
        if own and category not in own:
            return None
        struct = self._class_by_name(category, event)
        if struct is None:
            return TracepointArgs(category, event, known=False)
        return TracepointArgs(category, event, tuple(self._from_members(struct)), struct)

    def _class_by_name(self, category: str, event: str) -> Struct | None:
        if struct := self.btf.struct(_RAW + event):
            return struct
        candidates = self._classes(event)
        named = packaged.class_of(category, event)
        if named in candidates:
            return self.btf.struct(_RAW + named)
        # Two classes with one prototype look alike from here, and reading the wrong one would give wrong numbers without a word.
        return self.btf.struct(_RAW + candidates[0]) if len(candidates) == 1 else None

    def _from_members(self, struct: Struct) -> Iterator[TracepointField]:
        for member, spelt in zip(struct.fields, spelling.members(struct), strict=True):
            if member.name in ("ent", "__data", ""):
                continue
            mark = next((m for m in _LOCATIONS if member.name.startswith(m)), "")
            name = member.name.removeprefix(mark)
            # BTF has no element type of a dynamic array; nearly all are text.
            value = Pointer(Int(8, False, CHAR), Space.KERNEL) if mark else member.type
            declared = f"{mark.rstrip('_')} char[] {name}" if mark else spelt
            yield TracepointField(
                name, value, struct, member.name, None,
                bool(mark), mark == "__rel_loc_", member.offset, sizeof(member.type), declared,
            )  # fmt: skip

    def _from_table(self, event: str) -> TracepointArgs | None:
        if self.btf.raw.find("btf_trace_sys_enter", (Kind.TYPEDEF,)) is None:
            return None  # built without CONFIG_FTRACE_SYSCALLS
        for prefix in ("sys_enter_", "sys_exit_"):
            declarations = packaged.syscall(event.removeprefix(prefix)) if event.startswith(prefix) else None
            if declarations is not None and prefix == "sys_enter_":
                return self._enter(event, [parse(d) for d in declarations])
            if declarations is not None:
                fields = (FormatField("int __syscall_nr", 8, 4, True), FormatField("long ret", 16, 8, True))
                return self._from_format("syscalls", event, fields)
        return None

    def _enter(self, event: str, declarations: list[Declaration]) -> TracepointArgs:
        struct = self.btf.struct(_RAW + "sys_enter")
        number = self._field(parse("int __syscall_nr"), FormatField("int __syscall_nr", 8, 4, True), struct, _by_member(struct))
        resolver = Resolver(self.btf, Space.USER)
        start = next((f.offset for f in struct.fields if f.name == "args"), _ARGS_OFFSET) if struct else _ARGS_OFFSET
        fields = [number]
        for i, d in enumerate(declarations[:_ARGS_MAX]):
            value = resolver.type(d) or Int(64, False)
            value = Int(64, False) if isinstance(value, Array | Struct) else value
            member = "args" if struct else ""
            where = (member, i if struct else None, False, False, start + 8 * i)
            fields.append(TracepointField(d.name, value, struct, *where, sizeof(value), d.text))
        return TracepointArgs("syscalls", event, tuple(fields), struct)

    def _classes(self, event: str) -> tuple[str, ...]:
        """The classes whose probe function takes just what the event's `btf_trace_<event>` says, typedefs seen through."""
        number = self.btf.raw.find(f"btf_trace_{event}", (Kind.TYPEDEF,))
        if number is None:
            return ()
        proto = self.btf.raw.target(self.btf.raw.target(number))
        return self._by_signature.get(self._signature(proto), ())

    @cached_property
    def _by_signature(self) -> dict[tuple[int, ...], tuple[str, ...]]:
        """Parameter types -> classes. The numbers of types are compared: pahole keeps each type once."""
        found: dict[tuple[int, ...], list[str]] = {}
        raw = self.btf.raw
        while True:
            for name, number in raw.starting(_PROBE, Kind.FUNC):
                found.setdefault(self._signature(raw.target(number)), []).append(name.removeprefix(_PROBE))
            if raw.base is None:
                return {signature: tuple(dict.fromkeys(names)) for signature, names in found.items()}
            raw = raw.base

    def _signature(self, proto: int) -> tuple[int, ...]:
        # DEFINE_EVENT repeats the prototype of its class, and may say time64_t where the class says long long.
        return tuple(self.btf.plain(item[1]) for item in self.btf.raw.items(proto))


def _by_member(struct: Struct | None) -> dict[str, Field]:
    return {f.name: f for f in struct.fields} if struct else {}


def _layout(struct: Struct) -> dict[str, tuple[int, int]]:
    return {f.name: (f.offset, sizeof(f.type)) for f in struct.fields if f.name not in ("ent", "__data")}


def _nearest(event: str, classes: Iterable[str]) -> list[str]:
    """`classes`, those that share the longest start with the event's name first: block_rq_issue is of block_rq."""
    return sorted(classes, key=lambda name: (-_common(event, name), abs(len(event) - len(name)), name))


def _common(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
