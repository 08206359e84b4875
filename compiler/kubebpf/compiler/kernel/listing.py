"""What `kubebpf list PATTERN` prints: the probes of a kernel, one a line, and with -v what each of them is given.

    tracepoint:syscalls:sys_enter_read
        int __syscall_nr
        unsigned int fd
        char * buf
        size_t count

A pattern is `provider:target` with wildcards in both parts, a provider alone, or a piece of text with wildcards that is looked
for in the targets of all providers. `struct NAME`, `union NAME` and `enum NAME` show types of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kubebpf.compiler.kernel import spelling
from kubebpf.compiler.kernel.btf_raw import Kind
from kubebpf.compiler.kernel.view import KernelView, matching, wildcard
from kubebpf.compiler.types.model import EnumType, Struct

INDENT = "    "
_UNITS = ("hz", "ms", "s", "us")


@dataclass(frozen=True, slots=True)
class _Provider:
    """How a provider is listed.

    Args:
        name: spelled out.
        aliases: other spellings, in lower case.
        targets: what stands behind the provider in each line.
        arguments: the lines that -v adds to a target.
    """

    name: str
    aliases: tuple[str, ...]
    targets: Callable[[KernelView], Iterator[str]]
    arguments: Callable[[KernelView, str], Iterator[str]] = lambda view, target: iter(())


def lines(view: KernelView, pattern: str = "", verbose: bool = False) -> Iterator[str]:
    """The lines that `list` prints for a pattern; nothing when nothing matches.

    Args:
        view: the kernel.
        pattern: as the module's docstring says; empty for everything.
        verbose: add the arguments of each probe, or the members of each type.
    """
    keyword, _, name = pattern.strip().partition(" ")
    if keyword in _TYPES and name:
        yield from _types(view, keyword, name.strip(), verbose)
        return
    for provider, wanted in _split(pattern.strip()):
        for target in matching(provider.targets(view), wanted):
            yield f"{provider.name}:{target}" if target else provider.name
            if verbose:
                yield from (INDENT + line for line in provider.arguments(view, target))


def _split(pattern: str) -> Iterator[tuple[_Provider, str]]:
    """The providers that a pattern means, and what it wants of each."""
    first, colon, rest = pattern.partition(":")
    provider = wildcard(first.lower() or "*")
    chosen = [p for p in PROVIDERS if any(provider.fullmatch(name) for name in (p.name, *p.aliases))]
    if colon or (chosen and not set("*[") & set(first)):
        yield from ((p, _spelt(p, rest) if rest else "*") for p in chosen)
    else:
        yield from ((p, pattern or "*") for p in PROVIDERS)


def _spelt(provider: _Provider, target: str) -> str:
    """A target as lines spell it: some end with the colon in front of a count."""
    return target + ":" if provider.name in _WITH_COUNT and not target.endswith(":") else target


def _tracepoint(view: KernelView, target: str) -> Iterator[str]:
    args = view.tracepoint(*target.split(":", 1))
    yield from (field.declared for field in (args.fields if args else ()))


def _raw_tracepoint(view: KernelView, event: str) -> Iterator[str]:
    for prefix in ("__probestub_", "__traceiter_"):
        for btf in view.all_btf():
            if found := spelling.signature(btf, prefix + event):
                yield from found[0][1:]
                return
    function = view.rawtracepoint(event)
    yield from (f"{t} {name}" for name, t in (function.params if function else ()))


def _parameters(view: KernelView, target: str) -> Iterator[str]:
    module, _, function = target.partition(":")
    for btf in view.all_btf(module):
        if found := spelling.signature(btf, function):
            yield from found[0]
            return


def _with_result(view: KernelView, target: str) -> Iterator[str]:
    yield from _parameters(view, target)
    module, _, function = target.partition(":")
    found = next((s for btf in view.all_btf(module) if (s := spelling.signature(btf, function))), None)
    if found and found[1] != "void":
        yield f"{found[1]} retval"


def _iterated(view: KernelView, target: str) -> Iterator[str]:
    struct = view.struct(f"bpf_iter__{target}")
    for name, member in zip(struct.fields, spelling.members(struct), strict=True) if struct else ():
        # An anonymous union holds the pointer itself (__bpf_md_ptr in include/uapi/linux/bpf.h).
        inner = getattr(name.type, "fields", ()) if not name.name else ()
        yield from (f"{f.type} {f.name}" for f in inner if f.name) if inner else (member,)


def _counted(provider: str) -> Callable[[KernelView], Iterator[str]]:
    return lambda view: (f"{name}:" for name in view.targets(provider))


def _listed(provider: str) -> Callable[[KernelView], Iterator[str]]:
    return lambda view: iter(sorted(view.targets(provider)))


def _attachable(view: KernelView) -> Iterator[str]:
    """Functions of BTF that ftrace can attach to; all of them where tracefs does not say."""
    traceable = view.formats.traceable if view.formats else frozenset[str]()
    return (t for t in view.targets("fentry") if not traceable or t.partition(":")[2] in traceable)


def _probeable(view: KernelView) -> Iterator[str]:
    """Functions for kprobes: those of ftrace, of which BTF may lack some; of BTF where tracefs does not say. Without modules."""
    traceable = view.formats.traceable if view.formats else frozenset[str]()
    return iter(sorted(traceable) or (t.partition(":")[2] for t in view.targets("kprobe")))


_WITH_COUNT = ("software", "hardware", "interval", "profile")
PROVIDERS = (
    _Provider("begin", (), lambda view: iter([""])),
    _Provider("end", (), lambda view: iter([""])),
    _Provider("self", (), lambda view: iter(["signal:SIGUSR1"])),
    _Provider("interval", ("i",), lambda view: (f"{unit}:" for unit in _UNITS)),
    _Provider("profile", ("p",), lambda view: (f"{unit}:" for unit in _UNITS)),
    _Provider("software", ("s",), _counted("software")),
    _Provider("hardware", ("h",), _counted("hardware")),
    _Provider("tracepoint", ("t",), _listed("tracepoint"), _tracepoint),
    _Provider("rawtracepoint", ("rt",), _listed("rawtracepoint"), _raw_tracepoint),
    _Provider("iter", ("it",), _listed("iter"), _iterated),
    _Provider("kprobe", ("k",), _probeable),
    _Provider("kretprobe", ("kr",), _probeable),
    _Provider("fentry", ("f", "kfunc"), _attachable, _parameters),
    _Provider("fexit", ("fr", "kretfunc"), _attachable, _with_result),
)

_TYPES = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}


def _types(view: KernelView, keyword: str, pattern: str, verbose: bool) -> Iterator[str]:
    names = dict.fromkeys(name for btf in view.all_btf() for name in btf.names(*_TYPES[keyword]))
    for name in sorted(matching(names, pattern)):
        yield f"{keyword} {name}" + (" {" if verbose else "")
        if verbose:
            yield from (INDENT + line for line in _body(view, keyword, name))
            yield "};"


def _body(view: KernelView, keyword: str, name: str) -> Iterator[str]:
    found = getattr(view, keyword)(name)
    if isinstance(found, EnumType):
        yield from (f"{constant} = {value}," for constant, value in found.values)
    elif found:
        yield from _written(found)


def _written(struct: Struct) -> Iterator[str]:
    """The members of a struct, anonymous ones unfolded."""
    for field, text in zip(struct.fields, spelling.members(struct), strict=True):
        if isinstance(field.type, Struct) and (opening := f"{field.type.kind} {spelling.FOLDED}") and text.startswith(opening):
            yield f"{field.type.kind} {{"
            yield from (INDENT + line for line in _written(field.type))
            yield f"}}{text.removeprefix(opening)};"
        else:
            yield f"{text};"
