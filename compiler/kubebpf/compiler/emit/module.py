"""One object under construction: its maps, load-time constants, events, failure sites, and the text of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kubebpf.compiler.artifact import manifest as m
from kubebpf.compiler.artifact import operands
from kubebpf.compiler.emit.debug import Debug
from kubebpf.compiler.emit.describe import aggregate_layout, describe, storage_size, storage_type
from kubebpf.compiler.emit.helpers import BPF_F_NO_PREALLOC, MapType
from kubebpf.compiler.emit.ir import Function, Operand, const, quoted
from kubebpf.compiler.emit.relocations import Relocations
from kubebpf.compiler.emit.target import SUFFIX
from kubebpf.compiler.options import CompileOptions, Settings
from kubebpf.compiler.syntax.span import Position, Source, Span
from kubebpf.compiler.types.model import Aggregate, Pointer, Type, Void, round_up, sizeof
from kubebpf.compiler.types.typed import MapInfo

RING_BYTES = 1 << 18  # a default that libbpf loads as it is; the node may change it before the load
SCOPE_ENTRIES = 16384
PROCESS_ENTRIES = 4096
LARGE = 256  # bytes; hash maps with larger keys or values are not preallocated: 4096 histograms for each CPU, or stacks, would be
DECLARATIONS = """
declare ptr @llvm.preserve.struct.access.index.p0.p0(ptr, i32 immarg, i32 immarg)
declare ptr @llvm.preserve.union.access.index.p0.p0(ptr, i32 immarg)
declare ptr @llvm.preserve.array.access.index.p0.p0(ptr, i32 immarg, i32 immarg)
declare i32 @llvm.bpf.preserve.field.info.p0(ptr, i64 immarg)
declare i32 @llvm.bpf.preserve.type.info(i32, i64 immarg)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1 immarg)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1 immarg)
attributes #0 = { nounwind }
"""


@dataclass
class Module:
    """What all programs of an object share.

    Args:
        sources: the program text, then those that it imports.
        options: how it is compiled.
        settings: its config block.
    """

    sources: Sequence[Source]
    options: CompileOptions
    settings: Settings
    schemas: dict[str, m.MapSchema] = field(default_factory=dict)
    constants: dict[tuple[str, str, bool], m.Constant] = field(default_factory=dict)
    events: list[m.Event] = field(default_factory=list)
    sites: list[m.Site] = field(default_factory=lambda: [m.Site("lost")])
    attaches: list[m.Attach] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    externals: dict[str, str] = field(default_factory=dict)  # declarations of functions that linked code has
    routines: dict[str, str] = field(default_factory=dict)  # functions that programs call, by name; see routines.py
    rings: bool = False
    packets: bool = False  # it sends network packets
    processes: bool = False  # it announces processes
    counted: bool = False
    usdt: bool = False  # whether a usdt probe reads arguments
    symbols: int = 0  # the most symbols that a probe asks uaddr() for
    scratch_size: int = 0
    scratch_entries: int = 0
    frugal: bool = False  # spare the stack: an attempt without that took too much
    stack_budget: int = 320  # bytes of each function's stack that are given out; the rest is LLVM's, for spilled registers
    zero_size: int = 0
    _globals: list[str] = field(default_factory=list)
    _variables: set[str] = field(default_factory=set)
    _texts: dict[bytes, str] = field(default_factory=dict)
    _constants_end: int = 0
    limits_rate: bool = False  # whether events are counted by the second
    of_machine: bool = False  # whether code depends on where this processor keeps its registers
    heeds_exit: bool = False  # whether exit() stops the programs by a word that they look at

    def __post_init__(self) -> None:
        self.debug = Debug(self.source)
        self.relocations = Relocations(self.debug, SUFFIX)

    @property
    def arch(self) -> str:
        """The processor, for code that is right for it alone."""
        self.of_machine = True
        return self.options.arch

    @property
    def source(self) -> Source:
        """The program text."""
        return self.sources[0]

    # -- places --------------------------------------------------------------------------------------------------------

    def place(self, span: Span) -> m.Place:
        """A span as the manifest says it."""
        source = self.sources[span.file]
        start, end = source.position(span.start), source.position(max(span.end, span.start))
        via = self.place(span.via) if span.via else None
        return m.Place(source.name, start.line, start.column, end.line, end.column, via)

    def position(self, span: Span) -> Position:
        """Where the program itself has a span: of a macro's body in another text, the call."""
        own = next((s for s in (span, *span.calls()) if s.file == 0), Span(0, 0))
        return self.source.position(own.start)

    # -- maps ----------------------------------------------------------------------------------------------------------

    def schema(self, info: MapInfo) -> m.MapSchema:
        """The kernel map behind a map of the text, made at first sight."""
        if info.name not in self.schemas:
            self.schemas[info.name] = self._make_schema(info)
        return self.schemas[info.name]

    def _make_schema(self, info: MapInfo) -> m.MapSchema:
        aggregate = isinstance(info.value, Aggregate)
        layout = aggregate_layout(info.value) if isinstance(info.value, Aggregate) else describe(info.value)
        size = layout.size if isinstance(info.value, Aggregate) else storage_size(info.value)  # type: ignore[union-attr]
        key = None if info.key is None else storage_type(info.key)
        scalar = key is None
        kind = {
            "": "hash",
            "hash": "hash",
            "lruhash": "lru_hash",
            "percpuhash": "percpu_hash",
            "percpulruhash": "lru_percpu_hash",
        }
        storage = ("percpu_array" if aggregate else "array") if scalar else kind[info.kind]
        if aggregate and storage == "hash":
            storage = "percpu_hash"
        return m.MapSchema(
            name=info.name,
            symbol="AT_" + info.name[1:],
            storage=storage,
            key=None if key is None else describe(key),
            value=layout,
            key_size=4 if key is None else sizeof(key),
            value_size=size + 8 if scalar else size,
            set_offset=size if scalar else None,
            max_entries=1 if scalar else info.max_entries or self.settings.max_map_keys,
        )

    def _map(self, symbol: str, kind: MapType, key: int, value: int, entries: int, flags: int = 0) -> str:
        """A BTF-defined map: libbpf reads numbers from the lengths of arrays (`__uint` of bpf_helpers.h)."""
        numbers = {"type": int(kind), "key_size": key, "value_size": value, "max_entries": entries, "map_flags": flags}
        members, at = [], 0
        for name, number in numbers.items():
            if number:
                array = self.debug.array(self.debug.int, 32, number)
                members.append(self.debug.member(name, self.debug.pointer(array), 64, at * 64))
                at += 1
        variable = self.debug.global_variable(symbol, self.debug.struct("", members, at * 64))
        return f'@{symbol} = dso_local global [{at * 8} x i8] zeroinitializer, section ".maps", align 8, !dbg !{variable}'

    def _maps(self) -> list[str]:
        lines = [self._text_map(s) for s in self.schemas.values()]
        if self.rings:
            lines.append(self._map(m.RING, MapType.RINGBUF, 0, 0, RING_BYTES))
        if self.packets:
            lines.append(self._map(m.PACKETS, MapType.PERF_EVENT_ARRAY, 4, 4, 0))  # libbpf: one entry a CPU
        if self.counted:
            lines.append(self._map(m.SITES, MapType.PERCPU_ARRAY, 4, 16, len(self.sites)))
        if self.named:
            lines.append(self._map(m.NAMES, MapType.HASH, 8, m.NAME_BYTES, len(self.attaches)))
        if self.usdt:
            lines.append(self._map(m.OPERANDS, MapType.HASH, 8, operands.COUNT * operands.BYTES, len(self.attaches)))
        if self.symbols:
            lines.append(self._map(m.SYMBOLS, MapType.HASH, 8, 8 * self.symbols, len(self.attaches)))
        if self.processes:
            lines.append(self._map(m.PROCESSES, MapType.LRU_HASH, 8, 8, PROCESS_ENTRIES))
            lines.append(self._map(m.LAST_PROCESS, MapType.PERCPU_ARRAY, 4, 16, 1))
        if self.options.scoped:
            lines.append(self._map(m.SCOPE, MapType.HASH, 8, 8, SCOPE_ENTRIES, BPF_F_NO_PREALLOC))
        if self.scratch_size:
            lines.append(self._map("kb_scratch", MapType.PERCPU_ARRAY, 4, round_up(self.scratch_size, 8), self.scratch_entries))
        return lines

    def _text_map(self, s: m.MapSchema) -> str:
        kind = MapType[s.storage.upper()]
        sparse = s.storage in ("hash", "percpu_hash") and max(s.key_size, s.value_size) > LARGE
        return self._map(s.symbol, kind, s.key_size, s.value_size, s.max_entries, BPF_F_NO_PREALLOC if sparse else 0)

    # -- constants -----------------------------------------------------------------------------------------------------

    def constant(
        self, kind: str, arg: str = "", *, string: bool = False, size: int = 8, default: str = "", span: Span | None = None
    ) -> m.Constant:
        """A load-time constant: the same one for the same question. `span` is where it is asked."""
        key = (kind, arg, string)
        if key not in self.constants:
            self.constants[key] = m.Constant(
                kind, self._constants_end, size, string, arg, default, self.place(span) if span else None
            )
            self._constants_end += round_up(size, 8)
        return self.constants[key]

    # -- data ----------------------------------------------------------------------------------------------------------

    def zeros(self, size: int) -> str:
        """A symbol behind which that many zeros stand, in read-only memory."""
        self.zero_size = max(self.zero_size, round_up(size, 8))
        return "@kb_zero"

    def text(self, data: bytes) -> str:
        """A symbol for constant bytes."""
        if data not in self._texts:
            name = f"@kb_text{len(self._texts)}"
            self._texts[data] = name
            self._globals.append(f'{name} = internal constant [{len(data)} x i8] c"{quoted(data)}", section ".rodata", align 8')
        return self._texts[data]

    def kernel_variable(self, name: str, kind: Type) -> str:
        """The symbol of a per-CPU variable of the kernel, which libbpf finds in the node's BTF. Only what kind of type it has
        counts (bpf_core_types_are_compat)."""
        if name not in self._variables:
            number = self.debug.external(name, self.relocations.declared(kind))
            self._variables.add(name)
            self._globals.append(f'@{name} = external dso_local constant i64, section ".ksyms", align 8, !dbg !{number}')
        return f"@{name}"

    def kernel_function(self, name: str, returns: Type, *parameters: Type) -> str:
        """The symbol of a kernel function that programs may call (a kfunc), which libbpf finds in the node's BTF; a node without
        it refuses the object, naming it. `returns` is Void or a pointer."""
        if name not in self._variables:
            self._variables.add(name)
            types = tuple(self.relocations.of(p) for p in parameters)
            number = self.debug.declaration(name, None if isinstance(returns, Void) else self.relocations.of(returns), types)
            takes = ", ".join("ptr" if isinstance(p, Pointer) else f"i{sizeof(p) * 8}" for p in parameters)
            gives = "void" if isinstance(returns, Void) else "ptr"
            self._globals.append(f'declare !dbg !{number} {gives} @{name}({takes}) section ".ksyms"')
        return f"@{name}"

    # -- callbacks -----------------------------------------------------------------------------------------------------

    def counting_callback(self) -> str:
        """The symbol of a bpf_for_each_map_elem callback that adds one to the u64 behind its context."""
        name = "kb_count_element"
        if not self.calls_back:
            self.calls_back = True
            number = self.debug.callback(name, ("map", "key", "value", "ctx"))
            f = Function(name, "", number, returns="i64", parameters=("ptr", "ptr", "ptr", "ptr"), linkage="internal")
            f.location = f", !dbg !{self.debug.location(1, 1, number)}"
            total = Operand("%a3", "ptr")
            f.store(f.binary("add", f.load("i64", total, align=8), const(1)), total, align=8)
            f.ret(const(0))
            self.functions.append(f.text())
        return f"@{name}"

    named: bool = False  # whether a probe with a wildcard asks for its name
    calls_back: bool = False  # whether that callback is there

    # -- events and sites ----------------------------------------------------------------------------------------------

    def event(self, **fields: object) -> m.Event:
        """A new event layout; its number is given here."""
        self.rings, self.counted = True, self.options.count_failures
        event = m.Event(id=len(self.events), **fields)  # type: ignore[arg-type]
        self.events.append(event)
        return event

    def site(self, kind: str, span: Span, helper: str = "") -> int:
        """The number of a place that can fail."""
        self.counted = self.options.count_failures
        site = m.Site(kind, helper, self.place(span))
        if site not in self.sites:
            self.sites.append(site)
        return self.sites.index(site)

    # -- the whole -----------------------------------------------------------------------------------------------------

    def manifest(self, strings: tuple[str, ...], unsafe: tuple[str, ...], folded: tuple[str, ...]) -> m.Manifest:
        """The manifest of what was built."""
        s = self.settings
        config = m.Config(
            max_strlen=s.max_strlen, max_cat_bytes=s.max_cat_bytes, str_trunc_trailer=s.str_trunc_trailer,
            print_maps_on_exit=s.print_maps_on_exit, missing_probes=s.missing_probes, max_probes=s.max_probes,
            stack_mode=s.stack_mode, cpp_demangle=s.cpp_demangle,
            ring_pages=s.perf_rb_pages,
        )  # fmt: skip
        return m.Manifest(
            source_name=self.source.name,
            attaches=tuple(self.attaches),
            maps=tuple(self.schemas.values()),
            events=tuple(self.events),
            constants=self._constants(),
            sites=tuple(self.sites) if self.counted else (),
            strings=strings,
            header=self.options.header,
            scoped=self.options.scoped,
            license=s.license,
            config=config,
            unsafe=unsafe,
            folded=folded,
        )

    def _constants(self) -> tuple[m.Constant, ...]:
        # A program that asks whether there is a child is not refused where there is none.
        optional = any(c.kind == "has_cpid" for c in self.constants.values())
        return tuple(replace(c, default="0") if optional and c.kind == "cpid" else c for c in self.constants.values())

    def ir(self, manifest: m.Manifest) -> str:
        """The IR text of the whole module."""
        parts = self._maps()
        if self._constants_end:
            parts.append(self._constant_block())
        if self.heeds_exit:
            word = self.debug.global_variable("kb_ended", self.debug.base("unsigned long", 64, signed=False))
            parts.append(f'@kb_ended = dso_local global i64 0, section "{m.ENDED}", align 8, !dbg !{word}')
        if self.limits_rate:
            word = self.debug.base("unsigned long", 64, signed=False)
            cell = self.debug.global_variable("kb_rate", self.debug.array(word, 64, 2))
            parts.append(f'@kb_rate = dso_local global [2 x i64] zeroinitializer, section "{m.RATE}", align 8, !dbg !{cell}')
        if self.zero_size:
            parts.append(f'@kb_zero = internal constant [{self.zero_size} x i8] zeroinitializer, section ".rodata", align 8')
        parts += self._globals
        parts.append(_bytes("LICENSE", self.settings.license.encode(errors="surrogateescape") + b"\0", "license"))
        parts.append(_bytes("kb_manifest", manifest.to_json().encode() + b"\0", m.SECTION))
        types = self.relocations.finish()
        return "\n".join(
            [types, *parts, DECLARATIONS, *self.externals.values(), *self.functions, *self.routines.values(), self.debug.text()]
        )

    def _constant_block(self) -> str:
        char = self.debug.base("unsigned char", 8, signed=False)
        variable = self.debug.global_variable("kb_constants", self.debug.array(char, 8, self._constants_end))
        return (
            f"@kb_constants = dso_local externally_initialized constant [{self._constants_end} x i8] zeroinitializer, "
            f'section "{m.CONSTANTS}", align 8, !dbg !{variable}'
        )


def _bytes(name: str, data: bytes, section: str) -> str:
    return f'@{name} = dso_local constant [{len(data)} x i8] c"{quoted(data)}", section "{section}", align 1'
