"""The manifest: everything about an object that its ELF does not say, as JSON in the section `kubebpf.manifest`.

One Manifest is made by the compiler and read by every node; the same text and kernel view give the same bytes. Only plain
data here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from kubebpf.compiler.artifact.layouts import Layout
from kubebpf.compiler.artifact.types import DAggregate, Desc, desc_from_json, from_json, to_json

SECTION = "kubebpf.manifest"
RING = "kb_ring"  # BPF_MAP_TYPE_RINGBUF; present only when the program sends events
SITES = "kb_sites"  # PERCPU_ARRAY, value {u64 count, s64 last return code}; entry 0: events lost to a full ring; then `sites`
PACKETS = "kb_packets"  # PERF_EVENT_ARRAY of skboutput: records of the manifest's events, each with the bytes copied behind it
NAMES = "kb_names"  # HASH, u64 attach cookie -> char[NAME_BYTES]: what `probe` is at each match of a wildcard
NAME_BYTES = 128  # longer names are cut
OPERANDS = "kb_usdt"  # HASH, u64 attach cookie -> the records of artifact/operands.py; present when a usdt probe reads arguments
SYMBOLS = "kb_symbols"  # HASH, u64 attach cookie -> s64 each: how far behind the probed instruction a symbol of uaddr() lies
SCOPE = "kb_scope"  # HASH, u64 cgroup id -> u64; present only in scoped objects
PROCESSES = "kb_processes"  # LRU_HASH, u64 process id -> u64 address space; present only when user addresses are kept
LAST_PROCESS = "kb_last_process"  # PERCPU_ARRAY of one {u64 address space, u64 process id}: the last one that was looked up
ENDED = ".data.kb"  # {u64}: 0, or exit()'s code and one; present only in objects whose attached programs heed it
RATE = ".data.rate"  # {u64 second, u64 events}: what is counted for the constant max_events
CONSTANTS = ".rodata.kb"  # the map (ELF section) of the load-time constants


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of source text: 1-based lines and columns, the end exclusive, as diagnostics print them. `via`: inside a macro's
    body, the call that put it there."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    via: Place | None = None

    def calls(self) -> Iterator[Place]:
        """The macro calls around it, the innermost first."""
        place = self.via
        while place is not None:
            yield place
            place = place.via


@dataclass(frozen=True, slots=True)
class Attach:
    """One attach point, as written and as taken apart.

    Args:
        probe: its number in the order of declaration, from 0; also the attach cookie unless a wildcard was expanded by the node.
        program: the name of the BPF program (ELF symbol).
        provider: begin, end, interval, profile, software, hardware, tracepoint, rawtracepoint, uprobe, uretprobe, ….
        text: the attach point as written, the provider spelled out: what `probe` prints when there is no wildcard.
        target: the provider's parts: tracepoint {category, event}; rawtracepoint {event}; interval, profile
            {period_ns} or {hz}; software {event, count}; uprobe, uretprobe {path, function, offset} (function "" for a bare
            offset; `language` when one is given); usdt {path, namespace, name, reads}
            (the numbers of the arguments that are read, with commas); path and the like can be patterns.
        wildcard: the node expands the target; every match is attached with a cookie of its own.
        place: where it stands in the text.
        symbols: what uaddr() asks in it; their distances are values of the map SYMBOLS, in this order.
    """

    probe: int
    program: str
    provider: str
    text: str
    target: dict[str, str | int]
    wildcard: bool = False
    place: Place | None = None
    symbols: tuple[str, ...] = ()
    traceable: bool = False


@dataclass(frozen=True, slots=True)
class MapSchema:
    """A map of the program text.

    Args:
        name: as the text spells it: `@x`, `@`.
        symbol: its name in the ELF: `AT_x`, `AT_`.
        storage: the kernel map type: array, percpu_array (scalar maps), hash, percpu_hash, lru_hash, lru_percpu_hash.
        key: None for a scalar map (one entry, key 0 of the array).
        value: an aggregate's layout, or a plain value's.
        value_size: of the kernel map's value in bytes, flags and padding counted.
        set_offset: for arrays, the byte offset in the value of a u64 that is not 0 once the map was assigned; None for hashes.
        max_entries: of the kernel map.
    """

    name: str
    symbol: str
    storage: str
    key: Desc | None
    value: Desc | DAggregate
    key_size: int
    value_size: int
    set_offset: int | None
    max_entries: int


@dataclass(frozen=True, slots=True)
class Argument:
    """One value inside an event: where it lies, from the start of the event (its header counted), and what it is."""

    offset: int
    type: Desc


@dataclass(frozen=True, slots=True)
class Event:
    """The layout of one record of the ring buffer, by the number in its header.

    Args:
        id: the number that starts the record (u32).
        kind: printf, errorf, warnf, print_value, print_map, clear, zero, exit, time, join, cat, system, process (the first sight
            of a process whose addresses are kept; prints nothing), ….
        size: of the whole record in bytes.
        format: the format string of printf and its kin, time's format.
        arguments: in the order of the text. exit has its code here (or none: 0). print_value has one; print_map has the key when
            only one key is meant.
        map: the map of print_map, clear, zero.
        top, div: of print_map; 0 when not given.
        skip: of skboutput, whose path is the format: so many bytes at the start of what was copied are not wanted. The copy
            stands behind the record; its arguments are time, length of the copy, and length of what was copied from.
        place: where the call stands, for errorf and warnf.
    """

    id: int
    kind: str
    size: int
    format: str = ""
    arguments: tuple[Argument, ...] = ()
    map: str = ""
    top: int = 0
    div: int = 0
    place: Place | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or string that the node writes into `.rodata.kb` before it loads the object.

    Args:
        kind: ncpus, start_boottime, start_realtime, wall_offset, pidns_dev, pidns_ino, scope_level_lo, scope_level_hi,
            container_level,
            positional, positional_count, getopt, cgroupid, kaddr, self_pid, cpid, has_cpid, traced (arg: the
            attach point's number), max_events (a second; 0: no limit), ….
        offset: in the section, in bytes.
        size: in bytes: 8 for integers, the capacity for strings.
        string: whether it is a NUL-terminated string.
        arg: positional: the index from 1, `1+3` without the text's first three bytes; getopt: the option's name; cgroupid: the
            path.
        default: what the node writes when it is given nothing.
        place: where the program asks for what a node may not have; None for the others.
    """

    kind: str
    offset: int
    size: int
    string: bool = False
    arg: str = ""
    default: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the program that can fail at run time; its number indexes `kb_sites`.

    Args:
        kind: `lost` (number 0), `map_full`, `helper`, `delete_absent`, `divide_by_zero`, `contended`.
        helper: the name of the BPF helper, for messages.
        place: in the text.
    """

    kind: str
    helper: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the config block that the node needs."""

    max_strlen: int = 1024
    max_cat_bytes: int = 10240
    str_trunc_trailer: str = ".."
    print_maps_on_exit: bool = True
    missing_probes: str = "error"
    max_probes: int = 1024
    stack_mode: str = "bpftrace"
    cpp_demangle: bool = True
    ring_pages: int = 0  # 0: the node decides


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole manifest.

    Args:
        version: of this format.
        source_name: what diagnostics call the program: `stdin`, a path.
        header: the layout of an event's start: "plain" {u32 id, u32 zero}; "context" {u32 id, u32 cpu, u64 CLOCK_BOOTTIME ns,
            u64 cgroup id}.
        scoped: the programs count only events of the cgroups in `kb_scope`.
        attaches: in the order of declaration; begin and end probes too.
        strings: texts that values index (strftime formats, cgroup filters).
        features: kernel features required, by name (`helper:ringbuf_output`, `kfunc:bpf_strnlen`).
        unsafe: the unsafe helpers that the program calls.
        folded: the parameters whose values are in the code, because they stand where a literal has to: `$1`, `$#`, `--name`.
        layouts: what the kernel has to have where the code expects it; left out when there is nothing.
    """

    source_name: str
    attaches: tuple[Attach, ...]
    maps: tuple[MapSchema, ...] = ()
    events: tuple[Event, ...] = ()
    constants: tuple[Constant, ...] = ()
    sites: tuple[Site, ...] = ()
    strings: tuple[str, ...] = ()
    header: str = "plain"
    scoped: bool = False
    license: str = "GPL"
    config: Config = field(default_factory=Config)
    features: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()
    version: int = 1

    def to_json(self) -> str:
        """The JSON text that goes into the object: sorted keys, so that equal manifests are equal bytes."""
        data = asdict(self)
        data["maps"] = [_map_json(m) for m in self.maps]
        data["events"] = [_event_json(e) for e in self.events]
        del data["layouts"]
        data |= {"layouts": [layout.as_json() for layout in self.layouts]} if self.layouts else {}
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ManifestError: it is not JSON, not of this version, or lacks a member.
        """
        try:
            data = json.loads(text)
            if data["version"] != 1:
                raise ManifestError(f"this manifest has version {data['version']}, and version 1 is read here")
            return _manifest(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ManifestError(f"not a kubebpf manifest: {error!r}") from error


class ManifestError(ValueError):
    """The bytes are not a manifest that this version reads."""


HEADER_SIZES = {"plain": 8, "context": 24}


def _map_json(m: MapSchema) -> dict[str, Any]:
    plain = {
        name: getattr(m, name) for name in ("name", "symbol", "storage", "key_size", "value_size", "set_offset", "max_entries")
    }
    return plain | {"key": to_json(m.key) if m.key else None, "value": to_json(m.value)}


def _event_json(e: Event) -> dict[str, Any]:
    plain = {name: getattr(e, name) for name in ("id", "kind", "size", "format", "map", "top", "div")}
    arguments = [{"offset": a.offset, "type": to_json(a.type)} for a in e.arguments]
    plain |= {"skip": e.skip} if e.skip else {}
    return plain | {"arguments": arguments, "place": asdict(e.place) if e.place else None}


def _place(data: dict[str, Any] | None) -> Place | None:
    return Place(**(data | {"via": _place(data.get("via"))})) if data else None


def _manifest(data: dict[str, Any]) -> Manifest:
    rest = dict(data)
    rest["attaches"] = tuple(_attach(a) for a in data["attaches"])
    rest["maps"] = tuple(_map(m) for m in data["maps"])
    rest["events"] = tuple(_event(e) for e in data["events"])
    rest["constants"] = tuple(Constant(**(c | {"place": _place(c.get("place"))})) for c in data["constants"])
    rest["sites"] = tuple(Site(s["kind"], s["helper"], _place(s["place"])) for s in data["sites"])
    rest["config"] = Config(**data["config"])
    rest["layouts"] = tuple(map(Layout.from_json, data.get("layouts", ())))
    return Manifest(**(rest | {name: tuple(data[name]) for name in ("strings", "features", "unsafe", "folded")}))


def _attach(a: dict[str, Any]) -> Attach:
    return Attach(**(a | {"place": _place(a["place"]), "symbols": tuple(a["symbols"])}))


def _map(m: dict[str, Any]) -> MapSchema:
    return MapSchema(**(m | {"key": desc_from_json(m["key"]) if m["key"] else None, "value": from_json(m["value"])}))


def _event(e: dict[str, Any]) -> Event:
    arguments = tuple(Argument(a["offset"], desc_from_json(a["type"])) for a in e["arguments"])
    return Event(**(e | {"arguments": arguments, "place": _place(e["place"])}))
