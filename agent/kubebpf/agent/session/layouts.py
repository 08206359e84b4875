"""Whether this kernel has what the object takes for granted, where it takes it: asked before anything is loaded.

check_layouts(manifest, {"kb0_begin"}, None, Node())
KernelFieldError   this kernel has no field exit_signal in struct task_struct
KernelLayoutError  struct cred: uid lies at byte 12 here, and at byte 8 in the kernel that the program was compiled for
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.layouts import Composite, Place, composites, constants, enumeration
from kubebpf.agent.libbpf.prototypes import prototype
from kubebpf.agent.libbpf.types import KernelTypes
from kubebpf.agent.session.alike import STUBS, fields
from kubebpf.agent.session.errors import FactError, KernelFieldError, KernelLayoutError
from kubebpf.agent.session.functions import VMLINUX
from kubebpf.agent.session.points import Node
from kubebpf.compiler.artifact.layouts import Layout, Part
from kubebpf.compiler.artifact.manifest import Manifest

_THERE = "in the kernel that the program was compiled for"
_NUMBER = re.compile(r"(offset|size):(\d+)")

Difference = KernelFieldError | KernelLayoutError


def check_layouts(manifest: Manifest, programs: Collection[str], btf: Path | None, node: Node) -> None:
    """Compare all with this kernel.

    Args:
        programs: that are to be loaded; what only others count on is of no matter.
        btf: the kernel's type information, where that is not what the kernel itself shows.
        node: where tracepoints and functions are looked up.

    Raises:
        KernelFieldError: it lacks something that the program reads.
        KernelLayoutError: it has it elsewhere, or of another size.
        FactError: the manifest is newer than this agent.
    """
    loaded = {attach.probe for attach in manifest.attaches if attach.program in programs}
    if unknown := {layout.sort for layout in manifest.layouts} - _CHECKS.keys():
        raise FactError(f"the object counts on a {min(unknown)} of the kernel, which this agent does not know")
    wanted = [layout for layout in manifest.layouts if not layout.probes or loaded.intersection(layout.probes)]
    if not wanted:
        return
    with KernelTypes(btf) as types:
        try:
            found = [difference for layout in wanted for difference in _CHECKS[layout.sort](layout, types, node)]
        except LibbpfError:
            return  # without type information nothing is relocated either: libbpf says so in its own words
    # What is not there comes first: nothing can be said of its place.
    found.sort(key=lambda difference: isinstance(difference, KernelLayoutError))
    if found:
        raise type(found[0])(str(found[0]), len(found) - 1)


def _composite(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    what = layout.name if layout.sort == "typedef" else f"{layout.sort} {layout.name}"
    told: list[Difference] | None = None
    for found in composites(types, layout.sort, layout.name):
        differing = list(_differing(what, layout, found))
        if not differing:
            return  # libbpf tries all of one name, too (bpf_core_find_cands)
        told = told or differing
    yield from [KernelFieldError(f"this kernel has no {what}")] if told is None else told


def _differing(what: str, layout: Layout, found: Composite) -> Iterator[Difference]:
    for part in layout.parts:
        yield from _member(what, part, found)
    if layout.size is not None and layout.size != found.size:
        yield KernelLayoutError(f"{what} has {found.size} bytes here, and {layout.size} {_THERE}")


def _member(what: str, part: Part, found: Composite) -> Iterator[Difference]:
    here = found.part(part.name)
    if here is None and part.at is None:
        yield KernelFieldError(f"this kernel has no field {part.name} in {what}")
    elif here is None:
        yield KernelLayoutError(f"{what} has no {part.name} here, and has it {_THERE}")
    else:
        yield from _place(f"{what}: {part.name}", part, here)


def _place(what: str, part: Part, here: Place) -> Iterator[Difference]:
    if part.size is not None and part.size != here.size:
        yield KernelLayoutError(f"{what} has {_bits(here.size)} here, and {_bits(part.size)} {_THERE}")
    elif part.at is not None and part.at != here.at:
        yield KernelLayoutError(f"{what} lies at {_at(here.at)} here, and at {_at(part.at)} {_THERE}")


def _bits(number: int) -> str:
    return f"{number // 8} bytes" if number % 8 == 0 else f"{number} bits"


def _at(number: int) -> str:
    return f"byte {number // 8}" if number % 8 == 0 else f"bit {number}"


def _enum(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    here = constants(types, layout.name, [part.name for part in layout.parts])
    for part in layout.parts:
        if part.name not in here:
            yield KernelFieldError(f"this kernel has no {part.name}" + (f" in enum {layout.name}" if layout.name else ""))
        elif here[part.name] != part.at:
            yield KernelLayoutError(f"{part.name} is {here[part.name]} here, and {part.at} {_THERE}")


def _names(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    """Names that values are printed by: one that is not there is never printed."""
    here = enumeration(types, layout.name)
    for part in layout.parts:
        if here.get(part.name, part.at) != part.at:
            yield KernelLayoutError(f"{part.name} is {here[part.name]} here, and {part.at} {_THERE}")


def _function(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    found = prototype(types, layout.name)
    if found is None:
        module = node.functions.get(layout.name, VMLINUX)
        found = prototype(types, layout.name, module) if module != VMLINUX else None
    if found is not None:  # of one that is not there, its attach point tells
        yield from _arguments(f"function {layout.name}", layout, {name: index for name, (index, _) in found.items() if name})


def _raw_tracepoint(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    found = next((p for stub in STUBS if (p := prototype(types, stub + layout.name)) is not None), None)
    if found is not None:
        # Theirs begin with a word of their own (include/linux/tracepoint.h: `void *__data`).
        yield from _arguments(f"event {layout.name}", layout, {name: index - 1 for name, (index, _) in found.items() if name})


def _arguments(what: str, layout: Layout, here: dict[str, int]) -> Iterator[Difference]:
    for part in layout.parts:
        if part.name not in here:
            yield KernelFieldError(f"this kernel has no argument {part.name} in {what}")
        elif here[part.name] != part.at:
            yield KernelLayoutError(f"{what}: {part.name} is argument {here[part.name]} here, and {part.at} {_THERE}")


def _record(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    """Whether the event still has the record that its name was found for; where there is no tracefs, it is believed."""
    event, _, struct = layout.name.partition("=")
    here, found = _format(event, node), next(composites(types, "struct", struct), None)
    for field, _, member in (part.name.partition("=") for part in layout.parts):
        place = found.part(member) if found and here else None
        if place is not None and (field not in here or here[field].at != place.at):
            yield KernelLayoutError(f"tracepoint {event} has another record here: {field} is not where struct {struct} has it")


def _format(event: str, node: Node) -> dict[str, Place]:
    """The fields of a tracepoint as tracefs has them; none where there is none."""
    declared = fields(node.tracefs / "events" / event.replace(":", "/", 1) / "format")
    numbers = {name: dict(_NUMBER.findall(" ".join(where))) for name, (_, _, where) in declared.items()}
    return {name: Place(int(found["offset"]) * 8, int(found["size"]) * 8) for name, found in numbers.items()}


def _machine(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    here = os.uname().machine
    if here != layout.name:
        yield KernelLayoutError(f"this machine is {here}, and the program reads registers of {layout.name}")


def _tracepoint(layout: Layout, types: KernelTypes, node: Node) -> Iterator[Difference]:
    """A record that BTF does not know: what tracefs says."""
    here = _format(layout.name, node)
    for part in layout.parts if here else ():
        if part.name not in here:
            yield KernelFieldError(f"this kernel has no field {part.name} in tracepoint {layout.name}")
        else:
            yield from _place(f"tracepoint {layout.name}: {part.name}", part, here[part.name])


_CHECKS: dict[str, Callable[[Layout, KernelTypes, Node], Iterator[Difference]]] = {
    "struct": _composite,
    "union": _composite,
    "typedef": _composite,
    "enum": _enum,
    "names": _names,
    "function": _function,
    "rawtracepoint": _raw_tracepoint,
    "tracepoint": _tracepoint,
    "record": _record,
    "machine": _machine,
}
