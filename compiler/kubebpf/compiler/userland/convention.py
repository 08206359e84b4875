"""Where a function finds its parameters when it starts, by the processor's calling convention.

    places("x86_64", signature)   ->  (Place("register", 0), Place("register", 1), Place("stack", 0), None)

System V ABI, AMD64 supplement 3.2.3; Procedure Call Standard for the Arm 64-bit Architecture 6.8.2. What travels in vector
registers, which the kernel does not save, has no place.
"""

from __future__ import annotations

from dataclasses import dataclass

from kubebpf.compiler.types.model import Array as ArrayType
from kubebpf.compiler.types.model import Int, Struct, Type, flat_fields, round_up, sizeof
from kubebpf.compiler.userland.dwarf import FLOAT, Parameter, Signature

REGISTERS = {"x86_64": 6, "aarch64": 8}
_WORD, _TWO_WORDS = 8, 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parameter lies.

    Args:
        kind: register, stack (in memory above the return address), pointer (a register or stack word has its address).
        index: number of the first register, or the offset on the stack in bytes.
        on_stack: of a pointer: whether it lies on the stack itself.
    """

    kind: str
    index: int
    on_stack: bool = False


def places(arch: str, signature: Signature) -> tuple[Place | None, ...]:
    """The place of each parameter; None for one that cannot be read."""
    walk = _Walk(arch)
    # An object that does not fit into registers is returned through memory that the caller names in the first register.
    walk.registers += arch == "x86_64" and _in_memory(signature.returns)
    return tuple(walk.next(parameter) for parameter in signature.parameters)


@dataclass
class _Walk:
    arch: str
    registers: int = 0
    stack: int = 0

    def next(self, parameter: Parameter) -> Place | None:
        size = sizeof(parameter.type)
        if parameter.floating or (isinstance(parameter.type, ArrayType)):
            return None
        if parameter.by_reference or (self.arch == "aarch64" and size > _TWO_WORDS):
            word = self._words(1)
            return Place("pointer", word.index, word.kind == "stack")
        if not isinstance(parameter.type, Struct):
            return self._words(1)
        if _in_memory(parameter):
            return self._pushed(size)
        if _has_floats(parameter.type):
            return None
        return self._words((size + _WORD - 1) // _WORD) if size else None

    def _words(self, count: int) -> Place:
        if self.registers + count > REGISTERS[self.arch]:
            return self._pushed(count * _WORD)
        self.registers += count
        return Place("register", self.registers - count)

    def _pushed(self, size: int) -> Place:
        at = self.stack
        self.stack += round_up(size, _WORD)
        return Place("stack", at)


def _in_memory(parameter: Parameter) -> bool:
    return parameter.by_reference or (isinstance(parameter.type, Struct) and sizeof(parameter.type) > _TWO_WORDS)


def _has_floats(struct: Struct) -> bool:
    return any(_is_float(f.type) for f in flat_fields(struct))


def _is_float(type_: Type) -> bool:
    match type_:
        case ArrayType(element=Int(role=role)):
            return role == FLOAT
        case ArrayType(element=element):
            return _is_float(element)
        case Struct():
            return _has_floats(type_)
        case _:
            return False
