"""What an object takes from the kernel that it was compiled for, and libbpf does not relocate: a node compares it before loading.

    Layout("struct", "task_struct", None, (Part("comm", None, 128),))     curtask.comm: found by name, but 16 bytes are read
    Layout("struct", "task_struct", None, (Part("mm"),))                  curtask.mm: a pointer, wherever it lies
    Layout("struct", "sock_common", 136, (Part("skc_daddr", 0, 32), …))   print(*$sk): copied whole
    Layout("enum", "", None, (Part("TASK_COMM_LEN", 16, None),))          a constant

In the manifest they are JSON:

    {"sort": "struct", "name": "task_struct", "size": null, "parts": [["comm", null, 128]], "probes": [0]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """One member, constant or parameter.

    Args:
        name: of a member in an unnamed struct that has a name: `outer.inner`; of an element `array[3]`; of a record's
            `field=member`.
        at: of a member, bits from the start; of a constant, its value; of a parameter, its number from 0. None: wherever it is.
        size: in bits; None: of any size.
    """

    name: str
    at: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One type, function or event.

    Args:
        sort: struct, union, typedef (of a struct without a name); enum (every constant has to be there), names (those that are
            there have these values); function, rawtracepoint, tracepoint (a format of tracefs); record (BTF's struct for a
            tracepoint's record lies as the format says); machine (as `uname -m` says it: registers are where it keeps them).
        name: of a tracepoint category:event, of its record category:event=struct; of an enum "" when it has none.
        size: in bytes; None: any.
        probes: numbers of the attach points whose programs count on it; none: the whole object does.
    """

    sort: str
    name: str
    size: int | None = None
    parts: tuple[Part, ...] = ()
    probes: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form in the manifest."""
        parts = [[part.name, part.at, part.size] for part in self.parts]
        return {"sort": self.sort, "name": self.name, "size": self.size, "parts": parts, "probes": list(self.probes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Layout:
        """Read it back.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        parts, probes = tuple(map(_part, data["parts"])), tuple(map(int, data["probes"]))
        return cls(str(data["sort"]), str(data["name"]), _number(data["size"]), parts, probes)


def _part(data: Any) -> Part:
    name, at, size = data
    return Part(str(name), _number(at), _number(size))


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
