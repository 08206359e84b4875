"""One JSON object a line: what `-f json` prints, in bpftrace's shapes.

    map_record(state)             {"type": "map", "data": {"@x": {"bash": 3, "ls": 5}}}
    value_record(Tuple((1, "a"))) {"type": "value", "data": [1,"a"]}

Separators are upstream's: ", " and ": " in objects, "," in arrays. Two faults of upstream are not repeated: text that is not
ASCII stays readable, and counts of histograms stay decimal.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubebpf.compiler.artifact.cells import Histogram, Intervals
from kubebpf.compiler.artifact.histogram import Bucket, buckets
from kubebpf.compiler.artifact.manifest import Place
from kubebpf.compiler.artifact.order import divide, ordered
from kubebpf.compiler.artifact.state import Entry, Key, MapState
from kubebpf.compiler.artifact.strftime import format_time
from kubebpf.compiler.artifact.text import cell_value, key_text, value_text
from kubebpf.compiler.artifact.text_series import points
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Tuple, Value, readable

_TYPES = {"hist": "hist", "lhist": "hist", "avg": "stats", "stats": "stats", "tseries": "tseries"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def string_json(text: str) -> str:
    """A JSON string: control characters escaped, everything else as it is, bytes that are no UTF-8 spelled out."""
    return '"' + "".join(_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in readable(text)) + '"'


def number_json(number: int) -> str:
    """A number; as a string when a double cannot hold it exactly."""
    return str(number) if int(float(number)) == number else f'"{number}"'


def value_json(value: Value) -> str:
    """A value: enums and pointers are their numbers, buffers lists of signed bytes, whatever the node resolved a string."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() as number:
            return number_json(number)
        case Enum(_, number) | Pointer(number) | Cgroup(number, as_path=False):
            return number_json(number)
        case Bytes(data):
            return f"[{','.join(str(byte - 256 if byte > 127 else byte) for byte in data)}]"
        case Array(items) | Tuple(items):
            return f"[{','.join(map(value_json, items))}]"
        case Record(fields):
            return object_json((name, value_json(field)) for name, field in fields)
        case _:
            return string_json(value_text(value))


def object_json(members: Iterable[tuple[str, str]]) -> str:
    """An object from pairs of names and JSON texts."""
    return "{" + ", ".join(f"{string_json(name)}: {text}" for name, text in members) + "}"


def record(kind: str, data: str, **more: str) -> str:
    """A line: `type`, the given members, `data`. All but `kind` are JSON texts."""
    return object_json([("type", string_json(kind)), *more.items(), ("data", data)])


def text_record(kind: str, text: str) -> str:
    """The line of something that is text: printf, time, cat, join, syscall."""
    return record(kind, string_json(text))


def value_record(value: Value) -> str:
    """The line of print(value)."""
    return record("value", value_json(value))


def counted_record(kind: str, member: str, count: int) -> str:
    """The lines `attached_probes` (member probes) and `lost_events` (member events)."""
    return record(kind, object_json([(member, str(count))]), count=str(count))


def placed_record(kind: str, message: str, place: Place, **more: str) -> str:
    """The line of something that happened at a place of the program: errorf, warnf, helper_error, runtime_error.

    Args:
        kind: which.
        message: its text.
        place: of the call.
        more: further members between the message and the place, as JSON texts.
    """
    where = [("filename", string_json(place.file)), ("line", str(place.line)), ("col", str(place.column))]
    return object_json([("type", string_json(kind)), ("msg", string_json(message)), *more.items(), *where])


def map_record(state: MapState, top: int = 0, div: int = 0) -> str:
    """The line of a map; empty when it has no entries, for then upstream prints none.

    Args:
        state: the map.
        top: only the last so many entries of the order; 0 for all.
        div: every number is divided by it; 0 for not at all.
    """
    entries = ordered(state, top)
    if not entries:
        return ""
    cells = [(_key(entry.key), _cell(state, entry, div)) for entry in entries]
    value = cells[0][1] if state.scalar else object_json(cells)
    return record(_TYPES.get(state.kind, "map"), object_json([(state.name, value)]))


def _key(key: Key) -> str:
    # Upstream drops every space of a key.
    return key_text(key).replace(" ", "")


def _cell(state: MapState, entry: Entry, div: int) -> str:
    match entry.cell:
        case Histogram(slots):
            rows = buckets(state.kind, state.params, slots)
            return f"[{','.join(_bucket(row, divide(row.count, div)) for row in rows)}]"
        case Intervals() as cell:
            rows_with_value = [(start, value) for start, value in points(state.params, state.how, cell) if value is not None]
            return f"[{','.join(_interval(start, value) for start, value in rows_with_value)}]"
        case cell:
            return value_json(cell_value(state.kind, cell, div))


def _bucket(bucket: Bucket, count: int) -> str:
    # Bounds are closed here; the text output's are half open.
    low = [] if bucket.low is None else [("min", number_json(bucket.low))]
    high = [] if bucket.high is None else [("max", number_json(bucket.high - 1))]
    return object_json([*low, *high, ("count", str(count))])


def _interval(start: int, value: int) -> str:
    moment = format_time(start, "%Y-%m-%d %H:%M:%S.%k", utc=True)
    return f'{{"interval_start":{string_json(moment)},"value":{value}}}'
