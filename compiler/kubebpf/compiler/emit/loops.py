"""Loops: each body is a function that bpf_loop or bpf_for_each_map_elem calls back, so that the verifier follows it a few
times and not as often as it runs.

    for ($i : 0..$n) { … }    ->  bpf_loop(n, body, frame)
    while ($x) { … }          ->  bpf_loop(8388608, body, frame), where the body asks the condition first
    for ($kv : @map) { … }    ->  bpf_for_each_map_elem(map, body, frame)

Kernels before 5.17 have no bpf_loop: there the same function is called in a loop that the verifier follows round by round, which
allows few rounds. Whether the node has the helper is a load-time constant, so it only sees the code that it runs. A loop that is
cut off is counted and reported.
"""

from __future__ import annotations

from kubebpf.compiler.emit import aggregates, maps, subprograms
from kubebpf.compiler.emit.code import Code
from kubebpf.compiler.emit.describe import storage_type
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Aggregate, Tuple, sizeof
from kubebpf.compiler.types.model import members as layout
from kubebpf.compiler.types.promote import is_scalar
from kubebpf.compiler.types.walk import children, walk

MOST = 1 << 23  # BPF_MAX_LOOPS, include/linux/bpf_verifier.h
# Rounds without bpf_loop, by how many loops are inside each other: the verifier follows a million instructions at most.
FALLBACK = {1: 32, 2: 8}
FALLBACK_DEEP = 4

Loop = typed.While | typed.ForRange | typed.ForMap


def jump(code: Code, node: typed.Jump) -> None:
    """`break`, `continue`."""
    code.f.jump(code.breaks if node.kind == "break" else code.continues)


def while_(code: Code, node: typed.While) -> None:
    """`while`: the condition is asked at the start of each round."""
    inner = _begin(code, node, ("i64", "ptr"))
    start, location = inner.f.position, inner.f.location
    run = inner.f.label("run")
    with inner.temporaries():
        inner.f.branch(inner.condition(node.condition), run, inner.breaks)
    inner.f.place(run)
    callback = _end(inner, node, start, location)
    _repeat(code, node, callback, const(MOST), whole=False)


def for_range(code: Code, node: typed.ForRange) -> None:
    """`for ($i : a..b)`: the body is told the number of the round."""
    f = code.f
    first, end = code.scalar(node.start), code.scalar(node.end)
    kept = None if isinstance(node.start, typed.Constant) else code.reserve(8)
    if kept is not None:
        f.store(first, code.room_at(kept), align=8)
    inner = _begin(code, node, ("i64", "ptr"))
    start, location = inner.f.position, inner.f.location
    base = first if kept is None else inner.f.load("i64", inner.room_at(kept), align=8)
    number = inner.f.binary("add", Operand("%a0"), base)
    inner.store(node.variable.type, number, inner.place(node.variable), align=8)
    callback = _end(inner, node, start, location)
    _repeat(code, node, callback, _between(code, node, first, end), whole=True)


def _between(code: Code, node: typed.ForRange, first: Operand, end: Operand) -> Operand:
    """How many rounds a range asks for."""
    if isinstance(node.start, typed.Constant) and isinstance(node.end, typed.Constant):
        return const(max(node.end.value - node.start.value, 0))
    return code.f.select(code.f.compare("sgt", end, first), code.f.binary("sub", end, first), const(0))


def for_map(code: Code, node: typed.ForMap) -> None:
    """`for ($kv : @map)`: key and value are copied, because the body may delete them."""
    inner = _begin(code, node, ("ptr", "ptr", "ptr", "ptr"))
    start, location = inner.f.position, inner.f.location
    _pair(inner, node, Operand("%a1", "ptr"), Operand("%a2", "ptr"))
    callback = _end(inner, node, start, location)
    arguments = (maps.map_pointer(code, node.map), Operand(callback, "ptr"), subprograms.frame(code), const(0))
    code.helper(Helper.FOR_EACH_MAP_ELEM, *arguments)
    _behind(code, node)


def _begin(code: Code, node: Loop, parameters: tuple[str, ...]) -> Code:
    subprograms.frame(code)
    code.room.made += 1
    return subprograms.begin(code, f"loop{code.room.made}", parameters, node.span)


def _end(inner: Code, node: Loop, start: int, location: str) -> str:
    """The body and the ends of the function: 0 asks for the next round, 1 for no more."""
    f = inner.f
    inner.statement(node.body)
    f.place(inner.continues)
    f.ret(const(0))
    f.place(inner.breaks)
    f.ret(const(1))
    subprograms.place_exit(inner)
    return subprograms.finish(inner, start, location)


def _behind(code: Code, node: Loop) -> None:
    if subprograms.leaves(node):
        valued = any(isinstance(n, typed.Return) and n.value is not None for n in walk(node))
        subprograms.go_on(code, returns=valued)


def _repeat(code: Code, node: typed.While | typed.ForRange, callback: str, rounds: Operand, *, whole: bool) -> None:
    """Call the function so many times, or until it gives 1.

    Args:
        whole: more rounds than the kernel allows are a loop cut off; else it is one that reached the last round.
    """
    f = code.f
    place = subprograms.frame(code)
    own, helper, done = f.label("unrolled"), f.label("helper"), f.label("looped")
    ran, most = code.register(), code.register()
    f.branch(f.compare("ne", code.load_constant("has_helper", str(int(Helper.LOOP))), const(0)), helper, own)
    f.place(helper)
    f.store(const(MOST), most, align=8)
    f.store(code.helper(Helper.LOOP, _at_most(code, rounds, MOST), Operand(callback, "ptr"), place, const(0)), ran, align=8)
    f.jump(done)
    f.place(own)
    limit = FALLBACK.get(_depth(node), FALLBACK_DEEP)
    f.store(const(limit), most, align=8)
    _rounds(code, callback, _at_most(code, rounds, limit), ran)
    f.place(done)
    _count_cut(code, node, rounds if whole else f.load("i64", ran, align=8), f.load("i64", most, align=8), whole=whole)
    _behind(code, node)


def _at_most(code: Code, rounds: Operand, limit: int) -> Operand:
    if rounds.text.lstrip("-").isdigit():
        return const(min(int(rounds.text), limit))
    return code.f.select(code.f.compare("ult", rounds, const(limit)), rounds, const(limit))


def _rounds(code: Code, callback: str, rounds: Operand, ran: Operand) -> None:
    """A loop of our own: the verifier follows every round."""
    f = code.f
    f.store(const(0), ran, align=8)
    again, call, done = f.label("again"), f.label("call"), f.label("ran")
    following = f.label("following")
    f.place(again)
    number = f.load("i64", ran, align=8)
    f.branch(f.compare("ult", number, rounds), call, done)
    f.place(call)
    stop = f.value(f"call i64 {callback}({number}, {subprograms.frame(code)})", "i64")
    f.store(f.binary("add", number, const(1)), ran, align=8)
    f.branch(f.compare("eq", stop, const(0)), following, done)
    f.place(following)
    f.jump(again)
    f.place(done)


def _count_cut(code: Code, node: typed.Statement, rounds: Operand, most: Operand, *, whole: bool) -> None:
    """Report a loop that would have gone on."""
    if whole and rounds.text.isdigit() and int(rounds.text) <= FALLBACK_DEEP:
        return  # whole everywhere
    f = code.f
    cut, fine = f.label("cut"), f.label("whole")
    f.branch(f.compare("ugt" if whole else "uge", rounds, most), cut, fine, likely=False)
    f.place(cut)
    code.count_failure(code.module.site("loop_limit", node.span))
    f.place(fine)


def _depth(node: object) -> int:
    """How many loops are inside each other, this one counted."""
    below = max(map(_depth, children(node)), default=0)
    return below + isinstance(node, typed.While | typed.ForRange)


def _pair(inner: Code, node: typed.ForMap, key: Operand, value: Operand) -> None:
    """The loop's variable: the members of it that the body reads."""
    variable = node.variable
    wanted = _read_parts(node.body, variable)
    if not wanted:
        return
    assert isinstance(variable.type, Tuple)
    offsets, size = layout(variable.type)
    memory = inner.place(variable)
    if wanted == {0, 1} and sum(map(sizeof, variable.type.elements)) != size:
        inner.zero(memory, size)
    if 0 in wanted:
        assert node.map.key is not None
        stored = storage_type(node.map.key)
        if is_scalar(stored):
            inner.store(node.map.key, inner.load(stored, key, align=sizeof(stored)), inner.f.offset(memory, offsets[0]))
        else:
            inner.copy(inner.f.offset(memory, offsets[0]), key, sizeof(stored))
    if 1 in wanted:
        _value(inner, node, key, value, inner.f.offset(memory, offsets[1]))


def _value(inner: Code, node: typed.ForMap, key: Operand, value: Operand, to: Operand) -> None:
    t = node.map.value
    if isinstance(t, Aggregate):
        inner.f.store(aggregates.total(inner, node.map, key), to, align=1)
    elif is_scalar(t):
        inner.store(t, inner.load(t, value, align=min(sizeof(t), 8)), to)
    else:
        inner.copy(to, value, sizeof(t))


def _read_parts(body: object, variable: typed.Variable) -> set[int]:
    """Which members of a loop's variable the body reads: those that it names, or both."""
    found: set[int] = set()
    whole = sum(isinstance(n, typed.ReadVariable) and n.variable is variable for n in walk(body))
    for n in walk(body):
        if isinstance(n, typed.Part) and isinstance(n.object, typed.ReadVariable) and n.object.variable is variable:
            found.add(n.index)
            whole -= 1
    return {0, 1} if whole or _assigned(body, variable) else found


def _assigned(body: object, variable: typed.Variable) -> bool:
    return any(child is variable for n in walk(body) if not isinstance(n, typed.ReadVariable) for child in children(n))
