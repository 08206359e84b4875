r"""Values as the rest of the project handles them: decoded from the kernel's bytes, printed as text, sent as JSON.

Integers, booleans and strings are Python's own; everything else is one small frozen class. Every value has one JSON spelling:

    -5                                   {"int": "-5"}
    "bash"                               {"str": "bash"}
    Enum("ONE", 1)                       {"enum": "ONE", "int": "1"}
    Tuple((1, "a"))                      {"tuple": [{"int": "1"}, {"str": "a"}]}
    Cgroup(4242, node="a")               {"cgroup": "4242", "node": "a"}

A string's bytes that are no UTF-8 are lone surrogates in memory (PEP 383), so that text output can write them back as they were,
and `\xNN` in JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Enum:
    """A number of an enum. `name` is empty when the enum has no such constant."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address, never dereferenced after it left the kernel."""

    address: int


@dataclass(frozen=True, slots=True)
class Bytes:
    """The content of a buffer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Array:
    """Elements of one type."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Tuple:
    """Values of any types."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Named members, in their order."""

    fields: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Text:
    r"""What a node made of raw numbers.

    Args:
        text: as bpftrace prints it. A stack starts and ends with a newline: `"\n        do_mmap+1\n"`.
        kind: ksym, usym, kstack, ustack, inet, macaddr, username, timestamp, strftime, cgroup_path, pod, namespace,
            container or node.
    """

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Pod:
    """The container that a cgroup belongs to."""

    namespace: str
    name: str
    uid: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup v2 id; it means something only on its node.

    Args:
        id: the number.
        node: the node's name; empty in the local mode.
        path: below the cgroup v2 mount, starting with `/`; empty when unknown.
        pod: None when the cgroup is no pod's.
        as_path: the program asked for cgroup_path(), not for the id.
    """

    id: int
    node: str = ""
    path: str = ""
    pod: Pod | None = None
    as_path: bool = False


Value = int | bool | str | Enum | Pointer | Bytes | Array | Tuple | Record | Text | Cgroup


def readable(text: str) -> str:
    r"""The text with every byte that is no UTF-8 spelled `\xNN`: what may go into JSON and YAML."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def to_json(value: Value) -> dict[str, Any]:
    """The JSON form of a value."""
    match value:
        case bool():
            return {"bool": value}
        case int():
            return {"int": str(value)}
        case str():
            return {"str": readable(value)}
        case Enum(name, number):
            return ({"enum": name} if name else {}) | {"int": str(number)}
        case Pointer(address):
            return {"pointer": hex(address)}
        case Bytes(data):
            return {"hex": data.hex()}
        case Array(items):
            return {"array": [to_json(item) for item in items]}
        case Tuple(items):
            return {"tuple": [to_json(item) for item in items]}
        case Record(fields):
            return {"record": [{"name": name, "value": to_json(field)} for name, field in fields]}
        case Text(text, kind):
            return {"text": readable(text), "kind": kind}
        case Cgroup():
            return _cgroup_json(value)


def _cgroup_json(value: Cgroup) -> dict[str, Any]:
    plain = {"node": value.node, "path": value.path, "pod": _pod_json(value.pod), "as": "path" if value.as_path else ""}
    return {"cgroup": str(value.id)} | {name: member for name, member in plain.items() if member}


def _pod_json(pod: Pod | None) -> dict[str, str]:
    if pod is None:
        return {}
    plain = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "container": pod.container}
    return {name: member for name, member in plain.items() if member}


def from_json(j: dict[str, Any]) -> Value:
    """The value of a JSON form.

    An enum's number without a name comes back as a plain integer: its JSON does not tell the two apart, and they print alike.

    Raises:
        ValueError: it is no value's JSON.
    """
    for member, read in _READERS:
        if member in j:
            return read(j)
    raise ValueError(f"not a value: {j!r}")


def _pod(j: dict[str, str]) -> Pod:
    return Pod(j["namespace"], j["name"], j.get("uid", ""), j.get("container", ""))


def _cgroup(j: dict[str, Any]) -> Cgroup:
    pod = _pod(j["pod"]) if j.get("pod") else None
    return Cgroup(int(j["cgroup"]), j.get("node", ""), j.get("path", ""), pod, j.get("as") == "path")


# In this order: an enum has a member "int" too.
_READERS: tuple[tuple[str, Callable[[dict[str, Any]], Value]], ...] = (
    ("enum", lambda j: Enum(j["enum"], int(j["int"]))),
    ("int", lambda j: int(j["int"])),
    ("bool", lambda j: bool(j["bool"])),
    ("str", lambda j: str(j["str"])),
    ("pointer", lambda j: Pointer(int(j["pointer"], 16))),
    ("hex", lambda j: Bytes(bytes.fromhex(j["hex"]))),
    ("array", lambda j: Array(tuple(from_json(item) for item in j["array"]))),
    ("tuple", lambda j: Tuple(tuple(from_json(item) for item in j["tuple"]))),
    ("record", lambda j: Record(tuple((field["name"], from_json(field["value"])) for field in j["record"]))),
    ("text", lambda j: Text(j["text"], j["kind"])),
    ("cgroup", _cgroup),
)
