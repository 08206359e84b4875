"""A typed program as one ELF object: a function a probe, the scope predicate in front, the manifest beside.

emit(program, sources, options, settings) -> Artifact
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.layouts import Layout
from kubebpf.compiler.artifact.manifest import SCOPE, Attach, Manifest
from kubebpf.compiler.emit import arguments, functions, scratch, stack, subprograms
from kubebpf.compiler.emit import target as llvm
from kubebpf.compiler.emit.code import Code, Makers
from kubebpf.compiler.emit.conditions import condition
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Function, Label, Operand, const
from kubebpf.compiler.emit.limits import TooLargeError
from kubebpf.compiler.emit.memory import address, into
from kubebpf.compiler.emit.module import Module
from kubebpf.compiler.emit.scalars import scalar
from kubebpf.compiler.emit.statements import block, statement
from kubebpf.compiler.options import CompileOptions, Settings
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Field, Struct
from kubebpf.compiler.types.walk import bodies, walk

# How many levels of the cgroup tree between the lowest and the highest pod cgroup the predicate looks at: QoS classes make one
# level
# of difference, and 4 leave room for nested kubelets.
SCOPE_LEVELS = 4
# LLVM takes minutes for a function of millions of characters. One instruction comes of about 50, so that what is HUGE has
# twice as many instructions as there can be.
HUGE, IR_OF_INSTRUCTION = 3_000_000, 50
# Bytes of each function's stack that are given out. Only the first attempt lets variables lie there; what a loop or a function
# needs comes on top of what its caller does, so the last puts everything into scratch memory.
STACK_BUDGETS = (320, 64, 0)

MAKERS = Makers(scalar, condition, into, address, statement)


def emit(program: typed.Program, sources: Sequence[Source], options: CompileOptions, settings: Settings) -> Artifact:
    """Generate, optimise and assemble.

    Returns: the object and its manifest. Equal arguments give equal bytes.
    Raises:
        EmitError: LLVM refused what was generated.
        TooLargeError: the program keeps too many values at a time, or too large ones.
    """
    needed = 0
    for budget in STACK_BUDGETS:
        module, manifest = build(program, sources, options, settings, stack_budget=budget)
        if module.scratch_size > scratch.LIMIT:
            raise TooLargeError("bytes for strings and other large values", module.scratch_size, scratch.LIMIT)
        if (longest := max(map(len, module.functions), default=0)) > HUGE:
            raise TooLargeError("instructions in one probe", longest // IR_OF_INSTRUCTION, llvm.LONGEST)
        try:
            elf = llvm.to_object(module.ir(manifest), program.linked)
        except llvm.LongFunctionError as error:
            raise TooLargeError("instructions in one probe", error.length, llvm.LONGEST) from error
        needed, frames = stack.deepest(elf), stack.frames(elf)
        if frames > stack.FRAMES:
            raise TooLargeError("loops and functions inside each other", frames - 1, stack.FRAMES - 1)
        if needed <= stack.LIMIT:
            return Artifact(elf, manifest)
    raise TooLargeError("bytes of stack", needed, stack.LIMIT)


def build(
    program: typed.Program,
    sources: Sequence[Source],
    options: CompileOptions,
    settings: Settings,
    *,
    stack_budget: int = STACK_BUDGETS[0],
) -> tuple[Module, Manifest]:
    """The module with all its programs, before LLVM sees it."""
    module = Module(sources, options, settings, frugal=stack_budget != STACK_BUDGETS[0], stack_budget=stack_budget)
    for info in program.maps:
        module.schema(info)
    shared = _shared_maps(program)
    module.heeds_exit = _heeds_exit(program)
    for number, probe in enumerate(program.probes):
        _program(module, probe, number, shared)
    layouts = program.layouts + ((Layout("machine", options.arch),) if module.of_machine else ())
    return module, replace(module.manifest(program.strings, program.unsafe, program.folded), layouts=layouts)


def _heeds_exit(program: typed.Program) -> bool:
    """Whether exit() is called while there are attached programs that would go on until user space has heard of it."""
    nodes = (node for probe in program.probes for part in bodies((probe.predicate, probe.body)) for node in walk(part))
    calls = any(isinstance(node, typed.Call) and node.builtin.name == "exit" for node in nodes)
    return calls and any(probe.target.provider.stops for probe in program.probes)


def _shared_maps(program: typed.Program) -> frozenset[int]:
    """The maps whose per-CPU updates can be interrupted by another update of the same map on the same CPU.

    That is so for maps fed by a preemptible program, or by programs of which one can start while another runs: of different
    providers, or two of a provider whose programs the kernel only guards against themselves.
    """
    feeders: dict[int, set[str]] = {}
    for number, probe in enumerate(program.probes):
        provider = probe.target.provider
        who = {provider.name if provider.exclusive else f"{provider.name} {number}"}
        who |= {"preempted"} if provider.preemptible else set()
        for node in _feeds(probe.body):
            feeders.setdefault(id(node.map), set()).update(who)
    return frozenset(i for i, names in feeders.items() if len(names) > 1)


def _feeds(body: typed.Block) -> list[typed.Feed]:
    """All feeds of a body and of the functions that it calls."""
    return [node for part in bodies(body) for node in walk(part) if isinstance(node, typed.Feed)]


def _program(module: Module, probe: typed.Probe, number: int, shared: frozenset[int]) -> None:
    target = probe.target
    name = f"kb{number}_{target.provider.name}"
    line = module.position(probe.span).line
    f = Function(name, target.provider.section(target), module.debug.subprogram(name, line))
    code = Code(module, f, target, MAKERS, shared_maps=shared)
    code.number, code.traceable = number, arguments.traceable(probe)
    code.room.name = name
    code.room.shared = subprograms.shared_variables((probe.predicate, probe.body))
    functions.define(code, (probe.predicate, probe.body))
    body = _body(code, probe)
    module.functions.append(body)
    place = module.place(target.node.span)
    symbols, module.symbols = tuple(code.symbols), max(module.symbols, len(code.symbols))
    parts = dict(target.parts)
    if code.operands:
        parts["reads"] = ",".join(map(str, sorted(code.operands)))
    module.attaches.append(
        Attach(number, name, target.provider.name, target.text, parts, target.wildcard, place, symbols, code.traceable)
    )


def _body(code: Code, probe: typed.Probe) -> str:
    """The function's text: prologue, predicate, body, one exit."""
    f = code.f
    code.locate(probe.span)
    code.exit, code.leave = f.label("exit"), f.label("leave")
    f.store(const(0, "i32"), code.result, align=4)
    if code.module.heeds_exit and probe.target.provider.stops:
        going_on = f.label("going_on")
        ended = f.load("i64", Operand("@kb_ended", "ptr"), align=8, volatile=True)
        f.branch(f.compare("eq", ended, const(0)), going_on, code.leave, likely=True)
        f.place(going_on)
    if code.module.options.scoped and probe.target.provider.scoped:
        _scope_predicate(code)
    if element := probe.target.provider.element(probe.target):
        _unless_at_end(code, element)
    f.place(f.label("start"))
    start, prologue = f.position, f.location
    if probe.predicate is not None:
        run = f.label("run")
        code.locate(probe.predicate.span)
        f.branch(code.condition(probe.predicate), run, code.exit)
        f.place(run)
    block(code, probe.body)
    f.place(code.exit)
    scratch.release(code)
    f.place(code.leave)
    f.ret(f.load("i32", code.result, align=4))
    f.location = prologue
    with f.inserting(start):  # only now is it known whether the program needs scratch memory
        scratch.look_up(code)
        subprograms.set_up(code)
    return f.text()


def _scope_predicate(code: Code) -> None:
    """Leave unless the current task's cgroup, or one of its ancestors at the levels where pods are, is in the scope map."""
    f = code.f
    inside = f.label("inscope")
    current = code.helper(Helper.GET_CURRENT_CGROUP_ID)
    missed = f.label("nested")
    _in_scope(code, current, inside, missed)
    f.place(missed)
    low, high = code.load_constant("scope_level_lo"), code.load_constant("scope_level_hi")
    for step in range(SCOPE_LEVELS):
        level = f.binary("add", low, const(step)) if step else low
        ask, other, deep, following = (f.label(n) for n in ("ancestor", "other", "deep", "nextlevel"))
        f.branch(f.compare("ule", level, high), ask, code.leave)
        f.place(ask)
        ancestor = code.helper(Helper.GET_CURRENT_ANCESTOR_CGROUP_ID, f.cast("trunc", level, "i32"))
        # There is nothing below the current cgroup, which was asked for, nor below where the tree ends: the helper gives 0 there.
        f.branch(f.compare("eq", ancestor, current), code.leave, other)
        f.place(other)
        f.branch(f.compare("eq", ancestor, const(0)), code.leave, deep)
        f.place(deep)
        _in_scope(code, ancestor, inside, following)
        f.place(following)
    f.jump(code.leave)
    f.place(inside)


def _unless_at_end(code: Code, way: Sequence[tuple[Struct, Field]]) -> None:
    """Leave when an iterator is called once more, at its end, without an element."""
    f = code.f
    going_on = f.label("element")
    place = f.parameter
    for struct, field in way:
        place = code.module.relocations.member(f, place, struct, field)
    element = f.load("ptr", place, align=8)
    f.branch(f.compare("ne", element, NULL), going_on, code.leave)
    f.place(going_on)


def _in_scope(code: Code, cgroup: Operand, yes: Label, no: Label) -> None:
    f = code.f
    key = code.slot("scope")
    f.store(cgroup, key, align=8)
    found = f.call_pointer(Helper.MAP_LOOKUP_ELEM, Operand(f"@{SCOPE}", "ptr"), key)
    f.branch(f.compare("ne", found, NULL), yes, no)
