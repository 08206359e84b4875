"""A target kernel, as the compiler sees it: what it has, by name. It is an argument of the compiler, never a global.

    view = KernelView.running()
    view.struct("task_struct"), view.typedef("pid_t"), view.enum_constant("TCP_CLOSE")
    view.tracepoint("sched", "sched_switch").field("prev_comm")
    view.rawtracepoint("sched_switch").params[1]      -> ("prev", Pointer(struct task_struct))

vmlinux is asked first, then the modules in the order of their names; these are read only when vmlinux does not have a thing.
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from kubebpf.compiler.kernel import packaged, perf
from kubebpf.compiler.kernel.btf import Btf, BtfError, Function
from kubebpf.compiler.kernel.btf_raw import Kind, readable
from kubebpf.compiler.kernel.formats import Formats
from kubebpf.compiler.kernel.tracepoints import TracepointArgs, Tracepoints
from kubebpf.compiler.types.model import VOID, EnumType, Struct, Type, flat_fields
from kubebpf.compiler.userland.programs import Programs
from kubebpf.compiler.userland.signatures import Signatures

BTF_DIRECTORY = Path("/sys/kernel/btf")
VMLINUX = "vmlinux"
_TRACEPOINT = "btf_trace_"  # the typedef that names a raw tracepoint's prototype; the verifier goes by it too
_ITER = "bpf_iter__"  # the struct of an iterator's context
_BRACKETS = re.compile(r"\[[^\]]*\]|\?")
_T = TypeVar("_T")
# What only one processor's struct pt_regs has (arch/*/include/asm/ptrace.h).
_MACHINES = {"orig_ax": "x86_64", "pstate": "aarch64"}
# Functions that every tracepoint has and whose parameters, unlike the typedef's, have names (include/linux/tracepoint.h).
_NAMED = ("__probestub_", "__traceiter_")


class ProgramTypes(Protocol):
    """The types that a program defines itself. They come before the kernel's."""

    def struct(self, name: str) -> Struct | None:
        """The struct with this name."""
        ...

    def union(self, name: str) -> Struct | None:
        """The union with this name."""
        ...

    def enum(self, name: str) -> EnumType | None:
        """The enum with this name."""
        ...

    def typedef(self, name: str) -> Type | None:
        """What a typedef stands for."""
        ...

    def enum_constant(self, name: str) -> tuple[EnumType, int] | None:
        """The enum that declares a constant, and its value."""
        ...

    def macro(self, name: str) -> str | None:
        """The text of a macro without parameters."""
        ...

    def names(self) -> Iterable[str]:
        """The names of the program's types, for hints."""
        ...

    def macros(self) -> Iterable[str]:
        """The names of the program's macros, for hints."""
        ...


class KernelView:
    """What one kernel has. The alternative constructors are `running`, `from_file` and `offline`.

    `programs` are the binaries of this machine, where the compiler may look at them; None elsewhere.

    Args:
        btf: of vmlinux; a file is read when something is asked of it.
        formats: the formats of its tracepoints, or None.
        modules: the files with its modules' BTF, by name.
        build: tells apart kernels whose BTF is the same; part of the digest.
        anything_exists: every function and tracepoint asked for exists; of those that BTF does not know nothing else is known.
    """

    def __init__(
        self,
        btf: Btf | Path,
        formats: Formats | None = None,
        modules: dict[str, Path] | None = None,
        build: str = "",
        anything_exists: bool = False,
    ) -> None:
        self.programs: Programs | None = None
        self.signatures = Signatures()
        self._source = btf
        self.formats = formats
        self.anything_exists = anything_exists
        self._modules = modules or {}
        self._build = build
        self._opened: dict[str, Btf] = {}
        self._tracepoints: dict[int, Tracepoints] = {}
        self.program: ProgramTypes | None = None  # the types of the program that is being compiled

    @classmethod
    def running(cls, directory: Path = BTF_DIRECTORY) -> KernelView:
        """The kernel of this machine.

        Raises:
            BtfError: it has no BTF, or not for us.
        """
        modules = {path.name: path for path in sorted(directory.glob("*")) if path.name != VMLINUX}
        # A short program asks nothing of the kernel's types, and indexing them takes longer than compiling it.
        return cls(readable(directory / VMLINUX), Formats.find(), modules, os.uname().version)

    @classmethod
    def from_file(cls, btf: Path, formats: Path | None = None) -> KernelView:
        """A kernel that is known by its BTF, and by a copy of its `events` directory if there is one.

        Raises:
            BtfError: the file is missing or is no BTF, or `formats` is no directory.
        """
        if formats and not formats.is_dir():
            raise BtfError(f"{formats} is no directory of tracepoint formats")
        return cls(Btf.read(btf), Formats(formats) if formats else None)

    @classmethod
    def offline(cls, btf: Path | None = None) -> KernelView:
        """A kernel that has whatever it is asked for. Types come from `btf`, by default this machine's where it has one."""
        try:
            types = Btf.read(btf or BTF_DIRECTORY / VMLINUX)
        except BtfError:
            if btf:
                raise
            types = Btf.empty()
        return cls(types, anything_exists=True)

    @cached_property
    def machine(self) -> str:
        """Its processor as `uname -m` says it, told by the registers that its kernel saves; "" where they are not known here."""
        if self._build:
            return os.uname().machine
        registers = self.btf.struct("pt_regs")
        names = {field.name for field in flat_fields(registers)} if registers else set()
        return next((machine for register, machine in _MACHINES.items() if register in names), "")

    def with_types_of(self, program: ProgramTypes) -> KernelView:
        """This kernel, as seen by a program with types of its own: these hide the kernel's of the same name."""
        _ = self.btf  # read once, for both
        seen = copy.copy(self)
        seen.program = program
        return seen

    @cached_property
    def btf(self) -> Btf:
        """The BTF of vmlinux."""
        return Btf.read(self._source) if isinstance(self._source, Path) else self._source

    @cached_property
    def digest(self) -> str:
        """Changes when anything changes that a compilation could ask; hexadecimal."""
        state = hashlib.sha256(f"{self._build}\0{self.anything_exists}\0".encode())
        state.update(self.btf.raw.words)
        state.update(self.btf.raw.strings)
        for name, path in self._modules.items():
            state.update(f"{name}\0{path.stat().st_size}\0".encode())
        if self.formats:
            state.update(self._formats_state(self.formats))
        return state.hexdigest()

    def _formats_state(self, formats: Formats) -> bytes:
        names = formats.names
        # One build of a kernel has one text for each name; a saved copy may be of anything, so there the texts count.
        texts = [] if self._build else [formats.text(*name) or "" for name in names]
        return repr((names, texts)).encode()

    def struct(self, name: str) -> Struct | None:
        """The struct with this name, a definition before a forward declaration (which has size 0)."""
        own = self.program and self.program.struct(name)
        return own or self._defined(btf.struct(name) for btf in self.all_btf())

    def union(self, name: str) -> Struct | None:
        """As `struct`, for unions."""
        own = self.program and self.program.union(name)
        return own or self._defined(btf.union(name) for btf in self.all_btf())

    def enum(self, name: str) -> EnumType | None:
        """The enum with this name."""
        own = self.program and self.program.enum(name)
        return own or _first(btf.enum(name) for btf in self.all_btf())

    def typedef(self, name: str) -> Type | None:
        """What a typedef, or a base type of C such as `unsigned int`, stands for."""
        own = self.program and self.program.typedef(name)
        return own or next((t for btf in self.all_btf() if (t := btf.typedef(name)) is not None), None)

    def enum_constant(self, name: str) -> tuple[EnumType, int] | None:
        """The enum that declares a constant, and its value."""
        own = self.program and self.program.enum_constant(name)
        return own or _first(btf.enum_constant(name) for btf in self.all_btf())

    def variable(self, name: str) -> Type | None:
        """The type of a per-CPU variable."""
        return next((t for btf in self.all_btf() if (t := btf.variable(name)) is not None), None)

    def function(self, name: str, module: str = "") -> Function | None:
        """The first function with this name, in `module` if one is given ("vmlinux" is one)."""
        found = _first(btf.function(name) for btf in self.all_btf(module))
        return found or (Function(name, known=False) if self.anything_exists else None)

    def module_of(self, function: str) -> str:
        """The module that has a function, "vmlinux" for the kernel itself; "" when none has it."""
        for name in self.modules:
            btf = self._open(name)
            if btf and btf.raw.find(function, (Kind.FUNC,)) is not None:
                return name
        return ""

    def rawtracepoint(self, event: str, module: str = "") -> Function | None:
        """The arguments of a raw tracepoint as the parameters of a function; the `void *__data` in front of them is dropped."""
        found = _first(_raw_tracepoint(btf, event) for btf in self.all_btf(module))
        return found or (Function(event, known=False) if self.anything_exists else None)

    def tracepoint(self, category: str, event: str) -> TracepointArgs | None:
        """The arguments of a tracepoint, None when the kernel does not have it."""
        found: TracepointArgs | None = None
        for btf in self.all_btf():
            args = self._tracepoints_of(btf).args(category, event)
            if args and args.struct:
                return args
            found = found or args
        return found or (TracepointArgs(category, event, known=False) if self.anything_exists else None)

    def has_tracepoint(self, category: str, event: str) -> bool:
        """Whether the kernel has a tracepoint. Without tracefs, any category is accepted for an event that no table knows."""
        return self.tracepoint(category, event) is not None

    def tracepoints(self) -> Iterator[tuple[str, str]]:
        """(category, event) of every tracepoint; without tracefs, of those that this package knows."""
        if self.formats:
            yield from self.formats.names
            return
        events = set(self.raw_tracepoints())
        yield from (pair for pair in packaged.tracepoints() if pair[1] in events)
        if "sys_enter" in events:
            yield from (("syscalls", f"sys_{way}_{name}") for way in ("enter", "exit") for name in packaged.syscalls())

    def raw_tracepoints(self) -> Iterator[str]:
        """The names of all raw tracepoints, each once, vmlinux's before the modules'."""
        seen: dict[str, None] = {}
        for btf in self.all_btf():
            seen.update((name.removeprefix(_TRACEPOINT), None) for name, _ in btf.raw.starting(_TRACEPOINT, Kind.TYPEDEF))
        return iter(seen)

    def functions(self, module: str = "") -> Iterator[tuple[str, str]]:
        """(module, function) of every function that BTF has, each once."""
        for name in [module] if module else self.modules:
            btf = self._open(name)
            yield from ((name, function) for function in dict.fromkeys(btf.functions() if btf else ()))

    @property
    def modules(self) -> tuple[str, ...]:
        """vmlinux and the modules."""
        return (VMLINUX, *self._modules)

    def type_names(self, keyword: str, others: Iterable[str] = ()) -> Iterator[str]:
        """The names of all structs, unions or enums; those of typedefs, structs and some others when there is no keyword."""
        kinds = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
        yield from others if not keyword else ()
        yield from self.program.names() if self.program else ()
        for btf in self.all_btf():
            yield from btf.names(*kinds.get(keyword, (Kind.TYPEDEF, Kind.STRUCT)))

    def constant_names(self) -> Iterator[str]:
        """The names of the program's macros, and of all enum constants."""
        yield from self.program.macros() if self.program else ()
        for btf in self.all_btf():
            yield from (btf.raw.string(offset) for offset in btf.raw.constants)

    def alias(self, struct: Struct) -> str:
        """The typedef by which an anonymous struct can be named, "" when there is none."""
        return struct.source.alias(struct) if isinstance(struct.source, Btf) else ""

    def match(self, provider: str, pattern: str) -> Iterator[str]:
        """The targets of a provider that match a pattern with `*` and `[abc]`, as attach points spell them behind the provider.

        A tracepoint's pattern without a colon is matched with the event alone, a function's with the name alone.
        """
        return matching(self.targets(provider), pattern)

    def targets(self, provider: str) -> Iterator[str]:
        """Everything that a provider can be attached to, without units, counts and the like."""
        match provider:
            case "tracepoint":
                return (f"{category}:{event}" for category, event in self.tracepoints())
            case "rawtracepoint":
                return self.raw_tracepoints()
            case "fentry" | "fexit" | "kprobe" | "kretprobe":
                return (f"{module}:{function}" for module, function in self.functions())
            case "software":
                return iter(perf.names(perf.SOFTWARE))
            case "hardware":
                return iter(perf.names(perf.HARDWARE))
            case "iter":
                return (name.removeprefix(_ITER) for name, _ in self.btf.raw.starting(_ITER, Kind.STRUCT))
        return iter(())

    def all_btf(self, module: str = "") -> Iterator[Btf]:
        """The BTF of vmlinux and then of each module, opened when its turn comes; of `module` alone if one is given."""
        for name in [module] if module else self.modules:
            if btf := self._open(name):
                yield btf

    def _tracepoints_of(self, btf: Btf) -> Tracepoints:
        return self._tracepoints.setdefault(id(btf), Tracepoints(btf, self.formats))

    def _open(self, module: str) -> Btf | None:
        if module == VMLINUX:
            return self.btf
        if module not in self._opened and module in self._modules:
            self._opened[module] = Btf.read(self._modules[module], self.btf)
        return self._opened.get(module)

    @staticmethod
    def _defined(found: Iterable[Struct | None]) -> Struct | None:
        forward = None
        for struct in found:
            if struct and struct.size:
                return struct
            forward = forward or struct
        return forward


def closest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates that a misspelt name may have meant, the likeliest first.

    Only names of about the same length that share a start or an end with it are compared, because a kernel has 60,000 functions.
    """
    slack = max(2, len(name) // 4)
    near = [c for c in candidates if abs(len(c) - len(name)) <= slack and (c[:2] == name[:2] or c[-3:] == name[-3:])]
    return difflib.get_close_matches(name, dict.fromkeys(near), limit, 0.7)


def matching(names: Iterable[str], pattern: str) -> Iterator[str]:
    """The names that a pattern with `*` and `[abc]` matches; a pattern without a colon goes by what follows the last colon."""
    wanted = wildcard(pattern)
    if ":" in pattern:
        return (name for name in names if wanted.fullmatch(name))
    return (name for name in names if wanted.fullmatch(name.rpartition(":")[2]))


def wildcard(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression: `*` is any text, `[abc]` one of the letters; everything else is literal, `?` too."""
    return re.compile(fnmatch.translate(_BRACKETS.sub(lambda part: "[?]" if part[0] == "?" else part[0], pattern)))


def _raw_tracepoint(btf: Btf, event: str) -> Function | None:
    raw = btf.raw
    number = raw.find(_TRACEPOINT + event, (Kind.TYPEDEF,))
    if number is None or raw.kind(pointer := raw.target(number)) is not Kind.PTR:
        return None
    found = btf.prototype(raw.target(pointer), event)
    types = [t for _, t in found.params[1:]]
    for prefix in _NAMED:
        named = btf.function(prefix + event)
        if named and [t for _, t in named.params[1:]] == types:
            return replace(named, name=event, params=named.params[1:], returns=VOID)
    return replace(found, params=tuple((f"arg{i}", t) for i, t in enumerate(types)))


def _first(found: Iterable[_T | None]) -> _T | None:
    return next((item for item in found if item is not None), None)
