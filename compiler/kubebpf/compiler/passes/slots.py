"""What inference has learnt so far: one slot a variable, two a map. Types in slots only grow, so that the rounds come to an
end."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import promote
from kubebpf.compiler.types.model import I64, Int, Type
from kubebpf.compiler.types.typed import Expr


@dataclass
class Slot:
    """The type that all assignments so far have in common.

    `fixed` types have been asked for by typeinfo, and grow no more. `flexible` is True while only non-negative literals, or
    variables of such, were seen: they take the sign of whatever comes.
    """

    type: Type | None = None
    flexible: bool = True
    span: Span | None = None
    declared: bool = False
    fixed: bool = False

    def grow(self, value: Expr, *, flexible: bool = False) -> bool:
        """Take one more value in. False: it does not go with the earlier ones.

        Args:
            flexible: whether the value is; see Typing.is_flexible.
        """
        if self.type is None:
            self.type, self.flexible, self.span = value.type, flexible, value.span
            return True
        joined = joined_type(self.type, self.flexible, value.type, flexible)
        if joined is None or (self.fixed and joined != self.type):
            return False
        self.type, self.flexible = joined, self.flexible and flexible
        return True


def joined_type(a: Type, a_flexible: bool, b: Type, b_flexible: bool) -> Type | None:
    """As promote.join, where a flexible number takes the other's sign: `1` goes with uint64 without a warning."""
    if isinstance(a, Int) and isinstance(b, Int) and a.signed != b.signed and a_flexible != b_flexible:
        other = b if a_flexible else a
        return Int(max(a.bits, b.bits), other.signed, other.role)
    return promote.join(a, b)


@dataclass
class MapSlots:
    """The slots of one map. `keyed` is None until its first use tells; `attempted`: an assignment was refused, which was said
    there; `read`: its value was asked for, and `unassigned`: nothing gives it one, so it is a number that is always 0."""

    keyed: bool | None = None
    key: Slot = field(default_factory=Slot)
    value: Slot = field(default_factory=Slot)
    kind: str = ""
    max_entries: int = 0
    span: Span | None = None
    attempted: bool = False
    read: bool = False
    unassigned: bool = False


@dataclass
class Slots:
    """All that is carried from one round to the next."""

    variables: dict[tuple[object, ...], Slot] = field(default_factory=dict)
    maps: dict[str, MapSlots] = field(default_factory=dict)

    def variable(self, key: tuple[object, ...]) -> Slot:
        """The slot of a variable, made at first sight."""
        return self.variables.setdefault(key, Slot())

    def map(self, name: str) -> MapSlots:
        """The slots of a map, made at first sight."""
        return self.maps.setdefault(name, MapSlots())

    def settle_unassigned(self) -> bool:
        """Make numbers of the maps that are read and never assigned; whether there was one."""
        found = [m for m in self.maps.values() if m.read and m.value.type is None and not m.attempted]
        for slots in found:
            slots.value.type, slots.unassigned = I64, True
        return bool(found)

    def snapshot(self) -> tuple[object, ...]:
        """A value that changes exactly when something was learnt."""
        variables = tuple((k, s.type, s.flexible) for k, s in self.variables.items())
        maps = tuple((n, m.keyed, m.key.type, m.key.flexible, m.value.type, m.value.flexible) for n, m in self.maps.items())
        return variables + maps
