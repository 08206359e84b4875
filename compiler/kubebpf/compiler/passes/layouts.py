"""What of this kernel's layout goes into the object: everything that code takes for granted and no relocation adjusts.

    print(curtask.comm)     -> struct task_struct: comm has 16 bytes       (where it lies is relocated, how much is read is not)
    @ = *curtask.cred       -> struct cred: its size, and where every member lies
    fentry:vfs_read { print(args.buf) }  -> function vfs_read: buf is parameter 1
    if (args.newstate == TCP_CLOSE)      -> enum: TCP_CLOSE is 7

A pass over the finished tree: whichever way code reads a value, the value's type stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.layouts import Layout, Part
from kubebpf.compiler.kernel.btf import Btf, Function
from kubebpf.compiler.kernel.tracepoints import TracepointField
from kubebpf.compiler.probes.record import RawArgument, Target
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Array, EnumType, Field, Origin, Pointer, Record, Struct, Tuple, Type, sizeof
from kubebpf.compiler.types.walk import bodies, children

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

_MADE_BEFORE = typed.ReadVariable | typed.ReadMap | typed.InMemory | typed.Part
Key = tuple[str, str]


def layouts(t: Typing, probes: Iterable[typed.Probe], maps: Iterable[typed.MapInfo]) -> tuple[Layout, ...]:
    """All of a program, sorted by name."""
    found = Layouts(t)
    for name, (enum, value) in t.constants.items():
        found.part(("enum", enum), Part(name, value))
    for expr in t.asked:
        # The size of a struct is relocated.
        found.visit(expr, None, isinstance(expr.type, Struct))
    for info in maps:
        found.printed([info.value, *([info.key] if info.key else [])])
    for number, probe in enumerate(probes):
        found.probe = number
        for body in bodies((probe.predicate, probe.body)):
            found.visit(body, probe.target)
    return found.finish()


class Layouts:
    """Collects them.

    Args:
        t: the finished typing of the program.
    """

    def __init__(self, t: Typing) -> None:
        self._program = t.view.program
        self._sizes: dict[Key, int | None] = {}
        self._parts: dict[Key, dict[str, Part]] = {}
        self._probes: dict[Key, dict[int, None]] = {}
        self._whole: dict[Key, set[int | None]] = {}  # for which probes
        self.probe: int | None = None

    def finish(self) -> tuple[Layout, ...]:
        """What was collected."""
        made = (
            Layout(*key, size, tuple(self._parts[key].values()), tuple(self._probes.get(key, ())))
            for key, size in self._sizes.items()
        )
        return tuple(sorted(made, key=lambda layout: (layout.sort, layout.name)))

    def needs(self, key: Key, size: int | None = None) -> None:
        """There is such a type, of this size in bytes unless that is None."""
        self._sizes[key] = self._sizes.get(key) or size
        self._parts.setdefault(key, {})
        if self.probe is not None:
            self._probes.setdefault(key, {})[self.probe] = None

    def part(self, key: Key, part: Part) -> None:
        """One part of a type; of two that say the same part's size, the one that also says its place stays."""
        self.needs(key)
        known = self._parts[key]
        if part.name not in known or known[part.name].at is None:
            known[part.name] = part

    def visit(self, node: object, target: Target | None, addressed: bool = False) -> None:
        """A node and all below it; `addressed`: it only says where something lies that is read further up."""
        if isinstance(node, typed.Expr):
            self._expression(node, target, addressed)
        for child in children(node):
            self.visit(child, target, _lies_in(node, child))

    def printed(self, types: Iterable[Type]) -> None:
        """Types of values that are printed: their enums' names are told."""
        for enum in _enums(types):
            if enum.name and (self._program is None or self._program.enum(enum.name) is None):
                for name, value in enum.values:
                    self.part(("names", enum.name), Part(name, value))

    def whole(self, t: Type) -> None:
        """A value that is copied as it lies."""
        match t:
            case Array(element=element):
                self.whole(element)
            case Tuple(elements=elements):
                for element in elements:
                    self.whole(element)
            case Record(fields=fields):
                for _, inner in fields:
                    self.whole(inner)
            case Struct(origin=Origin.BTF):
                self._struct(t)

    def _expression(self, node: typed.Expr, target: Target | None, addressed: bool) -> None:
        match node:
            case typed.Member() if not addressed:
                self._member(node)
            case typed.Element(array=None):
                self._exists(_target(node.object.type))
            case typed.Element(object=typed.Member() as whole, index=typed.Constant(value=index), array=Array(element=element)):
                # How long the array is, is of no matter as long as it has this one.
                self._member(whole, f"[{index}]", element)
            case typed.Element(object=typed.Member() as whole):
                self._member(whole)
            case typed.SizeOf(struct=struct):
                self._exists(struct)
            case typed.OffsetOf(steps=steps):
                for struct, field in steps:
                    if (key := _key(struct)) and field.name:
                        self.part(key, Part(field.name))
            case typed.Step(type=Pointer(target=Struct(origin=Origin.BTF) as struct)) if key := _key(struct):
                self.needs(key, struct.size)
            case typed.Argument():
                self._argument(node, target)
            case typed.Call():
                self.printed(argument.type for argument in node.arguments)
        if not addressed and not isinstance(node, _MADE_BEFORE):
            self.whole(node.type)

    def _exists(self, t: Type | None) -> None:
        if isinstance(t, Struct) and t.origin is Origin.BTF and (key := _key(t)):
            self.needs(key)

    def _struct(self, struct: Struct) -> None:
        key = _key(struct)
        if key is None:
            return
        known = self._whole.get(key, set())
        if self.probe in known:
            return
        self._whole[key] = known | {self.probe}
        self.needs(key, struct.size)
        for name, place, field in _flat(struct):
            self.part(key, Part(name, place, field.bit_size or sizeof(field.type) * 8))
            self.whole(field.type)
            self.printed([field.type])

    def _member(self, node: typed.Member, element: str = "", of: Type | None = None) -> None:
        """A member that is read: relocated by its name, unless it lies in a struct that has none.

        Args:
            element: of the member, which is an array: all that is read of it.
            of: the element's type.
        """
        steps = list(_steps(node))
        if node.struct.origin is not Origin.BTF or any(step.struct.origin is not Origin.BTF for step in steps):
            return
        if not steps[0].struct.name:
            for step in steps:
                self.whole(step.struct)
            return
        start = max(i for i, step in enumerate(steps) if step.struct.name)
        names = [step.field.name for step in steps[start:] if step.field.name]
        key = _key(steps[start].struct)
        # All about a bitfield is relocated, and a pointer has its size everywhere.
        read = of or node.field.type
        free = node.field.bit_size or (isinstance(read, Pointer) and not element)
        if key is not None:
            self.part(key, Part(".".join(names) + element, None, None if free else sizeof(read) * 8 or None))

    def _argument(self, node: typed.Argument, target: Target | None) -> None:
        event = _event(target)
        match node.access:
            case TracepointField(struct=Struct(name=name) as struct, member=member) as field:
                place = field.offset * 8 if field.relative else None  # the data's place is counted from there
                self.part((struct.kind, name), Part(member, place, sizeof(_member(struct, member).type) * 8))
                if event and not event.startswith("syscalls:"):
                    # The node's event may have another record than this one.
                    self.part(("record", f"{event}={name}"), Part(f"{field.name}={member}"))
            case TracepointField() as field if event:
                self.part(("tracepoint", event), Part(field.name, field.offset * 8, field.size * 8))
            case RawArgument(index=index) if target and isinstance(target.details, Function) and not target.wildcard:
                self._parameter(target, target.details, index)

    def _parameter(self, target: Target, function: Function, index: int) -> None:
        sort, name = _called(target)
        # An argument that is a struct takes several places in the context; such a function is left to the verifier.
        plain = function.known and not any(isinstance(t, Struct) for _, t in function.params)
        if name and plain and index < len(function.params):
            self.part((sort, name), Part(function.params[index][0], index))


def _event(target: Target | None) -> str:
    """category:event of a tracepoint; "" for anything else, and for wildcards: their matches are compared with each other."""
    if target is None or target.wildcard or "category" not in target.parts:
        return ""
    return f"{target.parts['category']}:{target.parts['event']}"


def _member(struct: Struct, name: str) -> Field:
    return next(field for field in struct.fields if field.name == name)


def _called(target: Target) -> Key:
    if "event" in target.parts:
        return "rawtracepoint", str(target.parts["event"])
    return "function", "" if "id" in target.parts else str(target.parts.get("function", ""))


def _lies_in(node: object, child: object) -> bool:
    """Whether a node takes only the place of its child, to read a part of it."""
    if isinstance(node, typed.Member):
        return child is node.object and not isinstance(node.object.type, Pointer)
    return isinstance(node, typed.Element) and child is node.object and node.array is not None


def _steps(node: typed.Member) -> Iterator[typed.Member]:
    """The way from the outermost struct in memory to a member."""
    if isinstance(node.object, typed.Member) and not isinstance(node.object.type, Pointer):
        yield from _steps(node.object)
    yield node


def _target(t: Type) -> Type | None:
    return t.target if isinstance(t, Pointer) else None


def _key(struct: Struct) -> Key | None:
    if struct.name:
        return struct.kind, struct.name
    alias = struct.source.alias(struct) if isinstance(struct.source, Btf) else ""
    return ("typedef", alias) if alias else None


def _flat(struct: Struct, prefix: str = "", start: int = 0) -> Iterator[tuple[str, int, Field]]:
    """Every member with its name and place in bits, those of structs without a name by `outer.inner`."""
    for field in struct.fields:
        place = start + (field.bit_offset if field.bit_size else field.offset * 8)
        inner = field.type
        if isinstance(inner, Struct) and not inner.name and _key(inner) is None:
            yield from _flat(inner, f"{prefix}{field.name}." if field.name else prefix, place)
        elif field.name:
            yield prefix + field.name, place, field


def _enums(types: Iterable[Type]) -> Iterator[EnumType]:
    for t in types:
        match t:
            case EnumType():
                yield t
            case Array(element=element):
                yield from _enums([element])
            case Tuple(elements=elements):
                yield from _enums(elements)
            case Record(fields=fields):
                yield from _enums(inner for _, inner in fields)
