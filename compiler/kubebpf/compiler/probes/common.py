"""What `args` and `retval` are in a probe with a wildcard: what all its matches in the compiler's kernel have in common.

fentry:vfs_rea[dl]* { args.file }     fine when all of them have `file`, of one type and in one place
fentry:vfs_* { args.file }            vfs_path_lookup has no such argument: refused, and named

One program serves all matches, so the manifest says what it reads, and names one match: a node leaves out those that look
different there (agent: session/alike.py). Where all matches have what is read, but not in the same place, each of the compiler's
kernel becomes an attach point of its own:

tracepoint:syscalls:sys_enter_exec* { args.argv }      sys_enter_execve, and sys_enter_execveat, where it is the third
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.probes import MatchesDiffer
from kubebpf.compiler.kernel.view import wildcard
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Type

if TYPE_CHECKING:
    from kubebpf.compiler.kernel.btf import Function
    from kubebpf.compiler.kernel.tracepoints import TracepointArgs
    from kubebpf.compiler.kernel.view import KernelView
    from kubebpf.compiler.passes.typing import Typing
    from kubebpf.compiler.probes.record import Target

APART_MOST = 64  # programs that one attach point may become
RESULT = "$result"  # among what is read: no argument has such a name


@dataclass(frozen=True, slots=True)
class Found:
    """One thing of one match: where it is, and its type."""

    place: object
    type: Type


Things = dict[str, Found]
"""What a match has, by name."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The matches of a wildcard, each with what it has.

    Args:
        names: in full, without the provider.
        things: of each.
    """

    names: tuple[str, ...]
    things: tuple[Things, ...]


def argument(t: Typing, node: tree.Expr, target: Target, name: str, matches: Matches, what: str = "") -> typed.Expr:
    """`args.name` of all matches, or `retval`, with `what` for diagnostics."""
    what = what or (f"args.{name}" if name else "args")
    if not matches.names:
        if t.view.anything_exists:
            return typed.Argument(span=node.span, type=U64, access=None)
        return _refuse(t, node, target, what, "the kernel has nothing that matches, so nothing is known of it")
    first = matches.things[0].get(name)
    if name and _need_programs_each(name, matches):
        t.apart[target.node.span] = matches.names
        return t.bad(node)  # in the next round each match has a program of its own
    for match, things in zip(matches.names, matches.things, strict=True):
        if not name:
            return _refuse(t, node, target, what, "their arguments differ")
        if problem := _problem(matches.names[0], first, match, things.get(name)):
            return _refuse(t, node, target, what, problem)
    assert first is not None
    read = {str(part) for part in str(target.parts.get("common", "")).split(",") if part} | {name}
    target.parts.update(like=matches.names[0], common=",".join(sorted(read)))
    return typed.Argument(span=node.span, type=first.type, access=first.place)


def _need_programs_each(name: str, matches: Matches) -> bool:
    """Whether all matches have a thing, but not the same, and are few enough to get a program each."""
    found = [things.get(name) for things in matches.things]
    alike = all(not _problem("", found[0], "", other) for other in found)
    return None not in found and not alike and len(found) <= APART_MOST


def names(matches: Matches) -> tuple[str, ...] | None:
    """The arguments of a probe that has the same in all matches."""
    own = [tuple(name for name in things if name != RESULT) for things in matches.things]
    return own[0] if own and all(other == own[0] for other in own) else None


def _problem(like: str, first: Found | None, match: str, found: Found | None) -> str:
    """How a match differs from the first, or ""."""
    if found is None or first is None:
        return f"{like if first is None else match} does not have it"
    if str(found.type) != str(first.type):
        return f"it is {first.type} in {like}, and {found.type} in {match}"
    if found.place != first.place:
        return f"it is elsewhere in {match} than in {like}"
    return ""


def _refuse(t: Typing, node: tree.Expr, target: Target, what: str, problem: str) -> typed.Bad:
    hint = "Name what is meant, or write a narrower pattern: one program serves all matches."
    return t.bad(node, MatchesDiffer(span=node.span, what=what, pattern=target.text, problem=problem, help=(hint,)))


# --- the matches ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def functions(view: KernelView, module: str, function: str, read: Callable[[Function], Things]) -> Matches:
    """Of a fentry or fexit, by its patterns."""
    modules, wanted = wildcard(module or "*").fullmatch, wildcard(function).fullmatch
    chosen = [(m, f) for m, f in view.functions() if wanted(f) and modules(m)]
    return _of((f, read(known)) for m, f in chosen if (known := view.function(f, m)))


@lru_cache(maxsize=8)
def raw_tracepoints(view: KernelView, event: str, read: Callable[[Function], Things]) -> Matches:
    """Of a rawtracepoint."""
    chosen = [name for name in view.raw_tracepoints() if wildcard(event).fullmatch(name)]
    return _of((name, read(known)) for name in chosen if (known := view.rawtracepoint(name)))


@lru_cache(maxsize=8)
def tracepoints(view: KernelView, category: str, event: str, read: Callable[[TracepointArgs], Things]) -> Matches:
    """Of a tracepoint. Those that are for ftrace alone have no arguments, and nothing is attached to them."""
    categories, events = wildcard(category).fullmatch, wildcard(event).fullmatch
    chosen = [(c, e) for c, e in view.tracepoints() if categories(c) and events(e)]
    return _of((f"{c}:{e}", read(known)) for c, e in chosen if (known := view.tracepoint(c, e)) and known.known)


def _of(found: Iterable[tuple[str, Things]]) -> Matches:
    known = list(found)
    return Matches(tuple(name for name, _ in known), tuple(things for _, things in known))
