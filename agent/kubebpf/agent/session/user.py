"""Programs at places in user programs: attached by one link for many places where the kernel can, and told about each place.

Two maps of the object say it, by the attach cookie: where the operands of a usdt probe lie, and how far the symbols of uaddr().
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.object import BpfObject
from kubebpf.agent.libbpf.program import Program, Uprobe
from kubebpf.agent.libbpf.syscalls import has_uprobe_multi
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.points import Point
from kubebpf.agent.session.wildcards import is_wildcard
from kubebpf.compiler.artifact.manifest import NAME_BYTES, NAMES, OPERANDS, SYMBOLS, Attach

PROVIDERS = ("uprobe", "uretprobe", "usdt")


def prepare(attach: Attach, program: Program) -> None:
    """Before the load: choose how the program is attached.

    Raises:
        MissingProbeError: the program asks what this kernel cannot say.
    """
    if has_uprobe_multi():
        program.load_for_uprobes()
    elif attach.symbols and attach.provider == "uretprobe":
        why = "uaddr() in a uretprobe needs Linux 6.6: older kernels do not say which function returns"
        raise MissingProbeError(attach.text, why)


def attach_one(program: Program, point: Point, options: Options) -> Iterator[Link]:
    """Attach to one place."""
    place = _uprobe(point, options)
    yield program.attach_uprobes([place]) if program.for_uprobes else program.attach_uprobe(place)


def attach_all(program: Program, points: Sequence[Point], options: Options) -> Link:
    """Attach to places of one file by one link.

    Raises:
        LibbpfError: the kernel refused one of them; nothing is attached.
    """
    return program.attach_uprobes([_uprobe(point, options) for point in points])


def group(program: Program, point: Point) -> object:
    """Points of equal groups can be attached together; None for those that cannot."""
    return point.target["path"] if program.for_uprobes else None


def _uprobe(point: Point, options: Options) -> Uprobe:
    target, pid = point.target, -1 if options.pid is None else options.pid
    returns, semaphore = point.attach.provider == "uretprobe", int(target.get("semaphore", 0))
    return Uprobe(str(target["path"]), int(target["offset"]), returns=returns, pid=pid, cookie=point.cookie, semaphore=semaphore)


@dataclass(frozen=True, slots=True)
class Row:
    """What a program is told about one place.

    Args:
        map: NAMES, OPERANDS or SYMBOLS.
        cookie: of the place.
        value: of the map.
    """

    map: str
    cookie: int
    value: bytes


def rows(point: Point) -> list[Row]:
    """What is to be told about a point.

    Raises:
        MissingProbeError: it cannot be found out.
    """
    found = list[Row]()
    if reads := str(point.attach.target.get("reads", "")):
        found.append(Row(OPERANDS, point.cookie, _operands(point, [int(n) for n in reads.split(",")])))
    if point.attach.symbols:
        found.append(Row(SYMBOLS, point.cookie, _distances(point)))
    return found


def names(points: Sequence[Point]) -> list[Row]:
    """What `probe` is at the matches of wildcards."""
    cut = ((point, point.name.encode(errors="replace")[: NAME_BYTES - 1]) for point in points if point.attach.wildcard)
    return [Row(NAMES, point.cookie, name.ljust(NAME_BYTES, b"\0")) for point, name in cut]


def resize(opened: BpfObject, all_rows: Sequence[Row], reserve: int = 0) -> None:
    """Before the load: give the maps room for the rows, and for so many more."""
    for name in (NAMES, OPERANDS, SYMBOLS):
        if name in opened.map_names:
            opened.set_max_entries(name, max(1, reserve + sum(row.map == name for row in all_rows)))


def _operands(point: Point, reads: Sequence[int]) -> bytes:
    from kubebpf.agent.binaries import operands
    from kubebpf.agent.binaries.binary import binary
    from kubebpf.compiler.artifact.operands import Operand, pack

    texts = operands.split(str(point.target["arguments"]))
    if max(reads) >= len(texts) and not is_wildcard(str(point.attach.target["name"])):
        raise MissingProbeError(point.name, f"the probe has {len(texts)} arguments, and arg{max(reads)} is read")
    file, found = binary(str(point.target["path"])), list[Operand]()

    def symbol(name: str) -> int | None:
        known = file.symbol(name)
        return known.address if known else None

    for number, text in enumerate(texts):
        try:
            found.append(operands.operand(text, symbol, int(point.target["address"])))
        except operands.OperandError as error:
            if number in reads:
                raise MissingProbeError(point.name, f"arg{number}: {error}") from error
            found.append(Operand())
    return pack(tuple(found))


def _distances(point: Point) -> bytes:
    from kubebpf.agent.binaries.binary import binary

    file, address = binary(str(point.target["path"])), int(point.target["address"])
    found = [file.symbol(name) for name in point.attach.symbols]
    if None in found:
        missing = point.attach.symbols[found.index(None)]
        raise MissingProbeError(point.name, f"uaddr(): no symbol {missing} in {file.path}")
    return b"".join((s.address - address).to_bytes(8, "little", signed=True) for s in found if s is not None)
