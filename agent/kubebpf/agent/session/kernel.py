"""kprobe, kretprobe, fentry, fexit, rawtracepoint and iter: how programs come to the kernel's own functions and events.

Before the load each program is told what it is loaded for; a kprobe of a kernel without kprobes becomes a fentry here.

    k:vfs_*          one link for all functions, where the kernel has such links (Linux 5.18); else one each
    f:vfs_*          the object's program for the first function, an instance of it for each other one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from errno import EACCES, EILSEQ, ENOENT, EPERM
from functools import partial

from kubebpf.agent.libbpf.clone import attached_clone, trial
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import program_names, program_numbered
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.perf import kernel_probe, open_perf_event
from kubebpf.agent.libbpf.program import KPROBE_MULTI, Program
from kubebpf.agent.libbpf.types import FUNCTION, TYPEDEF, KernelTypes, Place
from kubebpf.agent.session.errors import MissingProbeError, NoMatchError
from kubebpf.agent.session.functions import VMLINUX, matching
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.points import Node, Point, Target, online_cpus
from kubebpf.agent.session.wildcards import pattern
from kubebpf.compiler.artifact.manifest import Attach

TRACING = 26  # BPF_PROG_TYPE_TRACING
RAW_TP, FENTRY, FEXIT = 23, 24, 25  # enum bpf_attach_type
EVENT = "btf_trace_"  # the typedef of a raw tracepoint's prototype
BPF = "bpf"  # as a module: BPF programs
_TRIALS = 64  # matches that are tried before the load

Attached = Iterator[tuple[Point, list[Link] | MissingProbeError]]


# --- where they are ---------------------------------------------------------------------------------------------------


def kernel_functions(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """The functions of a kprobe or kretprobe. Of one that is named, attaching tells whether it is there.

    Raises:
        NoMatchError: nothing matches, or there is only fentry to attach with, and BTF does not have it.
    """
    if "address" in attach.target or not attach.wildcard:
        _check_single(attach, node)
        yield attach.text, attach.target
        return
    module, function = str(attach.target["module"]), str(attach.target["function"])
    found = matching(node.functions, module, function)
    if not node.kprobes:
        with KernelTypes() as types:
            found = [(m, name) for m, name in found if types.find(name, FUNCTION, _apart(m))]
    if not found:
        raise NoMatchError(attach)
    for m, name in found if node.kprobes else _loadable_first(attach, found):
        spelled = f"{m}:{name}" if module else name
        yield f"{attach.provider}:{spelled}", {"module": m, "function": name, "offset": 0}


def _check_single(attach: Attach, node: Node) -> None:
    if node.kprobes:
        return
    if not attach.traceable:
        raise MissingProbeError(attach.text, "this kernel has no kprobes, and the program asks for more than fentry gives")
    with KernelTypes() as types:
        name = str(attach.target["function"])
        if types.find(name, FUNCTION, _apart(node.functions.get(name, VMLINUX))) is None:
            raise NoMatchError(attach)


def traced_functions(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """The functions of a fentry or fexit: those that BTF knows.

    Raises:
        NoMatchError: there is none.
    """
    module, function = str(attach.target["module"]), str(attach.target["function"])
    if module == BPF:
        yield from _programs(attach, function)
        return
    known = node.functions
    found = matching(known, module, function) if attach.wildcard else [(module or known.get(function, VMLINUX), function)]
    with KernelTypes() as types:
        found = [(m, name) for m, name in found if types.find(name, FUNCTION, _apart(m))]
    if not found:
        raise NoMatchError(attach)
    for m, name in _loadable_first(attach, found):
        yield f"{attach.provider}:{m}:{name}" if attach.wildcard else attach.text, {"module": m, "function": name}


def _loadable_first(attach: Attach, found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The places of a wildcard, one in front that the kernel loads a program for: the object's own is loaded for the first.

    BTF knows functions that were inlined everywhere, and some that no program may be at; nothing but the kernel tells.
    """
    if len(found) < 2:
        return found
    kind = FEXIT if attach.provider in ("fexit", "kretprobe") else FENTRY
    with KernelTypes() as types:
        for i, (module, name) in enumerate(found[:_TRIALS]):
            place = types.find(name, FUNCTION, _apart(module))
            refused = trial(place, kind) if place else ENOENT
            if refused in (EPERM, EACCES):
                break
            if not refused:
                return [found[i], *found[:i], *found[i + 1 :]]
    return found


def _programs(attach: Attach, function: str) -> Iterator[tuple[str, Target]]:
    """BPF programs by name, or by number and name."""
    number, names = int(attach.target.get("id", 0)), pattern(function).fullmatch
    found = [(id, name) for id, name in program_names() if number in (0, id) and names(name)]
    if not found:
        raise NoMatchError(attach)
    for id, name in found:
        yield f"{attach.provider}:{BPF}:{id}:{name}", {"module": BPF, "function": name, "id": id}


def raw_tracepoints(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    """Raw tracepoints by name.

    Raises:
        NoMatchError: none matches, or BTF does not know it.
    """
    module, event = str(attach.target.get("module", "")), str(attach.target["event"])
    known = node.raw_tracepoints
    found = matching(known, module, event) if attach.wildcard else [(module or known.get(event, VMLINUX), event)]
    with KernelTypes() as types:
        found = [(m, name) for m, name in found if types.find(EVENT + name, TYPEDEF, _apart(m))]
    if not found:
        raise NoMatchError(attach)
    for m, name in found:
        yield f"{attach.provider}:{m}:{name}" if attach.wildcard else attach.text, {"module": m, "event": name}


def _apart(module: str) -> str:
    """A module as KernelTypes wants it named."""
    return "" if module == VMLINUX else module


# --- before the load --------------------------------------------------------------------------------------------------


def prepare_kprobe(program: Program, attach: Attach, targets: Sequence[Target], node: Node) -> None:
    """Have a kprobe's program loaded for many functions at once, or as a fentry where there are no kprobes."""
    if not node.kprobes:
        program.become(TRACING, FEXIT if attach.provider == "kretprobe" else FENTRY)
        program.set_target(str(targets[0]["function"]))
    elif len(targets) > 1:
        program.attach_type = KPROBE_MULTI


def prepare_tracing(program: Program, attach: Attach, targets: Sequence[Target], node: Node) -> None:
    """Have a tracing program loaded for the first of its places."""
    first = targets[0]
    if "id" not in first:
        program.set_target(str(first.get("function", first.get("event"))))
        return
    with program_numbered(int(first["id"])) as traced:
        program.set_target(str(first["function"]), traced)


# --- attaching --------------------------------------------------------------------------------------------------------


def attach_tracing(program: Program, points: Sequence[Point], options: Options) -> Attached:
    """The program at the first of its places, instances of it at the others."""
    first, *others = points
    yield first, _tried(first, lambda: _at_first(program, first))
    if not others:
        return
    with KernelTypes() as types, ExitStack() as stack:
        for point in others:
            yield point, _tried(point, partial(_instance, program, types, stack, point))


def _instance(program: Program, types: KernelTypes, stack: ExitStack, point: Point) -> Link:
    return attached_clone(program, _place(types, stack, point), point.cookie)


def _at_first(program: Program, point: Point) -> Link:
    if program.attach_type == RAW_TP:
        return program.attach_raw_tracepoint("", point.cookie)
    return program.attach_trace(point.cookie)


def _place(types: KernelTypes, stack: ExitStack, point: Point) -> Place:
    target, found = point.target, None
    if "id" in target:
        traced = stack.enter_context(program_numbered(int(target["id"])))
        found = types.find_in_program(traced, str(target["function"]))
    elif "event" in target:
        found = types.find(EVENT + str(target["event"]), TYPEDEF, _apart(str(target["module"])))
    else:
        found = types.find(str(target["function"]), FUNCTION, _apart(str(target["module"])))
    if found is None:
        raise NoMatchError(point.attach)
    return found


def attach_kprobes(program: Program, points: Sequence[Point], options: Options) -> Attached:
    """A kprobe at its functions: by one link, by one each, or as a fentry."""
    if program.type == TRACING:
        yield from attach_tracing(program, points, options)
    elif len(points) > 1:
        yield from _together(program, points)
    else:
        yield points[0], _tried(points[0], lambda: _single(program, points[0]))


def _together(program: Program, points: Sequence[Point]) -> Attached:
    """One link for all. The kernel takes all or none: when it takes none, the halves are tried, down to those that it refuses."""
    names = [str(point.target["function"]) for point in points]
    returns = points[0].attach.provider == "kretprobe"
    try:
        link = program.attach_kprobes(names, [point.cookie for point in points], returns)
    except LibbpfError as error:
        if error.errno in (EPERM, EACCES):
            yield from ((point, MissingProbeError(point.name, str(error))) for point in points)
        elif len(points) > 1:
            half = len(points) // 2
            yield from _together(program, points[:half])
            yield from _together(program, points[half:])
        else:
            # A kernel that has no such links has ignored what the program was loaded for.
            yield points[0], _tried(points[0], lambda: _single(program, points[0]))
        return
    yield points[0], [link]
    yield from ((point, list[Link]()) for point in points[1:])


def _single(program: Program, point: Point) -> Link:
    event = kernel_probe(
        symbol=str(point.target.get("function", "")),
        address=int(point.target.get("address", point.target.get("offset", 0))),
        returns=point.attach.provider == "kretprobe",
    )
    return program.attach_perf_event(open_perf_event(event, online_cpus()[0]), point.cookie)


def _tried(point: Point, attach: Callable[[], Link]) -> list[Link] | MissingProbeError:
    try:
        return [attach()]
    except LibbpfError as error:
        if error.errno == ENOENT:
            return NoMatchError(point.attach, point.name)
        middle = error.errno == EILSEQ
        return MissingProbeError(point.name, str(error), note=_MIDDLE if middle else "")


_MIDDLE = "ERROR: Possible attachment attempt in the middle of an instruction, try a different offset."
