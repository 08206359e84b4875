"""Type inference and checking: the syntax tree goes in, the typed tree comes out.

Variables and maps get their types from the whole program, so the bodies are typed again and again until nothing more is learnt; a
last round, with all types known, keeps its tree and its diagnostics:

    begin { @a = 1; @b = @a }  interval:s:1 { @a = (uint64)nsecs }      -> @a: uint64, @b: uint64
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.registry import BUILTINS
from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.complaints.typing import (
    AggregateHasNoNumber,
    ContextInKey,
    KeyMismatch,
    KeyMissing,
    KeyUnexpected,
    MixedSigns,
    NoKey,
    TypeAsArgument,
    Unreachable,
    Unresolved,
)
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.passes.conversions import convert, decay
from kubebpf.compiler.passes.expressions import EXPRESSIONS
from kubebpf.compiler.passes.functions import declare_functions, type_functions
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.passes.parameters import Parameters
from kubebpf.compiler.passes.probes import check_names, providers_of, type_probe
from kubebpf.compiler.passes.slots import Slot, Slots
from kubebpf.compiler.passes.statements import STATEMENTS
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import VOID, Aggregate, FunctionType, Int, Type, Void

if TYPE_CHECKING:
    from kubebpf.compiler.builtins.record import Builtin
    from kubebpf.compiler.options import CompileOptions, Settings
    from kubebpf.compiler.probes.record import Context

ROUNDS = 32  # more than any chain of assignments that a person writes; a program that needs more is refused


@dataclass
class Typing:
    """The state of one round and the slots that all rounds share.

    Args:
        report: where the last round's diagnostics go.
        view: the kernel that names are looked up in.
        options: how the program is compiled.
        settings: the config block.
    """

    report: Report
    view: KernelView
    options: CompileOptions
    settings: Settings
    parameters: Parameters = field(init=False)
    getopts: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)  # kind, default, description
    slots: Slots = field(default_factory=Slots)
    final: bool = False
    context: Context | None = None
    strings: list[str] = field(default_factory=list)
    unsafe: set[str] = field(default_factory=set)
    constants: dict[str, tuple[str, int]] = field(default_factory=dict)  # of the kernel: name to enum and value
    asked: list[typed.Expr] = field(default_factory=list)  # operands of sizeof and its kin: only their types count
    maps: dict[str, typed.MapInfo] = field(default_factory=dict)
    copies: int = 1  # of the present statement, by the unrolls around it
    expanding: set[str] = field(default_factory=set)  # the C macros whose texts are being typed
    expanded: int = 0  # how many were
    hints: dict[Span, tuple[str, ...]] = field(default_factory=dict)  # by place: unroll types one place a hundred times
    functions: dict[str, typed.Function] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)  # which functions a function calls
    function: typed.Function | None = None  # whose body is being typed
    loops: int = 0  # how many loops are around
    decisions: dict[tuple[object, ...], bool] = field(default_factory=dict)  # conditions that asked about types
    macros: frozenset[str] = frozenset()  # of the text, which are expanded by now
    deciding: bool = False  # whether the next such condition is to be decided
    undecided: bool = False  # whether there was one in this round
    apart: dict[Span, tuple[str, ...]] = field(default_factory=dict)  # wildcards whose matches get a program each, and these
    absent: int = 0  # attach points of the present probe that the kernel does not have
    body: Span | None = None  # of the probe that is being typed
    fors: int = 0  # how many of them are `for`
    unresolved: Span | None = None  # the first read of this round of a variable that has no type
    _scopes: list[dict[str, typed.Variable]] = field(default_factory=list)
    _seen: dict[tuple[object, ...], int] = field(default_factory=dict)
    _variables: dict[tuple[object, ...], typed.Variable] = field(default_factory=dict)
    _slot_of: dict[int, Slot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = Parameters(self.options)

    # -- diagnostics ---------------------------------------------------------------------------------------------------

    def complain(self, complaint: Complaint) -> None:
        """Report, but only in the last round: in earlier ones a type may still be unknown."""
        if self.final:
            self.report.add(complaint)

    def bad(self, node: tree.Node, complaint: Complaint | None = None) -> typed.Bad:
        """The expression that stands for a mistake."""
        if complaint is not None:
            self.complain(complaint)
        return typed.Bad(span=node.span, type=VOID)

    def hint(self, span: Span, name: str, candidates: Callable[[], Iterable[str]]) -> tuple[str, ...]:
        """What a name that is unknown may have been meant to be: looked for once a place, and when it is going to be said."""
        if not self.final:
            return ()
        if span not in self.hints:
            self.hints[span] = did_you_mean(name, candidates())
        return self.hints[span]

    def lacks(self, error: Complaint, assumption: Complaint, *, certain: bool) -> None:
        """Something has a name that nothing here defines.

        Args:
            error: what is said where everything is known.
            assumption: what is said in an offline check.
            certain: that it is a mistake, even so: the name looks like one that the program or the language does define.
        """
        self.complain(assumption if self.view.anything_exists and not certain else error)

    def is_builtin(self, name: str) -> bool:
        """Whether the language defines the name."""
        return name in BUILTINS

    def builtin(self, name: str) -> Builtin:
        """The record behind a name that is known to be a builtin's."""
        return BUILTINS["arg0" if name.startswith("arg") and name[3:].isdigit() else name]

    def value(self, node: tree.Expr | tree.TypeSyntax) -> typed.Expr:
        """An argument of a call as a value; an aggregate becomes its number."""
        if isinstance(node, tree.NamedType | tree.PointerType | tree.ArrayType | tree.TypeofType | tree.TupleType):
            return self.bad(node, TypeAsArgument(span=node.span))
        return decay(self.expr(node))

    @property
    def where(self) -> str:
        """What the statements being typed belong to."""
        return "function" if self.function else "probe"

    # -- walking -------------------------------------------------------------------------------------------------------

    def expr(self, node: tree.Expr) -> typed.Expr:
        """Type an expression."""
        return EXPRESSIONS[type(node)](self, node)

    def statement(self, node: tree.Statement) -> typed.Statement | None:
        """Type a statement; None when nothing is left of it."""
        return STATEMENTS[type(node)](self, node)

    def block(self, node: tree.Block) -> typed.Block:
        """Type a block in a scope of its own."""
        with self.scope():
            return self.statements(node.statements, node.span)

    def statements(self, nodes: tuple[tree.Statement, ...], span: Span) -> typed.Block:
        """Type statements in the present scope."""
        done = [self.statement(s) for s in nodes]
        for before, behind in zip(done, nodes[1:], strict=False):
            if before is not None and _leaves(before):
                self.complain(Unreachable(span=behind.span))
                break
        return typed.Block(span=span, statements=tuple(s for s in done if s is not None))

    # -- variables -----------------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Variables declared inside are gone behind it."""
        self._scopes.append({})
        try:
            yield
        finally:
            self._scopes.pop()

    def lookup(self, name: str) -> typed.Variable | None:
        """The visible variable of that name."""
        return next((s[name] for s in reversed(self._scopes) if name in s), None)

    def visible_variables(self) -> list[str]:
        """The names that a misspelt one could have meant."""
        return [name for s in self._scopes for name in s]

    def places_of(self, name: str) -> list[Span]:
        """Where probes and functions have variables of that name."""
        return [variable.span for variable in self._variables.values() if variable.name == name]

    def declare(self, node: tree.Variable) -> typed.Variable:
        """A new variable in the innermost scope. The n-th declaration at one place is one variable in every round."""
        key = self.nth(node)
        variable = self._variables.get(key)
        if variable is None:
            variable = self._variables[key] = typed.Variable(node.name, VOID, node.span)
        slot = self.slots.variable(key)
        variable.type = slot.type or VOID
        self._scopes[-1][node.name] = variable
        self._slot_of[id(variable)] = slot
        return variable

    def nth(self, node: tree.Node) -> tuple[object, ...]:
        """What tells apart the nodes at one place in the text, the same in every round: there are several where a body is
        typed more than once."""
        place = (node.span.file, node.span.start, node.span.end, type(node), getattr(node, "name", ""))
        self._seen[place] = n = self._seen.get(place, -1) + 1
        return (*place, n)

    def slot(self, variable: typed.Variable) -> Slot:
        """The slot behind a variable."""
        return self._slot_of[id(variable)]

    def is_flexible(self, value: typed.Expr) -> bool:
        """Whether a number takes the sign of its partner: a non-negative literal does, and what was only assigned such."""
        match value:
            case typed.Constant(literal=literal, value=number):
                return literal and number >= 0
            case typed.ReadVariable(variable=variable):
                slot = self._slot_of.get(id(variable))  # what inference itself keeps a value in has none
                return isinstance(value.type, Int) and slot is not None and slot.flexible
            case typed.ReadMap(map=info):
                return isinstance(info.value, Int) and self.slots.map(info.name).value.flexible
            case _:
                return False

    def loses_sign(self, value: typed.Expr, wanted: Type) -> bool:
        """Whether a uint64 becomes a signed number, which the program did not ask for by a cast."""
        if not isinstance(value.type, Int) or not isinstance(wanted, Int):
            return False
        return wanted.signed and not value.type.signed and value.type.bits == 64 and not self.is_flexible(value)

    def converted(self, value: typed.Expr, wanted: Type) -> typed.Expr:
        """A value in the type of what it is stored in."""
        if self.loses_sign(value, wanted):
            self.complain(MixedSigns(span=value.span, left=str(value.type), right=str(wanted)))
        return convert(value, wanted)

    # -- maps ----------------------------------------------------------------------------------------------------------

    def map(self, name: str, span: Span) -> typed.MapInfo:
        """The map of that name, with what is known of its types."""
        slots = self.slots.map(name)
        if slots.span is None:
            slots.span = span
        info = self.maps.get(name)
        if info is None:
            info = self.maps[name] = typed.MapInfo(name, None, VOID, slots.kind, slots.max_entries, slots.span)
        info.key = slots.key.type if slots.keyed else None
        info.value = slots.value.type or VOID
        return info

    def used_maps(self) -> list[typed.MapInfo]:
        """The maps of the program, by name, with their final types; declared ones that nothing uses are left out."""
        return [self.map(name, Span(0, 0)) for name in sorted(self.maps) if self.slots.map(name).value.type is not None]

    def access(self, name: str, key: tree.Expr | None, span: Span) -> tuple[typed.MapInfo, typed.Expr | None, bool]:
        """Use a map with a key or without.

        Returns: the map, its key typed (converted to the key's final type in the last round), and whether all was well.
        """
        slots = self.slots.map(name)
        if slots.keyed is None:
            slots.keyed = key is not None
        elif slots.keyed != (key is not None):
            complaint = KeyMissing if slots.keyed else KeyUnexpected
            self.complain(complaint(span=span, name=name))
            return self.map(name, span), None, False
        typed_key = None if key is None else self.map_key(name, self.expr(key), span)
        ok = key is None or not isinstance(typed_key, typed.Bad)
        return self.map(name, span), typed_key, ok

    def map_key(self, name: str, key: typed.Expr, span: Span) -> typed.Expr:
        """Let a map's key type grow by this key, and convert the key to it."""
        if isinstance(key, typed.Bad):
            return key
        key = decay(key)
        if isinstance(key.type, Void | FunctionType):
            return self.bad_expr(key, NoKey(span=key.span, name=name))
        if _holds_context(key):
            return self.bad_expr(key, ContextInKey(span=key.span))
        if isinstance(key.type, Aggregate):
            return self.bad_expr(key, AggregateHasNoNumber(span=key.span, type=str(key.type)))
        slot = self.slots.map(name).key
        if slot.type is not None and not slot.grow(key, flexible=self.is_flexible(key)):
            return self.bad_expr(key, KeyMismatch(span=span, name=name, found=str(key.type), expected=str(slot.type)))
        if slot.type is None:
            slot.grow(key, flexible=self.is_flexible(key))
        assert slot.type is not None
        return self.converted(key, slot.type)

    def bad_expr(self, expr: typed.Expr, complaint: Complaint) -> typed.Bad:
        """As bad, for a place that is already typed."""
        self.complain(complaint)
        return typed.Bad(span=expr.span, type=VOID)

    # -- strings of the manifest ---------------------------------------------------------------------------------------

    def string_index(self, text: str) -> int:
        """The number of a text in the manifest's strings."""
        if text not in self.strings:
            self.strings.append(text)
        return self.strings.index(text)

    def start_round(self, *, final: bool) -> None:
        """Forget everything but the slots."""
        self.final = final
        self._seen, self._scopes, self._slot_of = {}, [], {}
        self.strings.clear()
        self.getopts.clear()
        self.unresolved = None
        self.undecided = False


def _holds_context(key: typed.Expr) -> bool:
    """Whether a key is, or has in it, the probe's context, which is another place at each event."""
    if isinstance(key, typed.MakeTuple):
        return any(map(_holds_context, key.elements))
    return isinstance(key, typed.Call) and key.builtin.name == "ctx"


def _leaves(statement: typed.Statement) -> bool:
    """Whether nothing behind the statement is ever reached."""
    match statement:
        case typed.Return() | typed.Jump():
            return True
        case typed.Evaluate(value=typed.Call(builtin=builtin)):
            return builtin.name == "exit"
        case _:
            return False


def _come_to_rest(typing: Typing, one_round: Callable[[], None]) -> None:
    before: tuple[object, ...] | None = None
    for _ in range(ROUNDS):
        one_round()
        now = (typing.slots.snapshot(), len(typing.apart))
        if now == before:
            return
        before = now


def infer(typing: Typing, probes: tuple[tree.Probe, ...], functions: tuple[tree.Function, ...] = ()) -> tuple[typed.Probe, ...]:
    """Type all functions and probes until the slots are still, then once more for good.

    Returns: the typed probes; diagnostics are in the report.
    """
    declare_functions(typing, functions)
    check_names(typing, probes)
    cause = all(provider.current_is_cause for p in probes for a in p.attach_points for provider in providers_of(a))

    def one_round() -> None:
        typing.start_round(final=False)
        type_functions(typing, functions, current_is_cause=cause)
        for probe in probes:
            type_probe(typing, probe)

    _come_to_rest(typing, one_round)
    while typing.undecided:
        # One condition that asks about types is decided, and what it lets in is typed.
        typing.deciding = True
        one_round()
        if typing.deciding:
            break
        _come_to_rest(typing, one_round)
    while not typing.view.anything_exists and typing.slots.settle_unassigned():
        _come_to_rest(typing, one_round)
    typing.start_round(final=True)
    type_functions(typing, functions, current_is_cause=cause)
    typed_probes = tuple(p for probe in probes for p in type_probe(typing, probe))
    if typing.unresolved is not None and not typing.report.errors and not typing.report.assumes:
        typing.complain(Unresolved(span=typing.unresolved))
    return typed_probes
