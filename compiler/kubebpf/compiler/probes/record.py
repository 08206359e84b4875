"""A probe provider is one record: how its attach points are checked, which ELF section its programs go to, what they can ask for.

INTERVAL = Provider("interval", check=check_period, section=lambda t: "perf_event", scoped=False, …)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.typing import WrongProbe
from kubebpf.compiler.kernel.btf import Function
from kubebpf.compiler.passes import advice
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Field, Record, Space, Struct, Type

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing


@dataclass(frozen=True, slots=True)
class Target:
    """An attach point that was checked.

    Args:
        provider: its record.
        text: the attach point with the provider spelled out.
        parts: what the node needs to attach it; goes into the manifest as it is.
        wildcard: the node expands it.
        details: what the provider's own functions need to type arguments.
    """

    provider: Provider
    text: str
    node: tree.AttachPoint
    parts: dict[str, str | int] = field(default_factory=dict)
    wildcard: bool = False
    details: object = None


@dataclass(frozen=True, slots=True)
class RawArgument:
    """Argument `index` of a program whose context is an array of u64 (tp_btf)."""

    index: int


@dataclass(frozen=True, slots=True)
class Returned:
    """What a traced function returned, wherever it lies (bpf_get_func_ret, Linux 5.17)."""


@dataclass(frozen=True, slots=True)
class Register:
    """A register in the pt_regs that is the program's context: `arg0`…`arg5`, `retval`."""

    role: str


@dataclass(frozen=True, slots=True)
class Operand:
    """Argument `index` of a usdt probe: the node says, for each place of the probe, in which register or memory it lies."""

    index: int


@dataclass(frozen=True, slots=True)
class Passed:
    """A parameter of a user function, at its start: `place` is one of userland/convention.py."""

    place: object


Typist = Callable[["Typing", tree.Expr, Target, str], typed.Expr]
ContextType = Callable[["Typing", Target], Type]


def refuses(what: str) -> Typist:
    """The typist of a provider that does not have `what`."""

    def refuse(t: Typing, node: tree.Expr, target: Target, name: str) -> typed.Expr:
        provider = target.provider.name
        return t.bad(node, WrongProbe(span=node.span, name=what, provider=provider, help=advice.for_probe(what, provider)))

    return refuse


NO_ARGS, NO_NUMBERED, NO_RESULT = refuses("args"), refuses("argN"), refuses("retval")


def parameter_names(t: Typing, target: Target) -> tuple[str, ...] | None:
    """The named arguments of a target whose details are a function of BTF."""
    function = target.details
    return tuple(name for name, _ in function.params) if isinstance(function, Function) and function.known else None


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of probe.

    Args:
        name: as programs spell it in full.
        check: the parts of an attach point checked; None after a diagnostic.
        section: the ELF section of the program: libbpf reads the program type from it.
        scoped: whether the scope predicate stands in front of the program of a namespaced trace.
        current_is_cause: whether the task that runs is the one that the event is about.
        preemptible: whether another program may run on this CPU in the middle of this one (uprobes run with migration disabled,
        but not
            preemption: bpf_prog_run_array_uprobe, kernel/trace/bpf_trace.c), so that per-CPU updates have to be atomic.
        exclusive: whether the kernel runs at most one program of this provider on a CPU at a time: perf events, tracepoints and
        kprobes
            share bpf_prog_active (trace_call_bpf), a raw tracepoint's program is only kept from nesting in itself
            (bpf_prog->active).
        space: where a number cast to a pointer points to.
        argument: types `args.name`.
        names: what `args` has, in order; None where a probe has no named arguments, or nothing is known of them.
        numbered: types `argN`.
        result: types `retval`.
        context: the type of `ctx`; None where a program is not given it.
        function: of which space the function is that `func` names; NONE where there is none.
        element: the way, by members, from the context to the pointer to what an iterator is at, which is null at the end.
        stops: whether its programs do nothing any more once exit() ran; begin and end probes run all the same.
    """

    name: str
    check: Callable[[Typing, tree.AttachPoint], Target | None]
    section: Callable[[Target], str]
    scoped: bool = True
    current_is_cause: bool = True
    preemptible: bool = False
    exclusive: bool = True
    space: Space = Space.KERNEL
    argument: Typist = NO_ARGS
    names: Callable[[Typing, Target], tuple[str, ...] | None] = lambda t, target: None
    numbered: Typist = NO_NUMBERED
    result: Typist = NO_RESULT
    context: ContextType | None = None
    function: Space = Space.NONE
    element: Callable[[Target], tuple[tuple[Struct, Field], ...]] = lambda target: ()
    stops: bool = True


@dataclass(frozen=True, slots=True)
class Context:
    """The probe whose body is being typed."""

    target: Target

    @property
    def provider(self) -> Provider:
        """Its provider."""
        return self.target.provider

    @property
    def default_space(self) -> Space:
        """Where a number cast to a pointer points to here."""
        return self.provider.space

    def argument(self, t: Typing, node: tree.Expr, name: str) -> typed.Expr:
        """`args.name`."""
        return self.provider.argument(t, node, self.target, name)

    def arguments(self, t: Typing, node: tree.Expr) -> typed.Expr:
        """`args` as a whole: a record of all arguments."""
        names = self.provider.names(t, self.target)
        if not names:
            return self.provider.argument(t, node, self.target, "")
        elements = tuple(self.argument(t, node, name) for name in names)
        record = Record(tuple((name, e.type) for name, e in zip(names, elements, strict=True)))
        return typed.MakeTuple(span=node.span, type=record, elements=elements)

    def numbered(self, t: Typing, node: tree.Expr, index: int) -> typed.Expr:
        """`argN`."""
        return self.provider.numbered(t, node, self.target, str(index))

    def result(self, t: Typing, node: tree.Expr) -> typed.Expr:
        """`retval`."""
        return self.provider.result(t, node, self.target, "")
