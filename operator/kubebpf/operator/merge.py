"""The cluster's maps: the exact sum of the maps of its nodes.

    a = read_maps([{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": "3"}]}], "a")
    b = read_maps([{"name": "@", "kind": "count", "scalar": True, "entries": [{"key": [], "count": "4"}]}], "b")
    merge([a, b])[0].write()["entries"]  ->  [{"key": [], "count": "7"}]

Reports hold cumulative state, so merging is a pure function of the newest report of each node: reading one twice, missing one or
starting again changes nothing. What a report says wrongly is found when it is read (`BadValueError`), before anything is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from kubebpf.operator.cells import HOW, KINDS, Kind, Params
from kubebpf.operator.values import BadValueError, Json, key_identity, read_key, read_number, richer

MAPS_LIMIT = 256
ENTRIES_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Schema:
    """What two maps must agree on to be merged."""

    kind: str
    signed: bool
    params: Params
    how: str
    scalar: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One key with its cell; `node` is set in maps without a map function, where each node keeps its own row."""

    key: tuple[Json, ...]
    cell: Any
    node: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """One map of a program, of one node or of many.

    Args:
        rows: by the identity of the key (and node).
        dropped: keys that were left out, on nodes or here.
    """

    name: str
    schema: Schema
    rows: Mapping[tuple[str, str], Row]
    dropped: int = 0

    @property
    def kind(self) -> Kind:
        """How its cells behave."""
        return KINDS[self.schema.kind]

    def ordered(self) -> list[Row]:
        """Rows by weight, the smallest first, then by key: the order in which bpftrace prints them."""
        ranked = sorted(self.rows.items(), key=lambda item: (self.kind.weight(item[1].cell), item[0]))
        return [row for _, row in ranked]

    def largest(self, count: int) -> Map:
        """This map with at most `count` rows, the others counted as dropped."""
        if len(self.rows) <= count:
            return self
        kept = {(key_identity(row.key), row.node): row for row in self.ordered()[len(self.rows) - count :]}
        return replace(self, rows=kept, dropped=self.dropped + len(self.rows) - count)

    def write(self) -> Json:
        """The JSON form: docs/design/2026-11-22-values-and-reports.md."""
        schema = self.schema
        return {
            "name": self.name,
            "kind": schema.kind,
            "signed": schema.signed,
            "params": [str(param) for param in schema.params],
            "how": schema.how,
            "scalar": schema.scalar,
            "entries": [self._entry(row) for row in self.ordered()],
            "dropped": self.dropped,
        }

    def _entry(self, row: Row) -> Json:
        entry = {"key": list(row.key)} | self.kind.write(row.cell, self.schema.params)
        return entry | {"node": row.node} if row.node else entry


Maps = Mapping[str, Map]


def read_maps(raw: object, node: str) -> Maps:
    """The maps of one report, checked as a whole: one wrong cell refuses all of it, since half a report is no state of a node.

    Raises:
        BadValueError: with the map's name and what is wrong.
    """
    if not isinstance(raw, list) or len(raw) > MAPS_LIMIT or not all(isinstance(item, Mapping) for item in raw):
        raise BadValueError(f"maps is no list of at most {MAPS_LIMIT} maps")
    maps = [_read_named(item, node) for item in raw]
    by_name = {item.name: item for item in maps}
    if len(by_name) != len(maps):
        raise BadValueError("a map stands twice in the report")
    return by_name


def _read_named(raw: Mapping[str, Any], node: str) -> Map:
    name = raw.get("name")
    if not isinstance(name, str) or not name.startswith("@") or len(name) > 128:
        raise BadValueError(f"{str(name)[:40]!r} is no map's name")
    try:
        return _read_map(name, raw, node)
    except BadValueError as error:
        raise BadValueError(f"{name}: {error}") from None


def _read_map(name: str, raw: Mapping[str, Any], node: str) -> Map:
    schema, entries = _read_schema(raw), raw.get("entries") or []
    if not isinstance(entries, list) or len(entries) > ENTRIES_LIMIT:
        raise BadValueError(f"entries is no list of at most {ENTRIES_LIMIT} keys")
    rows: dict[tuple[str, str], Row] = {}
    for entry in entries:
        row = _read_row(entry, schema, raw.get("kind") == "last", node)
        identity = key_identity(row.key), row.node
        if identity in rows:
            raise BadValueError("a key stands twice")
        rows[identity] = row
    return Map(name, schema, rows, _read_dropped(raw.get("dropped", 0)))


def _read_dropped(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**63:
        raise BadValueError("dropped is no count")
    return raw


def _read_schema(raw: Mapping[str, Any]) -> Schema:
    kind, params, how = raw.get("kind"), raw.get("params") or [], raw.get("how") or ""
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadValueError(f"a map of the unknown kind {str(kind)[:40]!r}")
    if not isinstance(params, list) or (KINDS[kind].params and len(params) != KINDS[kind].params):
        raise BadValueError(f"a {kind} has {KINDS[kind].params} parameters")
    if how not in HOW:
        raise BadValueError(f"the unknown aggregation {str(how)[:40]!r}")
    numbers = tuple(read_number(param) for param in params)
    return Schema(kind, raw.get("signed") is True, numbers, how, raw.get("scalar") is True)


def _read_row(entry: object, schema: Schema, per_node: bool, node: str) -> Row:
    if not isinstance(entry, Mapping):
        raise BadValueError("an entry is no object")
    key = read_key(entry.get("key", []), node)
    if schema.scalar and key:
        raise BadValueError("a scalar map has a key")
    return Row(key, KINDS[schema.kind].read(entry, schema.params, node), node if per_node else "")


def disagreement(one: Maps, other: Maps) -> str | None:
    """Why the maps of two reports cannot be added, or None: a map of one name must have one schema."""
    for name in sorted(one.keys() & other.keys()):
        if one[name].schema != other[name].schema:
            return f"{name}: {_spell(other[name].schema)} here, {_spell(one[name].schema)} on other nodes"
    return None


def _spell(schema: Schema) -> str:
    parts = [schema.how] if schema.how else []
    return f"{schema.kind}({', '.join(parts + [str(param) for param in schema.params])})"


def combine(one: Maps, other: Maps) -> Maps:
    """The sum of two sets of maps whose schemas agree. Associative and commutative."""
    both = one.keys() & other.keys()
    return {**one, **other, **{name: _combine_maps(one[name], other[name]) for name in both}}


def _combine_maps(one: Map, other: Map) -> Map:
    both = one.rows.keys() & other.rows.keys()
    joined = {identity: _combine_rows(one, one.rows[identity], other.rows[identity]) for identity in both}
    return replace(one, rows={**one.rows, **other.rows, **joined}, dropped=one.dropped + other.dropped)


def _combine_rows(owner: Map, one: Row, other: Row) -> Row:
    key = tuple(richer(mine, yours) for mine, yours in zip(one.key, other.key, strict=True))
    return replace(one, key=key, cell=owner.kind.combine(one.cell, other.cell, owner.schema.how))


def merge(reports: Iterable[Maps]) -> list[Map]:
    """The maps of all nodes together, ordered by name. Schemas must agree (`disagreement`)."""
    total: Maps = reduce(combine, reports, {})
    return [total[name] for name in sorted(total)]


def keep_top(maps: Sequence[Map], top: int) -> list[Map]:
    """Each map with the `top` largest keys. A map without a function has a row a node, which the nodes have cut already."""
    return [item if item.schema.kind == "last" else item.largest(top) for item in maps]
