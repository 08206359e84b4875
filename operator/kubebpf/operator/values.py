"""Typed values as reports carry them: checking one, and telling whether two are the same.

    {"int": "42"}                                  -> equal to every {"int": "42"}
    {"cgroup": "4242", "node": "a", "pod": {...}}  -> equal when node and id are; what is known of the pod does not matter

The forms are listed in docs/design/2026-11-22-values-and-reports.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]

TEXT_LIMIT = 8192  # characters of one string in a value; the compiler's largest string is shorter
DEPTH_LIMIT = 16
ITEMS_LIMIT = 1024
_NUMBER = re.compile(r"-?[0-9]{1,20}")


class BadValueError(ValueError):
    """A report holds something that no agent of ours writes; the text says what and is shown to people."""


def read_number(raw: object, low: int = -(2**63), high: int = 2**64 - 1) -> int:
    """A decimal string as the integer that it is.

    Args:
        low: the smallest number allowed; by default what 64 bits can hold, signed or not.
        high: the greatest number allowed.

    Raises:
        BadValueError: it is no such string, or out of range.
    """
    if not isinstance(raw, str) or not _NUMBER.fullmatch(raw):
        raise BadValueError(f"{_short(raw)} is no decimal number")
    number = int(raw)
    if not low <= number <= high:
        raise BadValueError(f"{raw} is out of range")
    return number


def read_count(raw: object) -> int:
    """A decimal string of 64 bits without a sign."""
    return read_number(raw, low=0)


def read_value(raw: object, node: str, depth: int = 0) -> Json:
    """A checked copy of a value from the report of `node`, numbers in their shortest form, cgroups marked with the node.

    Raises:
        BadValueError: unknown form, wrong types, too large, too deep, or a cgroup that claims another node.
    """
    if not isinstance(raw, Mapping):
        raise BadValueError(f"{_short(raw)} is no typed value")
    if depth > DEPTH_LIMIT:
        raise BadValueError("a value is nested too deeply")
    for member, read in _FORMS.items():
        if member in raw:
            return read(raw, node, depth)
    raise BadValueError(f"{_short(dict(raw))} is no known form of a value")


def read_key(raw: object, node: str) -> tuple[Json, ...]:
    """A checked key: a list of values, none for a scalar map."""
    if not isinstance(raw, list) or len(raw) > 64:
        raise BadValueError("a key is no list of at most 64 values")
    return tuple(read_value(item, node) for item in raw)


def identity(value: Json) -> str:
    """A text that is equal for equal values and only for them. Ordered within a form, so that sorting by it is stable."""
    return json.dumps(_bare(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_identity(key: tuple[Json, ...]) -> str:
    """As identity, of a whole key."""
    return json.dumps([_bare(value) for value in key], sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _bare(value: Json) -> Any:
    match value:
        case {"cgroup": id_, "node": node, **rest}:
            return {"cgroup": id_, "node": node, "as": rest.get("as", "")}
        case {"array": items}:
            return {"array": [_bare(item) for item in items]}
        case {"tuple": items}:
            return {"tuple": [_bare(item) for item in items]}
        case {"record": fields}:
            return {"record": [[field["name"], _bare(field["value"])] for field in fields]}
        case _:
            return value


def richer(one: Json, other: Json) -> Json:
    """Of two spellings of the same value the one that says more (a pod beside the cgroup); the same one in either order."""
    return max(one, other, key=lambda value: (len(text := json.dumps(value, sort_keys=True)), text))


def _text(raw: object, limit: int = TEXT_LIMIT) -> str:
    if not isinstance(raw, str) or len(raw) > limit:
        raise BadValueError(f"{_short(raw)} is no string of at most {limit} characters")
    return raw


def _short(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."


def _items(raw: object, node: str, depth: int) -> list[Json]:
    if not isinstance(raw, list) or len(raw) > ITEMS_LIMIT:
        raise BadValueError(f"a value is no list of at most {ITEMS_LIMIT} items")
    return [read_value(item, node, depth + 1) for item in raw]


def _enum(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    return {"enum": _text(raw["enum"]), "int": str(read_number(raw.get("int")))}


def _bool(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    if not isinstance(raw["bool"], bool):
        raise BadValueError(f"{_short(raw['bool'])} is no boolean")
    return {"bool": raw["bool"]}


def _pointer(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    if not re.fullmatch(r"0x[0-9a-f]{1,16}", _text(raw["pointer"], 18)):
        raise BadValueError(f"{_short(raw['pointer'])} is no pointer")
    return {"pointer": raw["pointer"]}


def _hex(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", _text(raw["hex"], 2 * TEXT_LIMIT)):
        raise BadValueError(f"{_short(raw['hex'])} is no hexadecimal text")
    return {"hex": raw["hex"]}


def _record(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    fields = raw["record"]
    if not isinstance(fields, list) or len(fields) > ITEMS_LIMIT or not all(isinstance(f, Mapping) for f in fields):
        raise BadValueError("a record is no list of named values")
    return {"record": [{"name": _text(f.get("name"), 256), "value": read_value(f.get("value"), node, depth + 1)} for f in fields]}


def _resolved(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    return {"text": _text(raw["text"], 4 * TEXT_LIMIT), "kind": _text(raw.get("kind"), 32)}


def _cgroup(raw: Mapping[str, Any], node: str, depth: int) -> Json:
    if raw.get("node", node) != node:
        raise BadValueError(f"a cgroup of another node ({_short(raw['node'])})")
    value: Json = {"cgroup": str(read_count(raw["cgroup"])), "node": node}
    value |= {name: _text(raw[name], 4096) for name in ("as", "path") if raw.get(name)}
    pod = raw.get("pod")
    if pod is None:
        return value
    if not isinstance(pod, Mapping) or not pod.get("namespace") or not pod.get("name"):
        raise BadValueError("a cgroup's pod has no namespace and name")
    return value | {"pod": {n: _text(pod[n], 253) for n in ("namespace", "name", "uid", "container") if pod.get(n)}}


_FORMS: dict[str, Callable[[Mapping[str, Any], str, int], Json]] = {
    "cgroup": _cgroup,
    "enum": _enum,  # before int, which it has too
    "int": lambda raw, node, depth: {"int": str(read_number(raw["int"]))},
    "bool": _bool,
    "str": lambda raw, node, depth: {"str": _text(raw["str"])},
    "pointer": _pointer,
    "hex": _hex,
    "array": lambda raw, node, depth: {"array": _items(raw["array"], node, depth)},
    "tuple": lambda raw, node, depth: {"tuple": _items(raw["tuple"], node, depth)},
    "record": _record,
    "text": _resolved,
}
