"""The functions of this node's kernel that probes can be at, and where their wildcards lead.

    functions(Path("/sys/kernel/tracing"))                 -> {"vfs_read": "vmlinux", "nft_do_chain": "nf_tables", …}
    matching(…, "nf_*:nf_tables_[ns]*")                    -> [("nf_tables", "nf_tables_newtable"), …]

ftrace's own list is the best, as it leaves out what cannot be traced. Where it cannot be read, the names of all functions are
taken, and attaching tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kubebpf.agent.session.wildcards import pattern

VMLINUX = "vmlinux"
_KALLSYMS = Path("/proc/kallsyms")
_FUNCTIONS = frozenset("tTwW")  # the types of nm(1) that code has
# What compilers make beside functions, and functions that trap the processor in the tracer's own code.
_ITERATES = "__traceiter_"  # include/linux/tracepoint.h
_NEVER = ("__pfx_", "__cfi_", "__ftrace_invalid_address__", "__SCT__")


def functions(tracefs: Path, kallsyms: Path = _KALLSYMS) -> dict[str, str]:
    """Name to module; of a name that several functions have, the first.

    Args:
        tracefs: where it is mounted.
        kallsyms: the list of all symbols.
    """
    found: dict[str, str] = {}
    for name, module in _traceable(tracefs) or _symbols(kallsyms):
        if not name.startswith(_NEVER):
            found.setdefault(name, module)
    return found


def events(kallsyms: Path = _KALLSYMS) -> dict[str, str]:
    """The raw tracepoints of the kernel and its modules: name to module. Each has a function that calls its probes."""
    return {name.removeprefix(_ITERATES): module for name, module in _symbols(kallsyms) if name.startswith(_ITERATES)}


def matching(known: dict[str, str], module: str, function: str) -> list[tuple[str, str]]:
    """(module, name) of every function that two patterns match, by name; an empty module matches all."""
    modules, names = pattern(module or "*").fullmatch, pattern(function).fullmatch
    return sorted(((m, name) for name, m in known.items() if names(name) and modules(m)), key=lambda pair: pair[1])


def _traceable(tracefs: Path) -> list[tuple[str, str]]:
    # "vfs_read" or "nft_do_chain [nf_tables]", a line each
    try:
        lines = (tracefs / "available_filter_functions").read_text().splitlines()
    except OSError:
        return []
    return [(name, _module(rest)) for name, _, rest in (line.partition(" ") for line in lines)]


def _symbols(kallsyms: Path) -> Iterator[tuple[str, str]]:
    # "ffffffff81000000 T _stext" or "ffffffffc0000000 t nft_do_chain	[nf_tables]"
    with kallsyms.open() as lines:
        for line in lines:
            _, kind, name, *rest = line.split()
            if kind in _FUNCTIONS and "." not in name and rest != ["[bpf]"]:
                yield name, _module("".join(rest))


def _module(written: str) -> str:
    return written.strip("[]") or VMLINUX
