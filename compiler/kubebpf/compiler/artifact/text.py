"""Values and maps as text, as bpftrace 0.27 prints them.

    value_text(Tuple((1, "abc", Tuple((4, 5)))))          -> "(1, abc, (4, 5))"
    map_text(MapState("@x", "count", entries=...))        -> "@x[bash]: 3\\n@x[ls]: 5\\n"

The same functions serve the local mode, whose values were just decoded, and the picture in a cluster's status, whose values come
from JSON.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Intervals, Last, Sum
from kubebpf.compiler.artifact.order import average, divide, ordered
from kubebpf.compiler.artifact.state import Entry, Key, MapState
from kubebpf.compiler.artifact.text_hist import histogram_text
from kubebpf.compiler.artifact.text_series import series_text
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pod, Pointer, Record, Text, Tuple, Value


def value_text(value: Value) -> str:
    """A value as print() shows it, without a newline."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str() | Text(text=str()):
            return value if isinstance(value, str) else value.text
        case Enum(name, number):
            return name or str(number)
        case Pointer(address):
            return hex(address)
        case Bytes(data):
            return buffer_text(data)
        case Array(items):
            return f"[{','.join(map(value_text, items))}]"
        case Tuple(items):
            return f"({', '.join(map(value_text, items))})"
        case Record(fields):
            return record_text(fields)
        case Cgroup():
            return cgroup_text(value)


def record_text(fields: tuple[tuple[str, Value], ...]) -> str:
    """A record, a struct or the arguments of a probe: `{ .m = 2, .n = 3 }`."""
    if not fields:
        return "{}"
    return "{ " + ", ".join(f".{name} = {value_text(value)}" for name, value in fields) + " }"


def buffer_text(data: bytes) -> str:
    r"""A buffer: printing ASCII as it is (a backslash too), every other byte `\xNN`."""
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in data)


def cgroup_text(value: Cgroup) -> str:
    """A cgroup: its number or path as bpftrace prints it, and what a cluster knows beside it.

    `4242`; `unified:/system.slice/x.service`; `4242 (shop/api-0/api)`; `4242 (node a)` for no pod's on a node of a cluster.
    """
    plain = (f"unified:{value.path}" if value.path else "") if value.as_path else str(value.id)
    beside = pod_text(value.pod) if value.pod else f"node {value.node}" if value.node else ""
    return f"{plain} ({beside})" if beside else plain


def pod_text(pod: Pod) -> str:
    """`namespace/pod/container`, as far as known."""
    return "/".join(part for part in (pod.namespace, pod.name, pod.container) if part)


def key_text(key: Key) -> str:
    """A key between its brackets: a tuple's members without its parentheses."""
    return ", ".join(map(value_text, key))


def cell_value(kind: str, cell: Cell, div: int = 0) -> Value:
    """What a cell shows, where it is one value: its number, its average, the record of stats, its plain value.

    Args:
        kind: of the map.
        cell: no histogram and no series.
        div: print()'s divisor: of every integer, but of stats only the average; 0 for none.
    """
    match cell:
        case Count(number) | Sum(number) | Extreme(_, number):
            return divide(number, div)
        case Average(total, count) if kind == "stats":
            return Record((("count", count), ("average", divide(average(cell), div)), ("total", total)))
        case Average():
            return divide(average(cell), div)
        case Last(value):
            return _divided(value, div)
        case Histogram() | Intervals():
            raise TypeError(f"the cell of a {kind} map is not one value")


def _divided(value: Value, div: int) -> Value:
    match value:
        case int() if not isinstance(value, bool):
            return divide(value, div)
        case Tuple(items):
            return Tuple(tuple(_divided(item, div) for item in items))
        case Record(fields):
            return Record(tuple((name, _divided(field, div)) for name, field in fields))
        case _:
            return value


def map_text(state: MapState, top: int = 0, div: int = 0) -> str:
    """A map as print(@map, top, div) shows it, every line with its newline; nothing of a map without entries.

    Args:
        state: the map.
        top: only the last so many entries of the order; 0 for all.
        div: every number is divided by it; 0 for not at all.
    """
    return "".join(_entry_text(state, entry, div) for entry in ordered(state, top))


def maps_text(states: Iterable[MapState]) -> str:
    """Several maps in the order of their names, as they stand at the end of a program."""
    return "".join(map_text(state) for state in sorted(states, key=lambda state: state.name))


def _entry_text(state: MapState, entry: Entry, div: int) -> str:
    name = state.name if state.scalar else f"{state.name}[{key_text(entry.key)}]"
    match entry.cell:
        case Histogram() as cell:
            return f"{name}:\n{histogram_text(state.kind, state.params, cell, div)}\n"
        case Intervals() as cell:
            return f"{name}:\n{series_text(state.params, state.how, cell, signed=state.signed)}\n"
        case cell:
            return f"{name}: {value_text(cell_value(state.kind, cell, div))}{_node_text(cell)}\n"


def _node_text(cell: Cell) -> str:
    # Maps without a map function keep one row a node in a merged status.
    return f" (node {cell.node})" if isinstance(cell, Last) and cell.node else ""
